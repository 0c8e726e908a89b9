"""The playground's engine against torch and NumPy: the same weights, batches, masks and losses."""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student
from test_explorers import NO_NODE, NODE, ROOT, Module

import lrlib
from lrlib import lab
from lrlib.lab.contest import Card, judge
from lrlib.lab.data import Split
from lrlib.lab.training import batch_order
from lrlib.notebook.explorers import _pages

pytestmark = pytest.mark.skipif(NODE is None, reason=NO_NODE)
SEEDS = range(20)
WIDTHS = ([64, 32, 10], [64, 64, 32, 10])
ENGINE = "it.makeEngine(it.plateau)"
FASTER = "it.makeEngine(it.plateau, it.makeKernel())"


@pytest.fixture(scope="module")
def playground(tmp_path_factory) -> Iterator[Module]:
    module = Module("playground", tmp_path_factory.mktemp("playground"))
    yield module
    module.close()


@cache
def digits() -> lab.Dataset:
    return lab.load("digits", device="cpu")


# --- The same numbers as torch's and NumPy's -----------------------------------------------------


def weights_differ(module: Module, seeds: Any = SEEDS) -> bool:
    """Whether any initial weight is another one than torch's."""
    for widths in WIDTHS:
        got = module.ask(
            f"given.seeds.map(seed => [...{ENGINE}.initialWeights(given.widths, seed)])",
            seeds=[*seeds],
            widths=widths,
        )
        for seed, row in zip(seeds, got, strict=True):
            model = lab.seeded(lambda widths=widths: lab.mlp(*widths), seed)
            expected = torch.nn.utils.parameters_to_vector(model.parameters())
            if not torch.equal(torch.tensor(row, dtype=torch.float64), expected.double()):
                return True
    return False


def orders_differ(module: Module, seeds: Any = SEEDS) -> bool:
    """Whether any epoch's order of the samples is another one than NumPy's."""
    js = f"given.seeds.map(s => given.epochs.map(e => [...{ENGINE}.batchOrder(1077, s, e)]))"
    epochs = [0, 1, 19, 79]
    got = module.ask(js, seeds=[*seeds], epochs=epochs)
    expected = [[batch_order(1077, seed, epoch).tolist() for epoch in epochs] for seed in seeds]
    return bool(got != expected)


def test_initial_weights_are_torchs_to_the_last_bit(playground) -> None:
    assert not weights_differ(playground)


def test_the_batches_are_numpys(playground) -> None:
    assert not orders_differ(playground)


@settings(max_examples=30)
@given(samples=st.integers(1, 5000), seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 2**31))
def test_any_order_is_numpys(playground, samples: int, seed: int, epoch: int) -> None:
    got = playground.ask(
        f"[...{ENGINE}.batchOrder(given.n, given.seed, given.epoch)]",
        n=samples,
        seed=seed,
        epoch=epoch,
    )
    assert got == np.random.default_rng((seed, epoch)).permutation(samples).tolist()


def test_the_digits_are_the_laboratorys(playground, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "book" / "tools"))
    import digits as tool

    assert tool.packed() == _pages.data("playground")["digits"], "make digits writes them again"
    js = f"""(() => {{
      const parts = {ENGINE}.unpack(given.data.digits, given.noisy);
      return [parts.train, parts.validation].map(p => [[...p.images], [...p.answers]]);
    }})()"""
    for noisy, data in ((False, digits()), (True, lab.with_random_labels(digits(), share=0.2))):
        parts = playground.ask(js, noisy=noisy)
        for (images, answers), split in zip(parts, (data.train, data.validation), strict=True):
            expected = split.x.flatten(1).double()
            assert torch.equal(torch.tensor(images).double().view_as(expected), expected)
            assert answers == split.y.tolist()


# --- The same losses ----------------------------------------------------------------------------

