"""The protocol keeps what it promises: on simulated data, where the truth is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import ttest_1samp, ttest_rel

from lrlib.lab import Card, Contest, contest, judge
from lrlib.lab.stats import holm, paired_p_values

CARD = Card("Is there a difference?", "accuracy", True, 0.5, "simulated", diverged=-1.0)
SIMULATIONS = 400
# 5 % of the simulations, and three standard errors of that count.
MOST_FALSE = SIMULATIONS * 0.05 + 3 * (SIMULATIONS * 0.05 * 0.95) ** 0.5


def simulated(shifts: list[float], seed: int, units: int = 12) -> dict[int, dict[str, list[float]]]:
    """Scores at two budgets; what units have in common is larger than their noise."""
    random = np.random.default_rng(seed)
    scores = {}
    for budget in (1, 2):
        common = random.normal(0, 3, units)
        scores[budget] = {
            chr(ord("a") + i): (common + shift + random.normal(0, 0.4, units)).tolist()
            for i, shift in enumerate(shifts)
        }
    return scores


def test_equal_entrants_are_told_apart_in_at_most_5_percent_of_contests() -> None:
    wrong = sum(
        any(v.verdict in ("better", "worse") for v in judge(simulated([0.0] * 4, seed), CARD))
        for seed in range(SIMULATIONS)
    )
    assert wrong <= MOST_FALSE


def test_a_difference_of_the_margin_is_called_equivalent_in_at_most_5_percent() -> None:
    wrong = sum(
        any(v.verdict == "equivalent" for v in judge(simulated([0.0, 0.5], seed), CARD))
        for seed in range(SIMULATIONS)
    )
    assert wrong <= MOST_FALSE


def test_what_is_plain_is_seen() -> None:
    apart = [judge(simulated([0.0, 2.0], seed), CARD) for seed in range(20)]
    assert {v.verdict for verdicts in apart for v in verdicts} == {"worse"}
    precise = Card("", "accuracy", True, 2.0, "a wide margin", diverged=-1.0)
    same = [judge(simulated([0.0, 0.0], seed), precise) for seed in range(20)]
    assert {v.verdict for verdicts in same for v in verdicts} == {"equivalent"}


def test_a_lower_loss_is_better() -> None:
    loss = Card("", "loss", False, 0.5, "simulated", diverged=9.0)
    (one, _) = judge(simulated([0.0, 2.0], 0), loss)
    assert (one.a, one.b, one.verdict) == ("a", "b", "better")


def test_the_p_values_are_those_of_scipy() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(0, 1, (2, 15))
    different, outside = paired_p_values(a - b, margin=0.7)
    assert different == pytest.approx(ttest_rel(a, b).pvalue)
    low = ttest_1samp(a - b, -0.7, alternative="greater").pvalue
    high = ttest_1samp(a - b, 0.7, alternative="less").pvalue
    assert outside == pytest.approx(max(low, high))


def test_holm_is_between_no_correction_and_bonferroni() -> None:
    p = np.random.default_rng(1).uniform(0, 0.2, 9)
    adjusted = np.array(holm(list(p)))
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(9 * p, 1) + 1e-15).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all(), "in the order of the p-values"


# --- Tuning ------------------------------------------------------------------------------------


def trial(entrant, budget, rates, seeds, split):
    """Accuracy is best at a rate of 10 · budget, the loss at a tenth of that."""
    seen.append((entrant, budget, tuple(rates), tuple(seeds), split))
    logs = np.log10(np.asarray(rates))[:, None] - np.log10(budget)
    noise = 0.01 * np.random.default_rng([budget, *seeds]).normal(0, 1, len(seeds))
    loss = (logs - 0.0) ** 2 + noise
    return {"accuracy": -((logs - 1.0) ** 2) + noise, "loss": np.where(logs > 3, np.nan, loss)}


seen: list[tuple] = []
SETTINGS = dict(rates=[0.01, 0.1, 1.0], budgets=[1, 10], tuning_seeds=range(3), seeds=range(9, 21))


def run(metric: str = "accuracy", **changes) -> Contest:
    seen.clear()
    card = Card("", metric, metric == "accuracy", 0.5, "simulated", diverged=1e3)
    return contest(card, ["a", "b"], trial, **SETTINGS | changes)


def test_the_grid_grows_until_no_best_rate_is_on_its_edge() -> None:
    result = run()
    for budget, rate in ((1, 10.0), (10, 100.0)):
        for entrant in "ab":
            grid = result.rates[budget][entrant]
            assert result.best[budget][entrant] == pytest.approx(rate)
            assert grid[0] < rate < grid[-1]
            lower, best, higher = result.neighbors(budget, entrant)
            assert max(lower, higher) < best
    down = run(rates=[100.0, 1000.0, 10_000.0])
    assert down.best[1]["a"] == pytest.approx(10.0)
    with pytest.raises(ValueError, match=r"best rate of a at budget 1 .* edge .* of 40 rates"):
        run(rates=[1e-90, 1e-89, 1e-88])


def test_one_metric_tunes_and_judges() -> None:
    # The two metrics want different rates; a contest that mixed them would be seen here.
    assert run("accuracy").best[1]["a"] == pytest.approx(10.0)
    loss = run("loss")
    assert loss.best[1]["a"] == pytest.approx(1.0)
    assert max(loss.scores[1]["a"]) < 0.1, "judged by the loss too"


def test_the_verdict_sees_fresh_seeds_and_the_test_split_once() -> None:
    run()
    tuning = {s for *_, seeds, split in seen if split == "validation" for s in seeds}
    judged = [(e, b, r, s) for e, b, r, s, split in seen if split == "test"]
    assert tuning == {0, 1, 2}
    assert len(judged) == len(set(judged)) == 4
    assert all(len(rates) == 1 and set(seeds) == set(range(9, 21)) for *_, rates, seeds in judged)
    with pytest.raises(ValueError, match=r"contest\(seeds=.*fresh: none of the tuning seeds"):
        run(seeds=range(2, 20))


def test_repeats_are_averaged_within_a_unit() -> None:
    single, units = run(), run(repeats=3)
    np.testing.assert_allclose(
        units.scores[1]["a"], np.reshape(single.scores[1]["a"], (4, 3)).mean(axis=1)
    )
    assert units.verdict("a", "b", 1).difference.n == 4
    with pytest.raises(ValueError, match="at least 2 units of 7 seeds each"):
        run(repeats=7)


def test_a_run_that_diverged_counts_as_the_card_says() -> None:
    result = run("loss", rates=[1.0, 100.0, 10_000.0])
    assert result.tuning[1]["a"][-1] == 1e3, "counted, not dropped"


def test_a_record_comes_back_and_a_spoilt_one_names_the_place() -> None:
    result = run()
    record = json.loads(json.dumps(result.record()))
    assert Contest.from_record(record) == result
    # The verdict at a rate that another metric chose:
    mixed = json.loads(json.dumps(record))
    mixed["best"]["10"]["b"] = run("loss").best[10]["b"]
    with pytest.raises(ValueError, match="b at budget 10: accuracy is best at the rate 100, but"):
        Contest.from_record(mixed)
    edge = json.loads(json.dumps(record))
    edge["rates"]["1"]["a"], edge["tuning"]["1"]["a"] = (
        edge[part]["1"]["a"][:-1] for part in ("rates", "tuning")
    )
    with pytest.raises(ValueError, match="a at budget 1: the best rate, 10, is the grid's edge"):
        Contest.from_record(edge)
