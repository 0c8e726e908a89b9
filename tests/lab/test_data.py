"""Data is split and standardized the same every time, or an error says what to do."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import struct
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from torchvision import datasets

from lrlib.lab import DataError, load, load_text, with_random_labels
from lrlib.lab.data import NAMES, data_folder


def test_digits_are_split_fixed_and_stratified() -> None:
    data, again = load("digits"), load("digits")
    splits = (data.train, data.validation, data.test)
    assert [len(s.y) for s in splits] == [1077, 360, 360]
    assert data.shape == (1, 8, 8)
    assert data.classes == 10
    for split, same in zip(splits, (again.train, again.validation, again.test), strict=True):
        assert torch.equal(split.x, same.x)
        assert split.x.dtype == torch.float32
        assert split.y.dtype == torch.int64
        shares = torch.bincount(split.y.cpu(), minlength=10) / len(split.y)
        assert (shares - 0.1).abs().max() < 0.01
    assert data.train.x.mean().abs() < 1e-4
    assert (data.train.x.std() - 1).abs() < 1e-3


def test_steps_per_epoch_counts_the_last_smaller_batch() -> None:
    data = load("digits")
    assert data.steps_per_epoch(32) == 34
    assert data.steps_per_epoch(1077) == 1
    with pytest.raises(ValueError, match=r"steps_per_epoch\(batch_size=0\)"):
        data.steps_per_epoch(0)


@pytest.mark.parametrize("name", ["imagenet", "", None, 3])
def test_an_unknown_name_lists_the_known(name) -> None:
    with pytest.raises(ValueError, match="must be one of 'digits', 'mnist'"):
        load(name)


# --- Text ----------------------------------------------------------------------------------------


def test_the_books_text_is_cut_by_position_and_stays_as_it_is() -> None:
    text = load_text()
    parts = (text.train, text.validation, text.test)
    written = "".join(text.characters[token] for part in parts for token in part.tolist())
    assert hashlib.sha256(written.encode()).hexdigest().startswith("9e22d09c372473fb"), (
        "results depend on it"
    )
    assert [len(part) for part in parts] == [152_668, 19_083, 19_084]
    assert text.characters == "".join(sorted(set(written)))


def test_your_own_txt_is_read_as_it_is(tmp_path: Path) -> None:
    own = tmp_path / "verse.txt"
    line = "Größe, naïve, 学习率: 12 % more\n"
    own.write_text(500 * line, encoding="utf-8")
    text = load_text(own, device="cpu")
    assert text.name == "verse"
    assert text.characters == "".join(sorted(set(line)))
    assert "".join(text.characters[token] for token in text.train[: len(line)].tolist()) == line
    assert load_text(str(own), device="cpu").characters == text.characters


def test_a_batch_depends_on_seed_and_step_alone_and_stays_in_the_training_part() -> None:
    text = load_text()
    x, y = text.batch(40, 32, seed=1, step=9)
    again = text.batch(40, 32, seed=1, step=9)
    assert torch.equal(x, again[0])
    for other in (dict(seed=1, step=10), dict(seed=2, step=9)):
        assert not torch.equal(x, text.batch(40, 32, **other)[0])
    assert x.shape == y.shape == (40, 32)
    assert torch.equal(x[:, 1:], y[:, :-1]), "y is x, one character further"
    marked = type(text)("", "", torch.arange(33), text.validation, text.test)
    x, y = marked.batch(40, 32, seed=0, step=0)
    assert (x[:, 0] == 0).all(), "a piece and its next characters fill the part exactly"
    assert y.max() == 32


def test_a_text_that_is_missing_short_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"load_text\('.*gone.txt'\): there is no such file"):
        load_text(tmp_path / "gone.txt")
    (tmp_path / "bytes.txt").write_bytes(bytes(range(256)) * 100)
    with pytest.raises(DataError, match="the file isn't a text in UTF-8"):
        load_text(tmp_path / "bytes.txt")
    (tmp_path / "short.txt").write_text("too short", encoding="utf-8")
    with pytest.raises(ValueError, match="at least 10,000 characters, not 9"):
        load_text(tmp_path / "short.txt")


# --- Random labels ------------------------------------------------------------------------------


def test_random_labels_are_those_that_the_notebooks_have_always_drawn() -> None:
    data = load("digits", device="cpu")
    generator = torch.Generator().manual_seed(0)
    chosen = torch.rand(1077, generator=generator) < 0.2
    random = torch.randint(0, 10, (1077,), generator=generator)
    noisy = with_random_labels(data, share=0.2, seed=0)
    assert torch.equal(noisy.train.y, torch.where(chosen, random, data.train.y))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_nine_in_ten_random_labels_are_wrong_and_nothing_else_changes(share: float) -> None:
    data = load("digits")
    draws = [with_random_labels(data, share, seed) for seed in range(20)]
    wrong = torch.cat([noisy.train.y != data.train.y for noisy in draws]).double().mean().item()
    assert abs(wrong - 0.9 * share) < 4 * np.sqrt(0.25 / (20 * 1077))
    assert torch.equal(draws[0].train.y, with_random_labels(data, share, 0).train.y)
    assert share == 0 or not torch.equal(draws[0].train.y, draws[1].train.y)
    for noisy in draws:
        assert noisy.train.x is data.train.x
        assert noisy.validation is data.validation
        assert noisy.test is data.test


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), "0.2"])
def test_a_share_of_random_labels_is_from_0_to_1(share) -> None:
    with pytest.raises((TypeError, ValueError), match=r"with_random_labels\(share=.*at most 1"):
        with_random_labels(load("digits"), share)


# --- A reader's own data -----------------------------------------------------------------------


def saved(tmp_path: Path, **arrays) -> Path:
    np.savez(tmp_path / "mine.npz", **arrays)
    return tmp_path / "mine.npz"


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3)])
def test_an_npz_without_a_test_set_is_cut_in_three(shape, tmp_path: Path) -> None:
    path = saved(tmp_path, images=random_images(60, *shape), labels=np.arange(60) % 3)
    data = load(path)
    assert data.classes == 3
    assert data.shape == (1 if len(shape) == 2 else 3, 6, 5)
    assert [len(s.y) for s in (data.train, data.validation, data.test)] == [36, 12, 12]
    assert load(str(path)).name == "mine"


def test_no_image_is_in_two_splits(tmp_path: Path) -> None:
    images = np.arange(200, dtype=np.uint8).repeat(4).reshape(200, 2, 2)
    data = load(saved(tmp_path, images=images, labels=np.arange(200) % 2))
    seen = torch.cat([s.x[:, 0, 0, 0] for s in (data.train, data.validation, data.test)])
    assert len(seen.unique()) == 200


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3), (300, 400)])
def test_every_channel_is_standardized_as_the_training_split_is(shape, tmp_path: Path) -> None:
    images, labels = random_images(50, *shape) // 3, np.arange(50) % 2
    images[..., 0] //= 2
    everything = {"test_images": images, "test_labels": labels}
    data = load(saved(tmp_path, images=images, labels=labels, **everything), device="cpu")
    train, validation, test = data.train, data.validation, data.test
    assert [len(split.y) for split in (train, validation, test)] == [40, 10, 50]
    assert test.y.tolist() == labels.tolist()
    assert train.x.mean((0, 2, 3)).abs().max() < 1e-5
    assert (train.x.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-5
    both = torch.cat([train.x, validation.x])
    assert torch.equal(both.flatten().sort().values, test.x.flatten().sort().values), "all alike"


GOOD = {"images": np.zeros((20, 4, 4), np.uint8), "labels": np.arange(20) % 2}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"images": None}, "must hold 'images' and 'labels'"),
        ({"images": np.zeros((20, 4, 4))}, "images must be uint8"),
        ({"images": np.zeros((20, 16), np.uint8)}, "images must be uint8"),
        ({"images": np.zeros((20, 4, 4, 2), np.uint8)}, "images must be uint8"),
        ({"labels": np.zeros(19, int)}, "labels must be 20 integers"),
        ({"labels": np.zeros(20)}, "labels must be 20 integers"),
        ({"labels": np.full(20, -1)}, "integers from 0"),
        ({"labels": np.zeros(20, int)}, "at least 2 classes"),
        ({"labels": np.array([1] + [0] * 19)}, "too few of class 1"),
        ({"labels": np.array(["cat"] * 20, object)}, "isn't a plain .npz"),
        ({"test_labels": np.zeros(3, int)}, "'test_images' and 'test_labels', but holds"),
        (
            {"test_images": np.zeros((3, 4, 4), np.uint8), "test_labels": np.zeros(2, int)},
            "test_labels must be 3 integers",
        ),
        (
            {"test_images": np.zeros((3, 5, 4), np.uint8), "test_labels": np.zeros(3, int)},
            r"shape of images, \(4, 4\), not \(5, 4\)",
        ),
    ],
)
def test_an_npz_that_is_not_what_it_should_be(change, reason: str, tmp_path: Path) -> None:
    path = saved(tmp_path, **{k: v for k, v in (GOOD | change).items() if v is not None})
    with pytest.raises((ValueError, DataError), match=reason):
        load(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", None])
def test_a_damaged_or_missing_npz_is_named(content, tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"mine\.npz"):
        load(path)


# --- Data sets that torchvision downloads ------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """An empty data folder, and no network."""
    nowhere = "http://127.0.0.1:9/"  # a port that nothing listens on
    monkeypatch.setattr(datasets.MNIST, "mirrors", [nowhere])
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [nowhere])
    monkeypatch.setattr(datasets.CIFAR10, "url", nowhere + "cifar-10-python.tar.gz")
    monkeypatch.setenv("LRLIB_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def idx(array: np.ndarray) -> bytes:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(head + array.astype(np.uint8).tobytes(), mtime=0)


@pytest.fixture
def mnist(folder: Path, monkeypatch) -> Path:
    """The packed files of a small data set in MNIST's format, whose sums torchvision is told."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    resources = []
    for prefix, count in (("train", 100), ("t10k", 30)):
        images, labels = random_images(count, 28, 28), np.arange(count) % 10
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx(array)
            name = f"{prefix}-{kind}-ubyte.gz"
            (raw / name).write_bytes(content)
            resources.append((name, hashlib.md5(content).hexdigest()))
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    return raw


