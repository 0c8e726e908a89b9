"""Data is whole, checked and split the same every time, or an error says what to do."""

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
from torchvision import datasets as vision

from lrlib.lab import DataError, load
from lrlib.lab.data import NAMES, _build, _moments, data_folder


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


def test_no_image_is_in_two_splits() -> None:
    images = np.arange(200, dtype=np.uint8).repeat(4).reshape(200, 2, 2)
    labels = np.arange(200) % 2
    data = _build("own", images, labels, None, "cpu")
    seen = torch.cat([s.x[:, 0, 0, 0] for s in (data.train, data.validation, data.test)])
    assert len(seen.unique()) == 200


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


# --- A reader's own data -----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3)])
def test_an_npz_of_ones_own(shape, tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    images = np.random.default_rng(0).integers(0, 255, (60, *shape), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(60) % 3)
    data = load(path)
    assert data.classes == 3
    assert data.shape == (1 if len(shape) == 2 else 3, 6, 5)
    assert [len(s.y) for s in (data.train, data.validation, data.test)] == [36, 12, 12]
    assert load(str(path)).name == "mine"


def test_an_npz_with_a_test_set_of_its_own(tmp_path: Path) -> None:
    path, rng = tmp_path / "mine.npz", np.random.default_rng(0)
    images, test_images = (rng.integers(0, 255, (n, 4, 4), dtype=np.uint8) for n in (50, 7))
    test_labels = np.arange(7) % 2
    np.savez(
        path,
        images=images,
        labels=np.arange(50) % 2,
        test_images=test_images,
        test_labels=test_labels,
    )
    data = load(path)
    assert [len(s.y) for s in (data.train, data.validation, data.test)] == [40, 10, 7]
    assert data.test.y.tolist() == test_labels.tolist()
    scale = data.test.x.std() / torch.from_numpy(test_images).float().std()
    shift = data.test.x.mean() - scale * test_images.mean()
    torch.testing.assert_close(data.test.x[:, 0], scale * torch.from_numpy(test_images) + shift)


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
        ({"labels": np.array(["cat"] * 20, object)}, "not a plain .npz"),
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
    path = tmp_path / "mine.npz"
    np.savez(path, **{k: v for k, v in (GOOD | change).items() if v is not None})
    with pytest.raises((ValueError, DataError), match=reason):
        load(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", None])
def test_a_damaged_or_missing_npz_is_named(content, tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"mine\.npz"):
        load(path)


# --- Data sets that are fetched ----------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(head + array.astype(np.uint8).tobytes(), mtime=0)


@pytest.fixture
def tiny_mnist(tmp_path: Path, monkeypatch) -> Path:
    """A folder with a small data set in MNIST's format, whose sums torchvision is told."""
    rng = np.random.default_rng(0)
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    resources = []
    for prefix, count in (("train", 100), ("t10k", 30)):
        images, labels = rng.integers(0, 255, (count, 28, 28)), np.arange(count) % 10
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx(array)
            name = f"{prefix}-{kind}-ubyte.gz"
            (raw / name).write_bytes(content)
            resources.append((name, hashlib.md5(content).hexdigest()))
    monkeypatch.setattr(vision.MNIST, "resources", resources)
    monkeypatch.setenv("LRLIB_DATA", str(tmp_path / "data"))
    return raw


def test_mnist_is_read_from_its_files(tiny_mnist: Path) -> None:
    data = load("mnist")
    assert [len(s.y) for s in (data.train, data.validation, data.test)] == [80, 20, 30]
    assert data.shape == (1, 28, 28)
    assert data.test.y.tolist() == (np.arange(30) % 10).tolist()


@pytest.mark.parametrize("harm", ["truncate", "alter"])
@pytest.mark.parametrize("which", range(4))
def test_a_damaged_file_is_named_and_not_used(tiny_mnist: Path, harm: str, which: int) -> None:
    path = sorted(tiny_mnist.iterdir())[which]
    content = bytearray(path.read_bytes())
    if harm == "alter":
        content[len(content) // 2] ^= 1
    path.write_bytes(content if harm == "alter" else content[:-10])
    with pytest.raises(DataError, match=f"{path.name} is damaged or altered.*Delete it"):
        load("mnist")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "digits"])
def test_without_a_network_it_says_what_to_do(name: str, tmp_path: Path, monkeypatch) -> None:
    nowhere = "http://127.0.0.1:9/"  # a port that nothing listens on
    monkeypatch.setattr(vision.MNIST, "mirrors", [nowhere])
    monkeypatch.setattr(vision.FashionMNIST, "mirrors", [nowhere])
    monkeypatch.setattr(vision.CIFAR10, "url", nowhere + "cifar-10-python.tar.gz")
    monkeypatch.setenv("LRLIB_DATA", str(tmp_path / "data"))
    with pytest.raises(DataError) as caught:
        load(name)
    message = str(caught.value)
    assert str(tmp_path / "data") in message, "where it looked"
    assert "LRLIB_DATA" in message
    assert "'digits'" in message
    assert list((tmp_path / "data").iterdir()) == [], "nothing half written"


def test_a_fetched_set_is_moved_into_place_whole(tiny_mnist: Path, monkeypatch) -> None:
    served = tiny_mnist.rename(tiny_mnist.parents[2] / "served")
    killed = data_folder() / ".fetching-killed"  # long ago
    killed.mkdir()
    os.utime(killed, (0, 0))
    handler = partial(SimpleHTTPRequestHandler, directory=served)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(vision.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        assert len(load("mnist").test.y) == 30
        server.shutdown()
    assert {path.name for path in tiny_mnist.iterdir()} == {p.name for p in served.iterdir()}
    assert [p.name for p in data_folder().iterdir()] == ["MNIST"], "no temporary folder is left"
    assert len(load("mnist").test.y) == 30, "and the second time without a server"


@pytest.fixture
def tiny_cifar10(tmp_path: Path, monkeypatch) -> Path:
    """A folder with a small data set in CIFAR-10's format, whose sums torchvision is told."""
    rng = np.random.default_rng(0)
    base = tmp_path / "data" / vision.CIFAR10.base_folder
    base.mkdir(parents=True)
    sums = []
    for name in ("data_batch_1", "data_batch_2", "test_batch"):
        batch = {
            "data": rng.integers(0, 256, (50, 3072), dtype=np.uint8),
            "labels": [i % 10 for i in range(50)],
        }
        content = pickle.dumps(batch)
        (base / name).write_bytes(content)
        sums.append([name, hashlib.md5(content).hexdigest()])
    monkeypatch.setattr(vision.CIFAR10, "train_list", sums[:2])
    monkeypatch.setattr(vision.CIFAR10, "test_list", sums[2:])
    monkeypatch.setenv("LRLIB_DATA", str(tmp_path / "data"))
    return base


def test_cifar10_is_read_from_its_files(tiny_cifar10: Path) -> None:
    data = load("cifar10", device="cpu")
    assert [len(s.y) for s in (data.train, data.validation, data.test)] == [80, 20, 50]
    assert data.shape == (3, 32, 32)
    # A channel's plane of the first test image, back in its 0 … 255.
    raw = pickle.loads((tiny_cifar10 / "test_batch").read_bytes())["data"][0]
    plane = data.test.x[0, 1]
    expected = torch.from_numpy(raw[1024:2048].reshape(32, 32).copy()).float()
    scale = (expected[0, 1] - expected[0, 0]) / (plane[0, 1] - plane[0, 0])
    torch.testing.assert_close(
        (plane - plane[0, 0]) * scale + expected[0, 0], expected, atol=0.05, rtol=0
    )


def test_an_altered_pickle_is_never_opened(tiny_cifar10: Path) -> None:
    class Malicious:
        def __reduce__(self):
            return (exec, ("raise SystemExit('executed')",))

    (tiny_cifar10 / "data_batch_2").write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(DataError, match="data_batch_2 is damaged or altered"):
        load("cifar10")


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("LRLIB_DATA", str(tmp_path / "file" / "data"))
    with pytest.raises(DataError, match=r"can't be written.*LRLIB_DATA"):
        load("mnist")


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_real_files(name: str) -> None:
    folder = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}[name]
    if not (data_folder() / folder / "raw" / "train-images-idx3-ubyte.gz").exists():
        pytest.skip(f"{name} is not in {os.environ.get('LRLIB_DATA', 'the cache')}")
    data = load(name, device="cpu")
    assert [len(s.y) for s in (data.train, data.validation, data.test)] == [48_000, 12_000, 10_000]
    assert torch.bincount(data.validation.y).min() > 1000


@pytest.mark.parametrize("shape", [(40, 9, 7), (40, 9, 7, 3), (9, 400, 400)])
def test_mean_and_deviation_are_those_of_each_channel(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8) // np.uint8(3)
    images[..., 0] //= 2
    mean, deviation = _moments(images)
    np.testing.assert_allclose(mean, images.mean(axis=(0, 1, 2)).reshape(-1), rtol=1e-12)
    np.testing.assert_allclose(deviation, images.std(axis=(0, 1, 2)).reshape(-1), rtol=1e-12)