# 100 steps on the first 100 images: 25 epochs, in which the last of four batches has 4 images.
SAMPLES, HELD, EPOCHS, STEPS = 100, 50, 25, 100
BASE: dict[str, Any] = {
    "widths": [64, 32, 10],
    "seeds": [3],
    "epochs": EPOCHS,
    "batch": 32,
    "rate": 0.05,
    "optimizer": "SGD",
    "momentum": 0,
    "nesterov": False,
    "decay": 0,
    "clip": 0,
    "keep": 1,
    "plateau": None,
}
SGD, ADAM, ADAMW = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW
# The engine's setting, torch's optimizer with its options, and what else `fit` is told.
CASES: dict[str, tuple[dict[str, Any], Any, dict[str, Any], dict[str, Any]]] = {
    "SGD": ({}, SGD, {}, {}),
    "momentum": ({"momentum": 0.9}, SGD, {"momentum": 0.9}, {}),
    "Nesterov": (
        {"momentum": 0.8, "nesterov": True},
        SGD,
        {"momentum": 0.8, "nesterov": True},
        {},
    ),
    "SGD with weight decay": (
        {"momentum": 0.9, "decay": 0.01},
        SGD,
        {"momentum": 0.9, "weight_decay": 0.01},
        {},
    ),
    "Adam": ({"optimizer": "Adam", "rate": 0.002}, ADAM, {}, {}),
    "Adam with weight decay": (
        {"optimizer": "Adam", "rate": 0.002, "decay": 0.1},
        ADAM,
        {"weight_decay": 0.1},
        {},
    ),
    "AdamW": (
        {"optimizer": "AdamW", "rate": 0.002, "decay": 0.1},
        ADAMW,
        {"weight_decay": 0.1},
        {},
    ),
    "two layers": ({"widths": [64, 64, 32, 10], "momentum": 0.5}, SGD, {"momentum": 0.5}, {}),
    "clipped": ({"clip": 0.5, "momentum": 0.9}, SGD, {"momentum": 0.9}, {"clip": 0.5}),
    "dropout of steps": (
        {"keep": 0.3, "momentum": 0.9},
        SGD,
        {"momentum": 0.9},
        {"keep": 0.3},
    ),
    "plateau": (
        {"rate": 0.4, "plateau": {"factor": 0.5, "patience": 0}},
        SGD,
        {},
        {"plateau": lrlib.PlateauRule(factor=0.5, patience=0)},
    ),
    "a batch": ({"batch": 128}, SGD, {}, {}),
}

TRAIN = f"""(() => {{
  const engine = GIVEN;
  const {{ train, validation }} = engine.unpack(given.data.digits, false);
  const first = ({{ images, answers }}, n) =>
    ({{ images: images.subarray(0, 64 * n), answers: answers.subarray(0, n) }});
  const cut = {{ train: first(train, {SAMPLES}), validation: first(validation, {HELD}) }};
  if (given.settings[0].spoiled) cut.train.images[70] = NaN;
  const [main, other] = given.settings.map(setting => engine.train(setting, cut));
  const heard = [];
  for (const told of main) {{
    heard.push(told);
    other?.next();
  }}
  return heard.filter(Boolean);
}})()"""


def trained(module: Module, engine: str, *settings: dict[str, Any]) -> list[dict[str, Any]]:
    """What an engine tells of each epoch of the first setting; a second one trains in between."""
    return list(module.ask(TRAIN.replace("GIVEN", engine), settings=settings))


