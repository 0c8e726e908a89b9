"""The command line does what was typed, says what is wrong, and loses nothing."""

from __future__ import annotations

import json
import math
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lrlib import Cosine
from lrlib.lab import History, Split, command, fit, load, mlp, seeded

QUICK = ["--epochs", "2", "--batch-size", "128"]


def train(*arguments: str) -> int:
    return command.main(["train", *arguments])


def weights(folder: Path) -> list[torch.Tensor]:
    return list(torch.load(folder / "checkpoint.pt", weights_only=True)["model"].values())


def log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_the_article_s_call_works_as_typed(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert train("--lr=.1", "--lr_dropout_rate=0.5", "--epochs=3") == 0
    said = capsys.readouterr().out
    assert len(re.findall(r"epoch \d/3: rate 0\.1, training loss", said)) == 3
    assert re.search(r"test: loss 0\.\d+, accuracy 9\d\.\d+%", said)
    (folder,) = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "settings.json").read_text())["keep"] == 0.5
    assert [line["epoch"] for line in log(folder)] == [1, 2, 3]
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint.pt",
        "log.jsonl",
        "settings.json",
    ]


SETTINGS = [
    [],
    ["--lr-dropout-rate", "0.5", "--schedule", "cosine"],
    ["--optimizer", "adamw", "--lr", "0.003", "--plateau", "--patience", "0", "--keep", "0.7"],
    ["--model", "cnn", "--augment", "--optimizer", "nesterov", "--schedule", "warmup-cosine"],
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(
    settings, tmp_path, capsys, monkeypatch
) -> None:
    settings = [*settings, "--epochs", "4", "--batch-size", "64"]
    assert train(*settings, "--out", str(tmp_path / "whole")) == 0

    calls: list[int] = []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fit(*arguments, **options)

    monkeypatch.setattr(command, "fit", interrupted)
    stopped = tmp_path / "stopped"
    assert train(*settings, "--out", str(stopped)) == 130
    said = capsys.readouterr().out
    assert "Stopped; saved after epoch 2 of 4" in said
    (again,) = re.findall(r"python -m lrlib (train --resume .*)", said)
    monkeypatch.setattr(command, "fit", fit)
    torch.manual_seed(123)
    assert command.main(shlex.split(again)) == 0
    for ours, theirs in zip(weights(stopped), weights(tmp_path / "whole"), strict=True):
        assert torch.equal(ours, theirs)
    assert log(stopped) == log(tmp_path / "whole")


def test_it_trains_as_fit_does(tmp_path) -> None:
    settings = ["--schedule", "cosine", "--epochs", "3", "--batch-size", "64", "--seed", "5"]
    assert train(*settings, "--out", str(tmp_path / "run")) == 0
    data = load("digits")
    model = seeded(lambda: mlp(64, 64, 32, 10), 5).to(data.train.x.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    steps = data.steps_per_epoch(64)
    history = fit(
        model, data, optimizer, epochs=3, schedule=Cosine(3 * steps), batch_size=64, seed=5
    )
    for ours, theirs in zip(weights(tmp_path / "run"), model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs.cpu())
    assert [line["lr"] for line in log(tmp_path / "run")] == history.lrs[steps - 1 :: steps]


def settings_of(folder: Path) -> dict:
    return json.loads((folder / "settings.json").read_text())


@pytest.mark.parametrize("optimizer", command.OPTIMIZERS)
def test_the_default_rate_is_sound(optimizer, tmp_path, capsys) -> None:
    assert train("--optimizer", optimizer, "--out", str(tmp_path / "run")) == 0
    (accuracy,) = re.findall(r"test: loss .*, accuracy (.*)%", capsys.readouterr().out)
    assert float(accuracy) > 95


@pytest.mark.parametrize(
    ("words", "digits", "mnist", "cifar"),
    [
        ([], 0.03, 0.0086, 0.0043),
        (["--momentum", "0"], 0.3, 0.086, 0.043),
        (["--momentum", "0.99"], 0.003, 0.00086, 0.00043),
        (["--optimizer", "nesterov"], 0.03, 0.0086, 0.0043),
        (["--optimizer", "rmsprop"], 0.003, 0.00086, 0.00043),
        (["--optimizer", "adam"], 0.003, 0.00086, 0.00043),
        (["--optimizer", "adamw"], 0.003, 0.00086, 0.00043),
    ],
)
def test_the_default_rate_depends_on_optimizer_momentum_and_data(
    words, digits, mnist, cifar
) -> None:
    settings = vars(command.parser().parse_args(["train", *words]))
    data = load("digits", device="cpu")
    for shape, rate in (((1, 8, 8), digits), ((1, 28, 28), mnist), ((3, 32, 32), cifar)):
        images = torch.zeros(len(data.train.y), *shape)
        other = replace(data, train=Split(images, data.train.y))
        assert command.completed(settings, other)["lr"] == rate


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_find_trains_at_the_rate_that_a_range_test_reads(optimizer, tmp_path, capsys) -> None:
    options = ["--optimizer", optimizer, "--batch-size", "64", "--seed", "3", "--augment"]
    options += ["--keep", "0.5", "--epochs", "2"]
    assert train(*options, "--lr", "find", "--out", str(tmp_path / "found")) == 0
    said = capsys.readouterr().out
    assert re.search(r"^range test: \d+ steps, rates from 1e-06 to ", said, re.M)
    read = dict(re.findall(r"^  ([a-z ]+?) +([0-9.e-]+)$", said, re.M))
    assert list(read) == ["minimum over ten", "steepest", "valley", "last clear fall"]
    (rate,) = re.findall(r"^training with --lr (\S+) \(minimum over ten\)$", said, re.M)
    assert float(rate) == float(read["minimum over ten"])
    # The test has left no trace: it is the run that one types with this rate.
    assert settings_of(tmp_path / "found")["lr"] == float(rate)
    assert train(*options, "--lr", rate, "--out", str(tmp_path / "typed")) == 0
    for ours, theirs in zip(weights(tmp_path / "found"), weights(tmp_path / "typed"), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("words", "latest", "then"),
    [
        (["--lr", "0.3"], 5, "0.03"),
        (["--lr", "0.3", "--schedule", "cosine"], 5, "0.03"),
        (["--lr", "100"], 1, "0.03"),
        (["--lr", "100", "--epochs", "1"], 1, "0.03"),
        (["--optimizer", "adam", "--lr", "1"], 1, "0.003"),
        (["--lr", "1e30"], 1, "0.03"),
    ],
)
def test_a_run_that_ends_no_better_than_guessing_is_given_up(
    words, latest, then, tmp_path, capsys
) -> None:
    assert train(*words, "--out", str(tmp_path / "run")) == 1
    said = capsys.readouterr()
    message = (
        r"^lrlib train: after epoch (\d+) the validation loss is (\S+), and guessing gives 2\.303"
        r"\. "
        rf"The rate \S+ is probably too high: try --lr {then}, or --lr find$"
    )
    ((epoch, loss),) = re.findall(message, said.err, re.M)
    assert int(epoch) <= latest
    assert not float(loss) < 2.303
    assert "test:" not in said.out
    assert len(log(tmp_path / "run")) == int(epoch)


def given_up(
    *words: str, lr: float = 0.03, steps: int = 400, loss: float = 2.31, accuracy: float = 0.1
) -> str | None:
    """What is said after the first epoch of a run on digits, whose default rate is 0.03."""
    digits = load("digits", device="cpu")
    settings = vars(command.parser().parse_args(["train", "--lr", str(lr), *words]))
    history = History([lr] * steps, [loss], [loss], [accuracy])
    return command.trouble(history, command.completed(settings, digits), digits)


def test_only_a_run_that_had_its_chance_is_given_up() -> None:
    assert "try --lr 0.003, or" in str(given_up())
    assert given_up(loss=2.3) is None  # better than guessing
    assert given_up(steps=40) is None  # young
    assert given_up("--epochs", "1", steps=40), "the last epoch"
    assert given_up(lr=0.02) is None  # slow
    assert given_up("--keep", "0.5") is None  # slow: half of the steps are kept
    for few in (given_up(steps=40, loss=2.6), given_up(lr=0.02, loss=2.6)):
        assert few, "its loss has risen"
    assert given_up(loss=2.9, accuracy=0.4) is None  # overfitted
    assert given_up(loss=math.nan, accuracy=0.4), "not finite"


def test_a_slow_run_goes_on(tmp_path) -> None:
    assert train("--lr", "1e-5", "--epochs", "3", "--out", str(tmp_path / "run")) == 0


@pytest.mark.slow
def test_ctrl_c_in_a_real_process(tmp_path) -> None:
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "lrlib", "train", "--epochs", "2000", "--out", str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        # A shell's background job ignores Ctrl-C, and its children do.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not (folder / "log.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"train --resume {folder}" in said
    assert len(log(folder)) >= 1
    assert weights(folder)


@contextmanager
def nearly_full_disk() -> Iterator[None]:
    """No file may grow beyond 20 kB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_said_and_leaves_nothing_half_written(tmp_path, capsys) -> None:
    folder = tmp_path / "run"
    with nearly_full_disk():
        assert train(*QUICK, "--out", str(folder)) == 2
    said = capsys.readouterr().err
    assert "File too large" in said
    assert "checkpoint.pt" in said
    assert [path.name for path in folder.iterdir()] == ["settings.json"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path, capsys) -> None:
    (tmp_path / "file").write_text("")
    assert train(*QUICK, "--out", str(tmp_path / "file" / "run")) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err


@pytest.mark.parametrize("schedule", command.SCHEDULES)
def test_every_schedule_fits_any_run(schedule: str) -> None:
    for steps in (1, 2, 3, 10, 1000):
        factors = command.SCHEDULES[schedule](steps).lrs(1.0, steps)
        assert (factors >= 0).all()
        assert factors.max() <= 1
        assert factors[0] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], r"--epochs=0: must be a positive integer"),
        (["--batch-size", "0"], r"batch_size must be a positive integer"),
        (["--lr", "-1"], r"--lr=-1.0: must be a finite number above 0$"),
        (["--lr", "0"], r"--lr=0.0: must be a finite number above 0$"),
        (["--lr", "nan"], r"--lr=nan: must be a finite number above 0$"),
        (["--lr", "inf"], r"--lr=inf: must be a finite number above 0$"),
        (["--lr", "find", "--keep", "0"], r"keep must be a finite number above 0 and at most 1"),
        (["--lr", "find", "--epochs", "0"], r"--epochs=0: must be a positive integer"),
        (["--momentum", "1"], r"--momentum=1.0: must be from 0 to below 1$"),
        (["--momentum", "nan"], r"--momentum=nan: must be from 0 to below 1$"),
        (["--weight-decay", "nan"], r"--weight-decay=nan: must be a finite number of at least 0$"),
        (["--batch-size", "1078"], r"--batch-size=1078: must be at most 1077, the number of train"),
        (
            ["--patience", "5"],
            r"--patience=5: this option does nothing without --plateau; leave it out$",
        ),
        (
            ["--factor", "0.1"],
            r"--factor=0.1: this option does nothing without --plateau; leave it out$",
        ),
        (
            ["--optimizer", "adam", "--momentum", "0.9"],
            r"--momentum=0.9: this option does nothing with --optimizer adam; leave it out$",
        ),
        (["--keep", "1.5"], r"keep must be a finite number above 0 and at most 1"),
        (["--factor", "2", "--plateau"], r"factor must be below 1"),
        (["--patience", "-1", "--plateau"], r"patience must be a non-negative integer"),
        (["--dataset", "imagenet"], r"imagenet"),
        (["--dataset", "nothing.npz"], r"nothing\.npz"),
        (["--model", "resnet34"], r"needs color images of 32×32"),
        (["--device", "abacus"], r"abacus"),
        (["--seed", "-1"], r"seed must be a non-negative integer"),
        (["--resume", "nowhere"], r"no run there"),
        (["--resume", "nowhere", "--lr", "1"], r"leave out --lr$"),
        (["--resume=nowhere", "--epochs=10"], r"leave out --epochs$"),  # also a default
    ],
)
def test_wrong_values_are_refused_by_name_before_anything_is_written(
    arguments, message, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LRLIB_DEVICE", "cpu")
    assert train(*arguments) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--schedule", "spiral"], "invalid choice: 'spiral'"),
        (["--lr", "fast"], "argument --lr: 'fast' is neither a number nor 'find'"),
        (["--learning-rate", "1"], "unrecognized arguments"),
        (["--epoch", "1"], "unrecognized arguments"),
    ],
)
def test_wrong_words_are_refused(arguments, message, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        train(*arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_an_existing_run_is_not_overwritten(tmp_path, capsys) -> None:
    assert train(*QUICK, "--out", str(tmp_path / "run")) == 0
    before = weights(tmp_path / "run")
    assert train(*QUICK, "--seed", "1", "--out", str(tmp_path / "run")) == 2
    assert f"--resume {tmp_path / 'run'}" in capsys.readouterr().err
    for ours, theirs in zip(weights(tmp_path / "run"), before, strict=True):
        assert torch.equal(ours, theirs)


def test_the_help_teaches_and_its_examples_are_right(capsys) -> None:
    with pytest.raises(SystemExit):
        train("--help")
    said = capsys.readouterr().out
    examples = re.findall(r"^  lrlib (train\b.*?)(?:  |$)", re.sub(r"\\\n *", "", said), re.M)
    assert len(examples) == 8
    for example in examples:
        command.parser().parse_args(shlex.split(example))
    assert command.main([]) == 2