@pytest.fixture
def cifar10(folder: Path, monkeypatch) -> Path:
    """A small data set in CIFAR-10's format, whose sums torchvision is told."""
    base = folder / datasets.CIFAR10.base_folder
    base.mkdir(parents=True)
    sums = {}
    batch = {"data": random_images(50, 3072), "labels": [i % 10 for i in range(50)]}
    for name in ("data_batch_1", "data_batch_2", "test_batch", "batches.meta"):
        content = pickle.dumps({"label_names": []} if name == "batches.meta" else batch)
        (base / name).write_bytes(content)
        sums[name] = hashlib.md5(content).hexdigest()
    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums.pop("batches.meta")}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    monkeypatch.setattr(datasets.CIFAR10, "train_list", list(sums.items())[:2])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", list(sums.items())[2:])
    return base


def grows_with(x: torch.Tensor, pixels: np.ndarray) -> bool:
    """Whether x is larger wherever the pixel is, as it is if they are the same images."""
    order = torch.from_numpy(pixels).flatten().argsort(stable=True)
    return bool((x.flatten()[order].diff() >= 0).all())


def test_mnist_is_read_from_its_packed_files(mnist: Path, folder: Path) -> None:
    data = load("mnist", device="cpu")
    assert [len(s.y) for s in (data.train, data.validation, data.test)] == [80, 20, 30]
    assert data.shape == (1, 28, 28)
    assert data.test.y.tolist() == (np.arange(30) % 10).tolist()
    assert grows_with(data.test.x[:, 0], random_images(30, 28, 28))
    assert [path.name for path in folder.iterdir()] == ["MNIST"], "no temporary folder is left"