def losses_differ(module: Module, case: str, engine: str = ENGINE) -> float:
    """The largest difference of an epoch's loss to that of `fit`, and of its last rate."""
    changes, make, options, more = CASES[case]
    setting = BASE | changes
    steps = EPOCHS * -(-SAMPLES // setting["batch"])
    schedule = lrlib.Cosine(steps) if case in ("SGD", "AdamW") else lrlib.Constant()
    told = trained(module, engine, setting | {"factors": schedule.lrs(1.0, steps).tolist()})
    seed, more = setting["seeds"][0], dict(more)
    model = lab.seeded(lambda: lab.mlp(*setting["widths"]), seed)
    inner = optimizer = make(model.parameters(), lr=setting["rate"], **options)
    if "clip" in more:
        most = more.pop("clip")

        def clip(*_: Any) -> None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), most)

        inner.register_step_pre_hook(clip)
    if "keep" in more:
        masks = torch.Generator().manual_seed(seed)
        optimizer = lrlib.LRDropout(inner, more.pop("keep"), masks)
    data = digits()
    cut = replace(
        data,
        train=Split(data.train.x[:SAMPLES], data.train.y[:SAMPLES]),
        validation=Split(data.validation.x[:HELD], data.validation.y[:HELD]),
    )
    history = lab.fit(
        model,
        cut,
        optimizer,
        epochs=EPOCHS,
        schedule=schedule,
        batch_size=setting["batch"],
        seed=seed,
        **more,
    )
    expected = {
        "trainLoss": history.train_loss,
        "validationLoss": history.validation_loss,
        "rate": history.lrs[steps // EPOCHS - 1 :: steps // EPOCHS],
    }
    return max(
        float(np.abs(np.subtract([epoch[name][0] for epoch in told], values)).max())
        for name, values in expected.items()
    )


@pytest.mark.parametrize("case", CASES)
def test_losses_are_those_of_fit_over_a_hundred_steps(playground, case: str) -> None:
    assert losses_differ(playground, case) < 1e-4


# --- The kernel in WebAssembly -------------------------------------------------------------------

# In these, numbers become infinite and then no numbers, or one is none from the start.
LOST: dict[str, dict[str, Any]] = {
    "lost": {"rate": 1e9},
    "spoiled": {"spoiled": True},
    "lost by Adam": {"rate": 1e9, "optimizer": "Adam", "widths": [64, 64, 64, 10]},
}


def kernels_differ(module: Module, case: str) -> bool:
    """Whether the two kernels tell anything else of three networks; equal means to the last bit."""
    setting = BASE | {"seeds": [0, 3, 40], "factors": [1] * 500}
    setting |= LOST[case] if case in LOST else CASES[case][0]
    return trained(module, ENGINE, setting) != trained(module, FASTER, setting)


@pytest.mark.parametrize("case", [*CASES, *LOST])
def test_webassembly_trains_to_the_same_bits(playground, case: str) -> None:
    assert playground.ask(f"{FASTER}.kernel") == "WebAssembly"
    assert not kernels_differ(playground, case)


@settings(max_examples=15)
@given(draw=st.data())
def test_any_setting_is_trained_to_the_same_bits(playground, draw) -> None:
    state = playground.setting(draw, epochs=2, seeds=2, kept="")
    js = "it.entrants(given.s).map(it.orderOf)[0].setting"
    setting = playground.ask(js, s=state)
    assert trained(playground, ENGINE, setting) == trained(playground, FASTER, setting)


@pytest.mark.parametrize("engine", [ENGINE, FASTER])
def test_trainings_with_one_kernel_do_not_disturb_each_other(playground, engine: str) -> None:
    one = BASE | {"seeds": [1, 2], "factors": [1] * STEPS, "momentum": 0.9}
    other = one | {"optimizer": "AdamW", "widths": [64, 64, 32, 10], "batch": 64, "rate": 0.01}
    assert trained(playground, engine, one, other) == trained(playground, engine, one)


@pytest.mark.parametrize(
    "broken",
    [
        "WebAssembly = undefined",
        "WebAssembly.Module = undefined",
        "WebAssembly.Module = class { constructor() { throw new Error('refused'); } }",
        "WebAssembly.Instance = () => { throw new WebAssembly.RuntimeError('no memory'); }",
    ],
)
def test_where_webassembly_is_refused_plain_javascript_trains(tmp_path: Path, broken: str) -> None:
    module = Module("playground", tmp_path, f"{_pages.module('playground')}\n{broken};")
    assert module.ask("it.makeKernel()") is None
    assert module.ask(f"{FASTER}.kernel") == "JavaScript"
    assert losses_differ(module, "SGD", FASTER) < 1e-4
    module.close()


# A changed constant, and the check that it fails.
Check = Callable[[Module], Any]
MUTANTS: list[tuple[str, str, Check]] = [
    ("1812433253", "1812433251", lambda m: weights_differ(m, [1])),
    ("sqrt(5) ** 2", "5.1", lambda m: weights_differ(m, [1])),
    ("0x4973f715", "0x4973f716", lambda m: orders_differ(m, [1])),
    ("fccf645n", "fccf643n", lambda m: orders_differ(m, [1])),
    ("1 - 0.9 ** step", "1 - 0.91 ** step", lambda m: losses_differ(m, "Adam") >= 1e-4),
    ("0.999 * numbers[v", "0.99 * numbers[v", lambda m: losses_differ(m, "AdamW") >= 1e-4),
    ("1 - rate * decay", "1 - decay", lambda m: losses_differ(m, "AdamW") >= 1e-4),
    ("nesterov ? 1", "nesterov ? 0", lambda m: losses_differ(m, "Nesterov") >= 1e-4),
    ("[m + i] + g;", "[m + i] + 0.9 * g;", lambda m: losses_differ(m, "momentum") >= 1e-4),
    ("+ 1e-6", "+ 1e-2", lambda m: losses_differ(m, "clipped") >= 1e-4),
    ("- 2 ** 31, 2 ** 31", ", 2 ** 31", lambda m: losses_differ(m, "dropout of steps") >= 1e-4),
    ("/ (sum * count)", "/ sum / 32", lambda m: losses_differ(m, "SGD") >= 1e-4),
    ("[0xef, 0xf0", "[0xef, 0xf1", lambda m: kernels_differ(m, "SGD")),
    ("shuffle(1, 3)", "shuffle(1, 2)", lambda m: kernels_differ(m, "SGD")),
    ("load(out), real(0)", "load(out), real(1)", lambda m: kernels_differ(m, "SGD")),
    ("multiply(direct, g)", "g", lambda m: kernels_differ(m, "momentum")),
    ("real(0.1)", "real(0.11)", lambda m: kernels_differ(m, "Adam")),
    ("real(1e-8)", "real(1e-9)", lambda m: kernels_differ(m, "AdamW")),
    # The order of its operands decides whether `larger` hides what isn't a number.
    ("(add(load(out), added), least)", "(least, add(load(out), added))",
     lambda m: kernels_differ(m, "spoiled")),
    # Bytes that no browser allows: then there is no kernel.
    ("operation(0xfd, 0x14)", "operation(0xfd, 0xff)", lambda m: m.ask("it.makeKernel()") is None),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "fails"), MUTANTS, ids=[old for old, *_ in MUTANTS])
