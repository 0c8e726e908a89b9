"""The laboratory: data, networks, a training loop, and many trainings at once.

Needs `pip install "lrlib[lab]"`. What takes time to import (scikit-learn, torchvision) is loaded
when it is first used.
"""

from lrlib._extras import require

require("lab", "joblib", "platformdirs", "scipy", "sklearn", "torchvision", "tqdm")

from lrlib.lab import contest as _contest  # noqa: E402
from lrlib.lab import data, devices, language, models, ranks, stats, sweep, training  # noqa: E402
from lrlib.lab.contest import *  # noqa: E402
from lrlib.lab.data import *  # noqa: E402
from lrlib.lab.devices import *  # noqa: E402
from lrlib.lab.language import *  # noqa: E402
from lrlib.lab.models import *  # noqa: E402
from lrlib.lab.ranks import *  # noqa: E402
from lrlib.lab.stats import *  # noqa: E402
from lrlib.lab.sweep import *  # noqa: E402
from lrlib.lab.training import *  # noqa: E402

_modules = (_contest, data, devices, language, models, ranks, stats, sweep, training)
__all__ = [name for module in _modules for name in module.__all__]
