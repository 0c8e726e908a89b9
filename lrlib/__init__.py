"""lrlib: learning-rate schedules, traces and many-seed experiments, the tools of the book.

What is heavy (scikit-learn, torchvision, pandas, matplotlib) is loaded when it is first used, so
that `import lrlib` costs little more than torch. `lrlib.plots` is imported by its name.
"""

from lrlib.claims import Difference, claim, glue, interval, measured, paired_difference, table
from lrlib.datasets import DataError, Dataset, load
from lrlib.devices import device
from lrlib.ensemble import Run, Runs, fit_many, grid
from lrlib.explorers import explorer
from lrlib.lr_dropout import LRDropout
from lrlib.models import cifar_resnet34, mlp, seeded, small_cnn
from lrlib.param_groups import by_name, layerwise_decay, split_weight_decay, summary
from lrlib.plateau import PlateauRule, decisions
from lrlib.rates import current_lrs, from_torch, set_lr, to_torch, trace
from lrlib.recorded import recorded
from lrlib.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Custom,
    Cyclic,
    Exponential,
    InverseSqrt,
    InverseTime,
    Linear,
    MultiStep,
    OneCycle,
    Piecewise,
    Polynomial,
    Recurrence,
    Schedule,
    StepDecay,
    WarmupStableDecay,
    sequence,
)
from lrlib.training import History, evaluate, fit, resume, save

__version__ = "0.1.0"

__all__ = [
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Custom",
    "Cyclic",
    "DataError",
    "Dataset",
    "Difference",
    "Exponential",
    "History",
    "InverseSqrt",
    "InverseTime",
    "LRDropout",
    "Linear",
    "MultiStep",
    "OneCycle",
    "Piecewise",
    "PlateauRule",
    "Polynomial",
    "Recurrence",
    "Run",
    "Runs",
    "Schedule",
    "StepDecay",
    "WarmupStableDecay",
    "by_name",
    "cifar_resnet34",
    "claim",
    "current_lrs",
    "decisions",
    "device",
    "evaluate",
    "explorer",
    "fit",
    "fit_many",
    "from_torch",
    "glue",
    "grid",
    "interval",
    "layerwise_decay",
    "load",
    "measured",
    "mlp",
    "paired_difference",
    "recorded",
    "resume",
    "save",
    "seeded",
    "sequence",
    "set_lr",
    "small_cnn",
    "split_weight_decay",
    "summary",
    "table",
    "to_torch",
    "trace",
]
