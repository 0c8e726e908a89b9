"""Claims are no decoration: alter a formula or a measurement a little, and the notebook fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lrlib.notebook.outputs import ClaimError

pytestmark = pytest.mark.slow
CHAPTERS = Path(__file__).resolve().parents[2] / "chapters"


def run(notebook: str, old: str, new: str, only: tuple[str, ...] = ()) -> None:
    """Runs the notebook's code with `old` replaced; `only` cells that hold one of these."""
    cells = json.loads((CHAPTERS / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = [
        "".join(c["source"])
        for c in cells
        if c["cell_type"] == "code"
        and "raises-exception" not in c["metadata"].get("tags", [])
        and "%" not in "".join(c["source"])[:1]
    ][1:]
    if only:
        sources = [source for source in sources if any(part in source for part in only)]
    whole = "\n\n".join(sources)
    assert old in whole, f"{notebook} no longer holds {old!r}: choose another line to alter"
    exec(compile(whole.replace(old, new, 1), notebook, "exec"), {"__name__": "notebook"})


NOISE, STEP, NETWORK = (
    f"01-decay-theory/{name}" for name in ("noise-floor", "step-size", "a-real-network")
)
FORMULA = "return lr * noise**2 / (curvature"
CHAINS = "(CURVATURE * w + noise * xi)"
GROUPS = "02-per-layer-rates/parameter-groups"
BY_HAND, RESUME, DESIGN = (
    f"03-manual-schedules/{name}" for name in ("by-hand", "resume-and-test", "design-your-own")
)
GUIDE, COSINE, MUSEUM = (
    f"04-built-in-schedulers/{name}" for name in ("field-guide", "cosine", "bug-museum")
)
ANATOMY, FAILS = (f"05-plateau-reduction/{name}" for name in ("anatomy", "when-it-fails"))
MECHANISM, MISSING = (f"06-lr-dropout/{name}" for name in ("mechanism", "the-missing-point"))
MISS = ("import", "d_p = buf\nd_p", "long_run", "three formulas")
EDGE = ("import", "def dot", "trails = ", "settled = ")


@pytest.mark.parametrize(
    ("notebook", "old", "new", "claim", "only"),
    [
        (NOISE, FORMULA, "return 1.05 * lr * noise**2 / (curvature", "within the sampling", ()),
        (NOISE, FORMULA, "return 0.95 * lr * noise**2 / (curvature", "within the sampling", ()),
        # The noise times √1.05 makes the measured floor 5 % higher.
        (NOISE, CHAINS, "(CURVATURE * w + 1.0247 * noise * xi)", "within the sampling", ()),
        (NOISE, CHAINS, "(CURVATURE * w + 0.9747 * noise * xi)", "within the sampling", ()),
        (NOISE, "decay=first * CURVATURE", "decay=0.999 * first * CURVATURE", "1/t schedule", ()),
        (
            NOISE,
            "lr * CURVATURE) ** 2 * m + lr**2",
            "1.01 * lr * CURVATURE) ** 2 * m + lr**2",
            "20 rates",
            (),
        ),
        (STEP, "w -= lr * gradient", "w -= 1.001 * lr * gradient", "multiplies the distance", ()),
        (STEP, "w += lr * gradient", "w -= lr * gradient", "With a plus", ()),
        (STEP, "lr = 2 / (1 + kappa)", "lr = 1.8 / (1 + kappa)", "in proportion", ()),
        (
            NETWORK,
            "dot(product, vector).item()",
            "1.2 * dot(product, vector).item()",
            "stays within 10 %",
            EDGE,
        ),
        (GROUPS, '"lr": 1e-5}', '"lr": 1.1e-5}', "Each group moves", ()),
        (GROUPS, "decay=0.5)]", "decay=0.4)]", "multiplies from the output", ()),
        (BY_HAND, "epoch -= epochs", "epoch -= epochs - 1", "the table is Piecewise", ()),
        (BY_HAND, "set_lr(optimizer, schedule(epoch))", "pass", "read back", ()),
        (RESUME, 'optimizer.load_state_dict(saved["optimizer"])', "pass", "bit-identical", ()),
        (RESUME, "(t + 1) / warmup", "t / warmup", "passes all five", ()),
        (DESIGN, "WARMUP) * Exponential(0.97)", "WARMUP) * Exponential(0.971)", "multiplies", ()),
        (DESIGN, "at=WARMUP)", "at=WARMUP + 1)", "reaches the base rate", ()),
        (GUIDE, "0.5 ** (t // 8)", "0.5 ** (t // 7)", "StepLR: torch, the formula", ()),
        (GUIDE, "up = 0.3 * 40 - 1", "up = 0.3 * 40", "OneCycleLR: torch, the formula", ()),
        (GUIDE, "5 * (2**cycle - 1)", "5 * 2**cycle - 4", "WarmRestarts: torch, the", ()),
        (GUIDE, "if bad > patience", "if bad >= patience", "torch and the rule agree", ()),
        (GUIDE, "swa_lr,\n]", "]", "all that torch ships", ()),
        (COSINE, "T_max=100", "T_max=200", "in the middle", ("import", "used = []", "used[100]")),
        (
            ANATOMY,
            "ReduceLROnPlateau(optimizer, **rule)",
            "ReduceLROnPlateau(optimizer)",
            "500",
            (),
        ),
        (FAILS, "(value - 1 / (p + 2))", "(value - 1 / (p + 1.9))", "three kinds of noise", ()),
        (
            MECHANISM,
            "weights.sub_(lr * kept * momentum)",
            "weights.sub_(lr * momentum)",
            "half",
            (),
        ),
        (MISSING, "d_p = buf\nd_p.mul_", "d_p = buf.clone()\nd_p.mul_", "masked as well", MISS),
        (MISSING, "update = buf.mul_(mask)", "update = buf * mask", "three formulas", MISS),
        # A torch that has mended an exhibit: the notebook must say so.
        (
            MUSEUM,
            "S.CosineAnnealingLR(sgd(0.1), T_max=4), 9)",
            "to_torch(Cosine(4), sgd(0.1)), 9)",
            "Up again",
            (),
        ),
        (MUSEUM, "total_steps=10)", "total_steps=11)", "then an error", ()),
        (MUSEUM, "milestones=[4, 2]", "milestones=[2, 4]", "No 0.05 anywhere", ()),
    ],
)
def test_an_altered_notebook_fails(notebook, old, new, claim, only, capsys) -> None:
    with pytest.raises(ClaimError, match=claim):
        run(notebook, old, new, only)


def test_unaltered_it_passes(capsys) -> None:
    run(STEP, "", "")
    run(NETWORK, "", "", EDGE)