def test_a_changed_constant_is_noticed(tmp_path: Path, old: str, new: str, fails: Check) -> None:
    source = _pages.module("playground")
    assert source.count(old) == 1
    mutant = Module("playground", tmp_path, source.replace(old, new))
    assert fails(mutant)
    mutant.close()


# --- The program that the page writes -------------------------------------------------------------


def executed(code: str) -> np.ndarray:
    """The final validation accuracies of a copied program."""
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, names)
    accuracy = np.asarray(names["accuracy"])
    assert printed.getvalue() == f"Validation error: {100 * (1 - accuracy).mean():.2f} %\n"
    return accuracy


TRAINED = "it.explorer.still(given.s, given.data).results"
FINAL = f"""(() => {{
  const results = {TRAINED};
  return it.entrants(given.s).map((one) => {{
    const {{ name }} = it.orderOf(one);
    const whole = it.settle(it.explorer, it.own(one), given.data);
    const code = it.python({{ ...whole, seeds: one.seeds, fresh: one.fresh }});
    return [code, results[name].validationAccuracy.at(-1), it.guessing(results[name])];
  }});
}})()"""


@settings(max_examples=12)
@given(draw=st.data())
def test_the_copied_program_trains_what_the_page_trains(playground, draw) -> None:
    rate = draw.draw(st.sampled_from([0.001, 0.003, 0.01, 0.03]))
    small = {"epochs": 2, "seeds": 2, "kept": "", "rate": rate}
    state = playground.setting(draw, **small)
    ((code, accuracy, _),) = playground.ask(FINAL, s=state)
    # A rounding may turn the prediction for one of the 360 images.
    assert np.abs(executed(code) - accuracy).max() < 1.5 / 360


# Settings in which a rounding grows: some seeds may end with a few other predictions.
GROWS = {"restarts", "learning-rate dropout", "wrong labels are learned"}
PRESETS = 10


@pytest.mark.slow
@pytest.mark.parametrize("number", range(PRESETS))
def test_presets_end_with_fits_accuracies(playground, number: int) -> None:
    label, values = playground.ask("it.explorer.presets[given.number]", number=number)
    for code, accuracy, failed in playground.ask(FINAL, s=playground.settled(values)):
        assert failed == (16 if label == "too large" else 0)
        expected = executed(code)
        same = np.isclose(expected, accuracy, atol=1e-9)
        assert len(same) == 16
        if label in GROWS:
            assert abs(expected.mean() - np.mean(accuracy)) < 0.004, label
        else:
            assert same.all(), label


# --- The range test -------------------------------------------------------------------------------

RULES = (lrlib.minimum_over_ten, lrlib.steepest, lrlib.valley, lrlib.last_clear_fall)


def read(test: lrlib.RangeTest) -> list[float] | None:
    try:
        return [rule(test) for rule in RULES]
    except ValueError:
        return None


def range_test_with(losses: list[float]) -> lrlib.RangeTest:
    """lrlib's range test of a training that has these losses."""
    told = iter(losses)
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    return lrlib.range_test(model, [None], optimizer, step=lambda batch: next(told))


@settings(max_examples=80)
@given(
    falls=st.floats(0.2, 3),
    at=st.integers(20, 190),
    noise=st.floats(0, 0.5),
    seed=st.integers(0, 99),
    ends=st.sampled_from([math.nan, math.inf, 50.0, None]),
)
def test_smoothing_stop_and_readings_are_lrlibs(
    playground, falls: float, at: int, noise: float, seed: int, ends: float | None
) -> None:
    steps = np.arange(200)
    losses = 0.2 + falls / (1 + np.exp((steps - at) / 10))
    losses += noise * np.random.default_rng(seed).random(200)
    if ends is not None:
        losses[at + 9 :] = ends
    test = range_test_with(losses.tolist())
    given_ = [value if math.isfinite(value) else None for value in losses]
    curve = playground.ask("it.smoothed(given.losses.map(x => x ?? NaN))", losses=given_)
    assert curve == pytest.approx(test.smoothed.tolist(), rel=1e-12)
    got = playground.ask("it.readings(given.curve)", curve=test.smoothed.tolist())
    assert got == (None if (expected := read(test)) is None else pytest.approx(expected, rel=1e-9))