def test_cifar10_is_read_from_its_files(cifar10: Path) -> None:
    data = load("cifar10", device="cpu")
    assert [len(s.y) for s in (data.train, data.validation, data.test)] == [80, 20, 50]
    assert data.shape == (3, 32, 32)
    assert data.test.y.tolist() == [i % 10 for i in range(50)]
    pixels = random_images(50, 3072).reshape(50, 3, 32, 32)
    assert all(grows_with(data.test.x[:, i], pixels[:, i]) for i in range(3))


def test_a_truncated_file_is_unpacked_again(mnist: Path) -> None:
    whole = load("mnist")
    for path in mnist.glob("*ubyte"):
        path.write_bytes(path.read_bytes()[:-10])
        again = load("mnist")
        assert torch.equal(again.train.x, whole.train.x)
        assert torch.equal(again.test.y, whole.test.y)


@pytest.mark.parametrize("which", range(4))
def test_a_damaged_packed_file_is_not_used(mnist: Path, which: int) -> None:
    path = sorted(mnist.iterdir())[which]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    for harmed in (content, content[:-10], b""):
        path.write_bytes(harmed)
        with pytest.raises(DataError, match=f"{path.name}.*Set LRLIB_DATA"):
            load("mnist")


def test_an_altered_pickle_is_never_opened(cifar10: Path) -> None:
    class Malicious:
        def __reduce__(self):
            return (exec, ("raise SystemExit('executed')",))

    (cifar10 / "data_batch_2").write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(DataError, match=r"CIFAR10 is missing from .*, or damaged"):
        load("cifar10")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "digits"])
def test_without_a_network_it_says_what_to_do(name: str, folder: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(name)
    message = str(caught.value)
    assert f"missing from {folder}" in message
    assert "Set LRLIB_DATA" in message
    assert "'digits'" in message
    assert list(folder.iterdir()) == [], "nothing half written"


def test_a_downloaded_set_is_moved_into_place_whole(mnist: Path, folder: Path, monkeypatch) -> None:
    served = mnist.rename(folder.parent / "served")
    killed = folder / ".fetching-killed"  # long ago
    killed.mkdir()
    os.utime(killed, (0, 0))
    handler = partial(SimpleHTTPRequestHandler, directory=served)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        assert len(load("mnist").test.y) == 30
        server.shutdown()
    for path in served.iterdir():
        assert (mnist / path.name).read_bytes() == path.read_bytes()
    assert [path.name for path in folder.iterdir()] == ["MNIST"], "no temporary folder is left"
    assert len(load("mnist").test.y) == 30, "and the second time without a server"


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("LRLIB_DATA", str(tmp_path / "file" / "data"))
    with pytest.raises(DataError, match=r"Not a directory.*Set LRLIB_DATA .* can be written"):
        load("mnist")


@pytest.mark.parametrize(("name", "kept"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_the_real_files(name: str, kept: str) -> None:
    if not (data_folder() / kept / "raw" / "train-images-idx3-ubyte.gz").exists():
        pytest.skip(f"{name} is not in {data_folder()}")
    data = load(name, device="cpu")
    assert [len(s.y) for s in (data.train, data.validation, data.test)] == [48_000, 12_000, 10_000]
    assert torch.bincount(data.validation.y).min() > 1000
