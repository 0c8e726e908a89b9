"""The page of symptoms: every message is what torch says today, and every program runs."""

from __future__ import annotations

import ast
import inspect
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import lr_scheduler

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "book" / "symptoms.md").read_text(encoding="utf-8")
BLOCK = r"```\{code-block\} python\n(.*?)```"

_, MESSAGES, FRAMEWORKS, SYMPTOMS, _ = re.split(
    r"^## Error messages|^### In Lightning and Trainer|^## Symptoms|^## What a checkup sees",
    PAGE,
    flags=re.M,
)
(BEFORE,) = re.findall(BLOCK, MESSAGES.split("####")[0], re.S)
# A message, how it goes on, and what produces it.
ENTRIES = re.findall(
    r"^#### (`+) ?(.*?) ?\1\n\n(?:> ([^\n]*)\n\n)?This (?:fails|gives the warning):\n\n" + BLOCK,
    MESSAGES,
    re.M | re.S,
)
REPAIRS = re.findall(BLOCK.replace(r"\n", r"\n:class: repair\n", 1), MESSAGES, re.S)
(SETUP,) = re.findall(BLOCK.replace(r"\n(", r"\n(?!:)(", 1), SYMPTOMS.split("\n### ")[0], re.S)
PROGRAMS = re.findall(BLOCK.replace(r"\n", r"\n:class: program\n", 1), SYMPTOMS, re.S)
TITLES = re.findall(r"^#{3,4} (.*)", PAGE, re.M)

# The words are those of the torch that the book is built with.
newest = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 14), reason="an older torch"
)


def said(program: str) -> str:
    """The error that the program raises, or the last warning, as Python prints it."""
    names: dict[str, Any] = {}
    exec(BEFORE, names)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            exec(program, names)
        except Exception as error:
            text = error.args[0] if error.args else ""
            # Python shows a KeyError's key with quotes; torch puts whole sentences there.
            key = isinstance(error, KeyError) and " " not in text
            return f"{type(error).__name__}: {text!r}" if key else f"{type(error).__name__}: {text}"
    return f"{type(caught[-1].message).__name__}: {caught[-1].message}" if caught else "nothing"