RANGE = f"""(() => {{
  const [engine, order] = [{ENGINE}, it.rangeOrder(it.orderOf(given.s).setting)];
  const run = it.rangeTest(engine, engine.unpack(given.data.digits, false), order.setting);
  let piece = run.next();
  while (!piece.done) piece = run.next();
  return [order.name, piece.value];
}})()"""


@pytest.mark.parametrize(
    ("state", "make", "options"),
    [
        ({}, SGD, {"momentum": 0.9}),
        ({"momentum": 0, "batch": "8"}, SGD, {}),
        ({"optimizer": "AdamW", "decay": "0.1", "keep": 0.5}, ADAMW, {"weight_decay": 0.1}),
    ],
)
def test_a_range_test_in_the_page_is_lrlibs_and_reads_the_same_rates(
    playground, state: dict[str, Any], make: Any, options: dict[str, Any]
) -> None:
    whole = playground.settled({"seeds": 2, "fresh": 1, **state})
    _, curves = playground.ask(RANGE, s=whole)
    size = int(whole["batch"])
    each = 1077 // size  # whole batches of an epoch
    train = digits().train
    for seed, curve in zip((32, 33), curves, strict=True):
        model = lab.seeded(lambda: lab.mlp(64, 32, 10), seed)
        inner = make(model.parameters(), lr=1.0, **options)
        masks = torch.Generator().manual_seed(seed)
        optimizer = lrlib.LRDropout(inner, whole["keep"], masks) if whole["keep"] < 1 else inner
        orders = [batch_order(1077, seed, epoch)[: each * size] for epoch in range(-(-200 // each))]
        batches = np.concatenate(orders).reshape(-1, size)

        def loss(model: torch.nn.Module, batch: Any) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(model(train.x[batch]), train.y[batch])

        test = lrlib.range_test(model, list(batches), optimizer, loss)
        calm = int((test.rates < 0.1).sum())  # above, a rounding may grow
        np.testing.assert_allclose(curve[:calm], test.smoothed[:calm], atol=1e-4)
        assert len(curve) == pytest.approx(len(test.smoothed), abs=5)
        got = playground.ask("it.readings(given.curve)", curve=curve)
        assert got == pytest.approx(read(test), rel=1e-9)


def test_a_reading_is_shown_said_and_can_be_used(playground) -> None:
    state = playground.settled({"seeds": 3, "epochs": 1, "find": True})
    name, curves = playground.ask(RANGE, s=state)
    data = {"digits": playground.data["digits"], "tests": {name: curves}}
    js = "[it.explorer.view(given.s, given.t), it.explorer.actions(given.s, given.t)]"
    view, actions = playground.ask(js, s=state, t=data)
    every = np.array([playground.ask("it.readings(given.c)", c=curve) for curve in curves])
    middle = [float(f"{rate:.3g}") for rate in np.median(every, axis=0)]
    assert [patch["rate"] for _, patch in actions[:4]] == middle
    assert [point["x"] for point in view["charts"][0]["points"]] == middle
    notes = [note["text"] for note in view["notes"]]
    for (label, _), rate, low, high in zip(
        actions[:4], middle, every.min(axis=0), every.max(axis=0), strict=True
    ):
        rule = label.split("(")[1].removesuffix(")")
        assert label == f"Use {rate:g} ({rule})"
        spread = f"go from {low:.3g} to {high:.3g})."
        assert f"{rule} reads {rate:g} (median; the networks' readings {spread}" in notes
    running = playground.ask("it.explorer.view(given.s, given.data)", s=state)
    assert running["charts"][0]["title"] == "The range test is running"
    # The rate and the schedule don't matter to it, and it isn't part of a kept setting.
    other = playground.settled({**state, "rate": 1, "schedule": "Linear", "epochs": 3})
    assert playground.ask("it.rangeOrder(it.orderOf(given.s).setting).name", s=other) == name
    assert playground.ask("it.writeKept([given.s])", s=state) == "epochs:1"


# --- Statistics and words -----------------------------------------------------------------------

SCORES = st.lists(st.integers(0, 40).map(lambda wrong: wrong / 3.6), min_size=4, max_size=4)


@settings(max_examples=60)
@given(rows=st.lists(SCORES, min_size=2, max_size=32), entrants=st.integers(2, 4))
def test_verdicts_are_the_laboratorys(playground, rows: list[list[float]], entrants: int) -> None:
    names = ["this", "A", "B", "C"][:entrants]
    scores = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    card = Card("", "error", False, 0.5, "an example", diverged=90.0)
    expected = judge({20: scores}, card)
    given_ = [{"name": name, "scores": values} for name, values in scores.items()]
    got = playground.ask("it.judge(given.entrants, it.MARGIN)", entrants=given_)
    assert [(v["a"], v["b"], v["verdict"]) for v in got] == [
        (v.a, v.b, v.verdict) for v in expected
    ]
    for mine, theirs in zip(got, expected, strict=True):
        assert mine["mean"] == pytest.approx(theirs.difference.mean, abs=1e-9)
        assert mine["half"] == pytest.approx(theirs.difference.half_width, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("df", [1, 2, 3, 8, 15, 31])
def test_students_t_is_scipys(playground, df: int) -> None:
    for t in (0.0, 0.3, 1.0, 2.0, 5.0):
        got = playground.ask("it.studentTail(given.t, given.df)", t=t, df=df)
        assert got == pytest.approx(student.sf(t, df), abs=1e-12)
    assert playground.ask("it.quantiles[given.df]", df=df) == pytest.approx(student.ppf(0.975, df))


def shown(module: Module, **state: Any) -> dict[str, Any]:
    js = "it.explorer.view(given.s, it.explorer.still(given.s, given.data))"
    return module.ask(js, s=module.settled(state))


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"rate": 1e9, "seeds": 2, "epochs": 2, "schedule": "Constant"}, "no better than guessing"),
        ({"seeds": 4, "epochs": 30, "noisy": True, "schedule": "Constant"}, "was lowest after"),
        ({"seeds": 2, "epochs": 12, "schedule": "Constant", "rate": 1e-4}, "too small"),
        ({"seeds": 2, "epochs": 4, "batch": "128", "warmup": 50, "schedule": "Linear"}, None),
    ],
)  # fmt: skip
def test_a_hint_says_what_happened_and_where_to_read(
    playground, state: dict[str, Any], said: str | None
) -> None:
    notes = [note for note in shown(playground, **state)["notes"] if "page" in note]
    assert len(notes) == (0 if said is None else 1), notes
    assert all(said in note["text"] for note in notes)
    for note in notes:
        page = ROOT / note["page"].replace(".html", ".ipynb")
        assert page.exists() or page.with_suffix(".md").exists()


@pytest.mark.parametrize(
    ("state", "loss", "held", "said"),
    [
        ({"schedule": "Constant"}, [1.0] + 19 * [0.5], 20 * [0.5], ["noise floor"]),
        ({"schedule": "Cosine"}, [1.0] + 19 * [0.5], 20 * [0.5], []),
        ({"schedule": "Linear", "end": 1}, [1.0] + 19 * [0.5], 20 * [0.5], []),
        ({"schedule": "Constant"}, list(np.linspace(1, 0.1, 20)), 20 * [0.5], []),
        ({"schedule": "Constant"}, 20 * [1.0], 20 * [0.5], ["too small"]),
        ({}, list(np.linspace(1, 0.1, 20)), 10 * [0.5] + 10 * [0.6], ["lowest after epoch 1; at"]),
        ({"schedule": "Constant"}, 20 * [3.0], 20 * [3.0], ["1 of 1 network ended no better"]),
    ],
)
def test_hints_follow_from_the_losses(
    playground, state: dict[str, Any], loss: list[float], held: list[float], said: list[str]
) -> None:
    whole = playground.settled({"seeds": 1, **state})
    result = {"trainLoss": [[x] for x in loss], "validationLoss": [[x] for x in held]}
    result["validationAccuracy"] = [[0.9] for _ in held]
    notes = playground.ask("it.hints(given.s, given.result)", s=whole, result=result)
    assert len(notes) == len(said)
    assert all(words in note["text"] for words, note in zip(said, notes, strict=True))


def test_a_network_that_failed_is_counted_and_not_dropped(playground) -> None:
    view = shown(
        playground, rate=10, schedule="Constant", seeds=3, epochs=1, kept="rate:0.1,epochs:1"
    )
    assert "3 of 3 networks ended no better than guessing" in view["summary"]
    (row,) = view["table"]["rows"]
    assert row[0] == "this − A"
    json.dumps(view, allow_nan=False)