@newest
@pytest.mark.parametrize(("message", "rest", "program"), [entry[1:] for entry in ENTRIES])
def test_torch_says_it_word_for_word(
    message: str, rest: str, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    heard = said(program).rstrip().removesuffix(":")
    if message.endswith(" …"):
        assert heard.startswith(message.removesuffix(" …"))
    else:
        assert heard == message
    assert all(part in " ".join(heard.split()) for part in rest.split(" … "))


@newest
@pytest.mark.parametrize("program", REPAIRS)
def test_the_repaired_lines_run_and_give_no_warning(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said(program) == "nothing"


def test_nearly_every_entry_has_repaired_lines_of_its_own() -> None:
    entries = re.split(r"^#### ", MESSAGES, flags=re.M)[1:]
    without = [entry.split("\n")[0] for entry in entries if ":class: repair" not in entry]
    assert len(without) <= 4, without
    assert len(REPAIRS) == len(entries) - len(without)
    for entry in entries:
        label = "This gives the warning:" if "Warning: " in entry.split("\n")[0] else "This fails:"
        assert label in entry, entry


def words(node: ast.expr) -> str:
    """A pattern of the messages that the expression makes."""
    match node:
        case ast.Constant(value=str()):
            return re.escape(node.value)
        case ast.JoinedStr():
            return "".join(map(words, node.values))
        case ast.BinOp():
            return words(node.left) + words(node.right)
        case ast.Name() if hasattr(lr_scheduler, node.id):
            return re.escape(getattr(lr_scheduler, node.id))
    return ".*"


def torch_can_say() -> set[str]:
    """Patterns of all errors and warnings in the source of torch's schedulers."""
    found = set()
    for node in ast.walk(ast.parse(inspect.getsource(lr_scheduler))):
        match node:
            case ast.Raise(exc=ast.Call(args=[said, *_])):
                found.add(words(said))
            case ast.Call(func=ast.Attribute(attr="warn"), args=[said, *_]):
                found.add(words(said))
    return found


@newest
def test_everything_that_torchs_schedulers_can_say_is_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    heard = [said(program) for *_, program in ENTRIES]
    patterns = torch_can_say()
    assert len(patterns) > 30
    missing = [
        pattern
        for pattern in patterns
        if not any(re.search(pattern, message, re.S) for message in heard)
    ]
    # No argument of a reader's leads there.
    assert missing == [re.escape("Unknown _anneal_func_type: ") + ".*"]


def test_there_are_enough_entries_each_once_and_each_with_cause_and_repair() -> None:
    assert len(ENTRIES) == MESSAGES.count("\n#### "), "an entry has no program"
    assert len(TITLES) == len(set(TITLES))
    assert len(re.findall(r"^#### ", PAGE, re.M)) >= 50
    for entry in re.split(r"^#### ", MESSAGES + FRAMEWORKS, flags=re.M)[1:]:
        assert "**Why:**" in entry, entry
        assert "**Instead:**" in entry, entry
    symptoms = re.split(r"^### ", SYMPTOMS, flags=re.M)[1:]
    assert len(symptoms) >= 20
    for entry in symptoms:
        assert "**How to tell.**" in entry, entry
        assert re.search(r"\*\*(Why|Why and instead):\*\*", entry) or "cause is" in entry, entry
        assert re.search(r"\*\*(Instead|Why and instead):\*\*", entry), entry


# What a reader may have instead: other batches, another optimizer, another rate.
OTHERS = """
from torch.utils.data import DataLoader, TensorDataset

loader = DataLoader(TensorDataset(x, y), batch_size=32)
optimizer = AdamW(model.parameters(), lr=3e-4)
scheduler = S.CosineAnnealingLR(optimizer, T_max=len(loader))
"""


@pytest.mark.parametrize("others", ["", OTHERS])
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_programs_run(program: str, others: str) -> None:
    names: dict[str, Any] = {}
    exec(SETUP + others, names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(program, names)


# --- What the page says about symptoms, on a small network --------------------------------------


def losses(lr: float, steps: int = 30, **data: Any) -> list[float]:
    """The loss at each step, on one batch."""
    torch.manual_seed(0)
    x, y = torch.randn(64, 8), torch.randint(3, (64,))
    x[0, 0] = data.get("first", x[0, 0])
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    optimizer.param_groups[0]["lr"] = lr
    seen = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        seen.append(float(loss.detach()))
    return seen


def test_nan_from_the_first_step_is_not_the_rate() -> None:
    assert torch.tensor(losses(lr=0.0, first=float("nan"))).isnan().all()
    assert torch.tensor(losses(lr=0.0)).isfinite().all()


def test_nan_after_a_few_steps_is_the_rate_and_the_loss_has_grown() -> None:
    """On a parabola, where the limit is known: 2 / curvature."""
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=2.2)
    seen = []
    for _ in range(3000):
        optimizer.zero_grad()
        loss = (weight**2 / 2).sum()
        loss.backward()
        optimizer.step()
        seen.append(float(loss.detach()))
    ratios = torch.tensor(seen[1:20]) / torch.tensor(seen[:19])
    assert torch.allclose(ratios, torch.full((19,), 1.2**2), rtol=1e-4)
    assert not torch.tensor(seen[-1]).isfinite()


def test_a_step_at_a_tiny_rate_lowers_the_loss_and_a_negative_rate_raises_it() -> None:
    down, up = losses(lr=1e-3, steps=5), losses(lr=-1e-3, steps=5)
    assert down == sorted(down, reverse=True)
    assert up == sorted(up)


def test_a_weight_that_is_twice_in_a_group_is_updated_twice() -> None:
    weight = nn.Parameter(torch.zeros(1))
    with pytest.warns(UserWarning, match="duplicate parameters"):
        optimizer = torch.optim.SGD([weight, weight], lr=0.1)
    weight.grad = torch.ones(1)
    optimizer.step()
    assert weight.item() == pytest.approx(-0.2)


def test_yaml_reads_a_number_without_a_point_as_text() -> None:
    assert yaml.safe_load("[1e-3, 1.0e-3]") == ["1e-3", 0.001]


def test_a_scheduler_accepts_the_state_of_an_optimizer_in_silence() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = lr_scheduler.StepLR(optimizer, step_size=30)
    scheduler.load_state_dict(optimizer.state_dict())
    assert scheduler.last_epoch == 0


def test_one_cycle_starts_at_a_25th_and_linear_at_a_third() -> None:
    for make, share in (
        (lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.1, total_steps=100), 1 / 25),
        (lambda o: lr_scheduler.LinearLR(o), 1 / 3),
    ):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
        assert make(optimizer).get_last_lr() == pytest.approx([0.1 * share])


def test_one_cycle_with_ten_steps_allows_ten_calls_and_the_ninth_sets_the_lowest_rate() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10)
    rates = scheduler.get_last_lr()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(10):
            scheduler.step()
            rates += scheduler.get_last_lr()
    assert rates.index(min(rates)) == 9
    assert rates[10] > 100 * rates[9]
    with pytest.raises(ValueError, match="Tried to step 11 times"):
        scheduler.step()