@pytest.mark.parametrize(
    ("loss", "accuracy", "failed"),
    [(2.3, 0.1, 1), (2.3, 0.2, 0), (2.31, 0.9, 1), (None, 0.9, 1), (0.1, 0.15, 1), (0.1, 0.16, 0)],
)
def test_a_network_with_the_error_of_a_guess_has_not_learned(
    playground, loss: float | None, accuracy: float, failed: int
) -> None:
    result = {"trainLoss": [[0.1], [loss]], "validationAccuracy": [[0.9], [accuracy]]}
    js = "it.guessing({ ...given.r, trainLoss: given.r.trainLoss.map(e => e.map(x => x ?? NaN)) })"
    assert playground.ask(js, r=result) == failed


def test_the_same_setting_is_not_kept_twice_nor_compared_with_itself(playground) -> None:
    def actions(state: dict[str, Any]) -> dict[str, Any]:
        return dict(
            playground.ask(
                "it.explorer.actions(given.s, given.data).map(a => [a[0], a[1] || null])", s=state
            )
        )

    keep = "Keep this setting to compare"
    small = {"seeds": 2, "epochs": 1}
    assert actions(playground.settled(small))[keep]
    twin = small | {"kept": "rate:0.1,epochs:1"}
    assert actions(playground.settled(twin)).keys() == {keep, "Remove A"}
    assert not actions(playground.settled(twin))[keep]
    view = shown(playground, **twin)
    assert "table" not in view
    assert any("the same as A" in note["text"] for note in view["notes"])
    full = small | {"kept": ";".join(f"rate:{rate},epochs:1" for rate in (1, 2, 3))}
    assert not actions(playground.settled(full))[keep]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({}, "SGD with momentum 0.9"),
        ({"momentum": 0}, "SGD without momentum"),
        ({"optimizer": "Nesterov", "momentum": 0}, "SGD without momentum"),
        ({"optimizer": "Nesterov"}, "SGD with Nesterov momentum 0.9"),
        ({"optimizer": "Adam"}, "Adam"),
        ({"optimizer": "AdamW"}, "AdamW (weight decay 0)"),
    ],
)
def test_the_optimizers_momentum_and_decay_are_named(
    playground, state: dict[str, Any], said: str
) -> None:
    words = playground.ask("it.inWords(given.s)", s=playground.settled(state))
    assert words == f"rate 0.1, cosine, {said}, 20 epochs"


def test_the_rates_that_were_tried_are_listed_with_their_errors(playground) -> None:
    kept = "rate:1e-3,epochs:1;rate:0.01,epochs:1;rate:0.01,epochs:1,batch:8"
    view = shown(playground, seeds=2, epochs=1, kept=kept)
    (note,) = [note["text"] for note in view["notes"] if note["text"].startswith("Rates tried")]
    # That with other batches is no neighbor of these.
    assert re.findall(r"([\d.]+): [\d.]+ %", note) == ["0.001", "0.01", "0.1"]


def test_one_network_has_no_interval_and_no_verdict(playground) -> None:
    view = shown(playground, seeds=0, epochs=1, kept="rate:0.01,epochs:1")
    assert "one network: no interval" in view["summary"]
    assert "table" not in view
    assert any("no verdict" in note["text"] for note in view["notes"])


def test_kept_settings_are_paired_with_the_same_seeds(playground) -> None:
    state = playground.settled({"seeds": 5, "fresh": 2, "kept": "rate:1;rate:2;rate:3;rate:4"})
    entrants = playground.ask("it.entrants(given.s)", s=state)
    assert [entrant["rate"] for entrant in entrants] == [0.1, 1, 2, 3]
    orders = playground.ask("it.entrants(given.s).map(it.orderOf)", s=state)
    assert {tuple(order["setting"]["seeds"]) for order in orders} == {tuple(range(64, 69))}


@pytest.mark.slow
def test_the_solutions_for_the_class_are_what_the_page_trains(playground) -> None:
    def end(**state: Any) -> tuple[float, float, int]:
        """The mean validation error in percent, the mean training loss, and how many failed."""
        js = """(() => {
          const result = it.explorer.still(given.s, given.data).results[it.orderOf(given.s).name];
          const mean = (values) => it.meanOf(values);
          return [mean(it.errorsOf(result)), mean(result.trainLoss.at(-1)), it.guessing(result)];
        })()"""
        error, loss, failed = playground.ask(js, s=playground.settled(state))
        return error, loss, failed

    short, long = (end(rate=0.01, epochs=n)[0] - end(epochs=n)[0] for n in (5, 20))
    assert 0 < 3 * long < short
    _, momentum, _ = end(rate=0.03, epochs=5)
    assert end(rate=0.3, momentum=0, epochs=5)[1] == pytest.approx(momentum, rel=0.1)
    assert end(rate=0.03, momentum=0, epochs=5)[1] > 5 * momentum
    batches = {"32": 0.03, "128": 0.03, "scaled": 0.12}
    small, large, scaled = (
        end(rate=rate, batch="32" if name == "32" else "128", epochs=10)[0]
        for name, rate in batches.items()
    )
    assert small < scaled < small + (large - small) / 2
    fixed = {"schedule": "Constant", "momentum": 0, "epochs": 5}
    assert end(rate=0.7, **fixed)[2] == 0
    assert 0 < end(rate=1.4, **fixed)[2] < 8 < end(rate=2, **fixed)[2]
    error, loss, _ = end(noisy=True)
    changes = ({"epochs": 5}, {"decay": "0.01"}, {"keep": 0.3}, {"rate": 0.01})
    for change in changes:
        changed = end(noisy=True, **change)
        assert changed[0] < error, change
        assert changed[1] > loss, change


# --- The landing page's figure, made of the same parts -------------------------------------------

LOOK = """(() => {
  const data = it.trained((s) => given.rates.map((rate) => it.orderAt(s.schedule, rate)))
    (given.s, given.data);
  const end = given.rates.map(
    (rate) => data.results[it.orderAt(given.s.schedule, rate).name].validationAccuracy.at(-1));
  return [end, it.explorer.view(given.s, data)];
})()"""
SHAPES: dict[str, lrlib.Schedule] = {
    "constant": lrlib.Constant(),
    "step": lrlib.MultiStep([91, 182], gamma=0.1),
    "linear": lrlib.Linear(1.0, 0.0, 272),
    "cosine": lrlib.Cosine(272),
}


@pytest.fixture(scope="module")
def first_look(tmp_path_factory) -> Iterator[Module]:
    module = Module("first-look", tmp_path_factory.mktemp("first-look"))
    yield module
    module.close()


@pytest.mark.parametrize("schedule", SHAPES)
def test_the_first_look_trains_and_says_what_fit_many_does(first_look, schedule: str) -> None:
    rates = [0.05, 0.2]
    state = first_look.settled({"schedule": schedule, "rate": rates[0]})
    got, view = first_look.ask(LOOK, s=state, rates=rates)
    runs = [lab.Run(SHAPES[schedule], rate, seed) for rate in rates for seed in range(8)]
    result = lab.fit_many(lambda: lab.mlp(64, 32, 10), digits(), runs, epochs=8)
    accuracy = result.validation_accuracy[:, -1].reshape(2, 8)
    np.testing.assert_allclose(got, accuracy, atol=1e-9)
    errors = [lab.interval(100 * (1 - row)) for row in accuracy]
    losses, ends = view["charts"]
    line = losses["lines"][-1]
    np.testing.assert_allclose(line["y"], result.train_loss[:8].mean(axis=0), atol=1e-4)
    (curve,) = ends["lines"]
    np.testing.assert_allclose(curve["y"], [error.mean for error in errors])
    np.testing.assert_allclose(curve["high"], [error.mean + error.half_width for error in errors])
    said = re.search(r"([\d.]+) ± ([\d.]+) %", view["summary"])
    assert [float(number) for number in said.groups()] == pytest.approx(
        [errors[0].mean, errors[0].half_width], abs=0.051
    )
    assert "Other rates are being trained" in view["summary"]
    assert view["busy"]


def test_the_first_look_counts_networks_that_failed(first_look) -> None:
    state = first_look.settled({"schedule": "constant", "rate": 3.16})
    _, view = first_look.ask(LOOK, s=state, rates=[3.16])
    assert "8 of 8 networks ended no better than guessing" in view["summary"]


LINK = re.compile(r"\{playground\}`[^<`]+ <([^>]+)>`")


def test_every_preset_is_linked_from_one_chapter(playground) -> None:
    pages = sorted(ROOT.glob("chapters/*/index.md"))
    links = [link for page in pages for link in LINK.findall(page.read_text(encoding="utf-8"))]
    linked = [playground.settled(dict(parse_qsl(link, strict_parsing=True))) for link in links]
    presets = [playground.settled(values) for _, values in playground.ask("it.explorer.presets")]
    (range_test,) = [one for one in linked if one not in presets]
    assert range_test == playground.settled({"find": True})
    assert all(linked.count(preset) == 1 for preset in presets)


def test_presets_are_settings_that_the_controls_have(playground) -> None:
    presets = playground.ask("it.explorer.presets")
    assert len(presets) == PRESETS
    assert len({label for label, _ in presets}) == PRESETS
    for _, values in presets:
        state = playground.settled(values)
        assert {name: state[name] for name in values} == values