# --- Resuming -----------------------------------------------------------------------------------

(RESUMES,) = (program for program in PROGRAMS if 'checkpoint["step"]' in program)


@pytest.mark.parametrize(("begins", "ends_at_0"), [('checkpoint["step"]', True), ("0", False)])
def test_a_loop_that_begins_at_0_again_climbs_back(begins: str, ends_at_0: bool) -> None:
    names: dict[str, Any] = {}
    exec(SETUP, names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(4):
            names["scheduler"].step()
        exec(RESUMES.replace('range(checkpoint["step"]', f"range({begins}"), names)
    assert (names["optimizer"].param_groups[0]["lr"] < 1e-9) == ends_at_0


# --- NaN after some hundred steps ---------------------------------------------------------------

STOPS = PROGRAMS[[("stop_if_bad" in program) for program in PROGRAMS].index(True)]
FINITE = "nothing"


def first_bad(**given: Any) -> str:
    """Where the page's program stops, with other data, another loss or another optimizer."""
    names: dict[str, Any] = {}
    exec(SETUP, names)
    names |= given
    if "optimizer" not in given:
        names["optimizer"] = torch.optim.AdamW(names["model"].parameters(), lr=1e-3)
    names["scheduler"] = lr_scheduler.LambdaLR(names["optimizer"], lambda t: 1.0)
    try:
        exec(STOPS, names)
    except RuntimeError as error:
        return str(error)
    return FINITE


def batches(steps: int, bad: int = -1, value: float = 0.0) -> list[tuple[torch.Tensor, Any]]:
    """Random batches; one number of the batch `bad` has this value."""
    torch.manual_seed(1)
    found = [(torch.randn(32, 8), torch.randint(3, (32,))) for _ in range(steps)]
    if bad >= 0:
        found[bad][0][5, 2] = value
    return found


def squares(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (outputs**2).mean()


def test_a_batch_that_is_not_finite_is_named_and_its_bad_example_is_found() -> None:
    for value in (float("nan"), float("inf")):
        loader = batches(250, bad=200, value=value)
        assert first_bad(loader=loader) == "step 200: the batch isn't finite"
        assert (~torch.isfinite(loader[200][0]).flatten(1).all(1)).nonzero().tolist() == [[5]]
    assert first_bad(loader=batches(250)) == FINITE


def test_an_extreme_number_in_the_data_makes_a_squared_loss_infinite() -> None:
    loader = batches(250, bad=200, value=1e25)
    assert first_bad(loader=loader, cross_entropy=squares) == "step 200: the loss isn't finite"
    clamped = [(inputs.clamp(-10, 10), labels) for inputs, labels in loader]
    assert first_bad(loader=clamped, cross_entropy=squares) == FINITE


def by_hand(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    p = torch.sigmoid(z[:, 0])
    return -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()


def from_logits(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return nn.functional.binary_cross_entropy_with_logits(z[:, 0], y)


def test_a_logarithm_by_hand_fails_after_some_hundred_steps_of_adamw_that_went_well() -> None:
    def run(loss: Any) -> str:
        torch.manual_seed(0)
        x = torch.randn(320, 8)
        loader = list(zip(x.split(32), (x[:, 0] > 0).float().split(32), strict=True)) * 100
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        return first_bad(loader=loader, model=model, optimizer=optimizer, cross_entropy=loss)

    stopped = re.fullmatch(r"step (\d+): the loss isn't finite", run(by_hand))
    assert stopped
    assert 100 < int(stopped[1]) < 1000
    assert run(from_logits) == FINITE
    assert torch.sigmoid(torch.tensor(20.0)) == 1


@newest
def test_a_logarithm_by_hand_fails_in_autocast_with_bfloat16_too_but_not_in_float32() -> None:
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, 10.0)
    nn.init.zeros_(layer.bias)
    for kind, finite in ((torch.float16, False), (torch.bfloat16, False), (None, True)):
        with torch.autocast("cpu", dtype=kind, enabled=kind is not None):
            loss = by_hand(layer(torch.ones(1, 1)), torch.ones(1))
        assert loss.isfinite() == finite


def test_a_chain_has_no_last_epoch() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    chain = lr_scheduler.ChainedScheduler([lr_scheduler.ConstantLR(optimizer)])
    assert not hasattr(chain, "last_epoch")


def test_a_batch_of_ignored_labels_and_a_fully_masked_row_make_nan() -> None:
    loader = batches(250)
    loader[200][1][:] = -100
    assert first_bad(loader=loader) == "step 200: the loss isn't finite"
    loader[200][1][0] = 1
    assert first_bad(loader=loader) == FINITE
    assert torch.full((3,), -torch.inf).softmax(0).isnan().all()


def test_a_division_by_a_deviation_of_0_makes_the_loss_nan() -> None:
    def scaled(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return ((outputs[:, 0] - labels) / labels.float().std()).mean()

    loader = batches(250)
    loader[200] = (loader[200][0], torch.ones(32))
    assert first_bad(loader=loader, cross_entropy=scaled) == "step 200: the loss isn't finite"


@pytest.mark.parametrize(("added", "stops"), [(0.0, True), (1e-8, False)])
def test_a_root_at_0_gives_a_bad_gradient_and_torch_names_it(added: float, stops: bool) -> None:
    def distance(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.sqrt(((outputs[:16] - outputs[16:]) ** 2).sum(1) + added).mean()

    loader = batches(250)
    loader[200][0][16] = loader[200][0][0]
    heard = first_bad(loader=loader, cross_entropy=distance)
    assert heard.startswith("step 200: the gradient of 0.weight") if stops else heard == FINITE
    if stops:
        with warnings.catch_warnings(), torch.autograd.set_detect_anomaly(True):
            warnings.simplefilter("ignore")
            assert "PowBackward0" in first_bad(loader=loader, cross_entropy=distance)
    weight = nn.Parameter(torch.zeros(1))
    torch.sqrt((weight**2).mean() + added).backward()
    assert weight.grad is not None
    assert bool(weight.grad.isnan()) == stops


def test_adamw_with_float16_weights_divides_by_0_and_with_bfloat16_does_not() -> None:
    for kind, wanted in ((torch.float16, "the weight"), (torch.bfloat16, FINITE)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).to(kind)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        loader = [(inputs.to(kind), labels) for inputs, labels in batches(250)]
        assert wanted in first_bad(loader=loader, model=model, optimizer=optimizer)
    assert torch.tensor(1e-8).half() == 0 != torch.tensor(1e-8).bfloat16()


@newest
def test_float16_overflows_in_autocast_and_only_a_scaler_keeps_the_weights_finite() -> None:
    inputs, labels = torch.full((32, 8), 6e4), torch.randint(3, (32,))
    for scaled in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        scaler = torch.amp.GradScaler("cpu", enabled=scaled)
        with torch.autocast("cpu", dtype=torch.float16):
            loss = cross_entropy(model(inputs) * 10, labels)
            with torch.autocast("cpu", enabled=False):
                assert cross_entropy(model(inputs) * 10, labels).isfinite()
        assert not loss.isfinite()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        assert all(w.isfinite().all() for w in model.parameters()) == scaled


class InHalf(nn.Module):
    """The page's network, in autocast if a kind of number is given."""

    def __init__(self, kind: torch.dtype | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
        self.kind = kind

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=self.kind, enabled=self.kind is not None):
            return self.layers(inputs)


def large_targets(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The outputs should be 100,000, more than float16 can hold."""
    return ((outputs.float() / 1e5 - 1) ** 2).mean()


@newest
def test_an_ordinary_batch_overflows_float16_after_some_hundred_steps() -> None:
    loader = batches(500)
    for kind, stops in ((torch.float16, True), (torch.bfloat16, False)):
        model = InHalf(kind)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        heard = first_bad(
            loader=loader, model=model, optimizer=optimizer, cross_entropy=large_targets
        )
        stopped = re.fullmatch(r"step (\d+): the loss isn't finite", heard)
        assert bool(stopped) == stops, heard
        if stopped:
            assert 100 < int(stopped[1]) < 500
            inputs, labels = loader[int(stopped[1])]
            assert inputs.abs().max() < 5
            assert not large_targets(model(inputs), labels).isfinite()
            model.kind = None
            assert large_targets(model(inputs), labels).isfinite()


def warmed_up(peak: float, warmup: int) -> tuple[list[float], list[float]]:
    """The losses and rates of SGD, up to the first loss that isn't finite."""
    torch.manual_seed(0)
    x, y = torch.randn(320, 8), torch.randint(3, (320,))
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=peak, momentum=0.9)
    scheduler = lr_scheduler.LambdaLR(optimizer, lambda t: min(1.0, (t + 1) / warmup))
    seen, rates = [], []
    for inputs, labels in list(zip(x.split(32), y.split(32), strict=True)) * (warmup // 10):
        optimizer.zero_grad()
        loss = cross_entropy(model(inputs), labels)
        seen.append(float(loss.detach()))
        rates += scheduler.get_last_lr()
        if not loss.isfinite():
            break
        loss.backward()
        optimizer.step()
        scheduler.step()
    return seen, rates


def test_a_peak_that_is_too_high_fails_inside_the_warmup_and_the_losses_grow_before() -> None:
    run, rates = warmed_up(20.0, 300)
    assert not torch.tensor(run[-1]).isfinite()
    assert max(run[-21:-1]) > 1000 * run[0]
    assert len(run) > 100
    assert rates[-1] < 20.0
    assert torch.tensor(warmed_up(0.5, 300)[0]).isfinite().all()


@pytest.mark.slow
def test_adamw_in_float32_does_not_become_nan_at_any_of_these_rates() -> None:
    for rate in (0.001, 0.1, 1.0, 10.0, 100.0):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
        assert first_bad(loader=batches(1000), model=model, optimizer=optimizer) == FINITE
    weight = nn.Parameter(torch.zeros(1))
    weight.grad = torch.tensor([1e10])
    torch.optim.AdamW([weight], lr=0.1).step()
    assert weight.item() == pytest.approx(-0.1)


@pytest.mark.slow
def test_adamw_jumps_when_a_gradient_comes_back_and_a_lower_beta_prevents_it() -> None:
    largest = {}
    for beta in (0.999, 0.95):
        weight = nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.AdamW([weight], lr=1.0, betas=(0.9, beta), weight_decay=0)
        moves = []
        for gradient in [1.0] * 1000 + [0.0] * 10_000 + [1.0] * 100:
            weight.grad, before = torch.tensor([gradient]), weight.item()
            optimizer.step()
            moves.append(abs(weight.item() - before))
        assert max(moves[:1000]) < 1.01
        largest[beta] = max(moves[11_000:])
    assert largest[0.999] > 6
    assert largest[0.95] < 1.2
