"""Real data, in memory, on the device: no per-sample Python.

`digits` comes with scikit-learn and needs no network; the others are fetched once by torchvision
and checked against known sums each time they are read.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lrlib import _checks
from lrlib.lab.devices import device as default_device
from lrlib.lab.files import remove_leftovers

__all__ = ["DataError", "Dataset", "Split", "load"]

NAMES = ("digits", "mnist", "fashion-mnist", "cifar10")

# Where a split is ours to draw, it is drawn once and for all.
_SPLIT_SEED = 0


class DataError(RuntimeError):
    """A data set is missing, damaged or unreadable; the message says where and what to do."""


class Split(NamedTuple):
    """Images and their labels, on the device.

    x: float32 [N, channels, height, width], standardized by the training split's mean and
    deviation; y: int64 [N].
    """

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Dataset:
    """A data set in three fixed, stratified splits. The test split is for one last look."""

    name: str
    classes: int
    train: Split
    validation: Split
    test: Split

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.train.x.shape[1:]
        return channels, height, width

    def steps_per_epoch(self, batch_size: int) -> int:
        """Batches in one pass over the training split, the last, smaller one included."""
        batch_size = _checks.integer("steps_per_epoch", "batch_size", batch_size, low=1)
        return -(-len(self.train.y) // batch_size)

    def __repr__(self) -> str:
        sizes = ", ".join(
            f"{name} {len(split.y):,}"
            for name, split in zip(
                ("train", "validation", "test"),
                (self.train, self.validation, self.test),
                strict=True,
            )
        )
        shape = "×".join(map(str, self.shape))
        return f"Dataset({self.name!r}: {shape} images, {self.classes} classes; {sizes})"


def data_folder() -> Path:
    """Where downloaded data sets are kept: `LRLIB_DATA`, or a per-user cache folder."""
    import platformdirs

    return Path(os.environ.get("LRLIB_DATA") or platformdirs.user_cache_path("lrlib") / "data")


def load(name: str | Path = "digits", device: torch.device | str | None = None) -> Dataset:
    """A data set in memory on the device, split into train, validation and test.

    `name` is "digits" (scikit-learn's 1,797 images of 8×8, always at hand), "mnist",
    "fashion-mnist" or "cifar10" (fetched by torchvision into `LRLIB_DATA` or a per-user cache), or
    the path of an .npz of your own, with `images` (uint8, N×H×W or N×H×W×3) and `labels`
    (integers from 0), and if it has a test set of its own, `test_images` and `test_labels`.

    The validation split is a stratified fifth of the training images that the set comes with, or,
    where it comes as one piece (digits, most .npz), train, validation and test are three, one and
    one fifths.

    Raises ValueError for an unknown name or an .npz that doesn't hold what it should, and
    DataError for data that is missing, damaged or can't be fetched.

    >>> load("digits", device="cpu")
    Dataset('digits': 1×8×8 images, 10 classes; train 1,077, validation 360, test 360)
    """
    if device is not None:
        try:
            device = torch.device(device)
            torch.empty(0, device=device)  # it may be a device that isn't here
        except (RuntimeError, TypeError, ValueError, AssertionError, NotImplementedError):
            rule = "a torch device that this machine has, such as 'cpu', or None"
            raise _checks.refuse("load", "device", device, rule) from None
    if isinstance(name, Path) or (isinstance(name, str) and name.endswith(".npz")):
        images, labels, test = _read_npz(Path(name))
        return _build(Path(name).stem, images, labels, test, device)
    if not isinstance(name, str) or name not in NAMES:
        listed = ", ".join(repr(known) for known in NAMES)
        raise _checks.refuse("load", "name", name, f"one of {listed}, or the path of an .npz")
    if name == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        # 0 … 16 in the file, 0 … 255 as in every other set.
        scaled = np.round(digits.images * (255 / 16)).astype(np.uint8)
        return _build(name, scaled, digits.target, None, device)
    train, test = _READERS[name](data_folder())
    return _build(name, *train, test, device)


# --- From arrays to a data set -----------------------------------------------------------------

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Arrays = tuple[Images, Labels]


def _build(
    name: str,
    images: Images,
    labels: Labels,
    test: Arrays | None,
    device: torch.device | str | None,
) -> Dataset:
    from sklearn.model_selection import train_test_split

    def held_out(images: Images, labels: Labels, part: float) -> tuple[Arrays, Arrays]:
        kept, held = train_test_split(
            np.arange(len(labels)), test_size=part, random_state=_SPLIT_SEED, stratify=labels
        )
        kept, held = np.sort(kept), np.sort(held)
        return (images[kept], labels[kept]), (images[held], labels[held])

    train = (images, labels.astype(np.int64))
    if test is None:
        train, test = held_out(*train, part=0.2)
        train, validation = held_out(*train, part=0.25)
    else:
        train, validation = held_out(*train, part=0.2)
    mean, deviation = _moments(train[0])
    where = torch.device(device) if device is not None else default_device()

    def on_device(arrays: Arrays) -> Split:
        x = torch.from_numpy(arrays[0]).to(where)
        x = x.unsqueeze(1) if x.ndim == 3 else x.permute(0, 3, 1, 2)
        offset, scale = (
            torch.as_tensor(value, dtype=torch.float32, device=where).view(-1, 1, 1)
            for value in (mean, deviation)
        )
        x = x.to(torch.float32, memory_format=torch.contiguous_format).sub_(offset).div_(scale)
        return Split(x, torch.from_numpy(arrays[1].astype(np.int64)).to(where))

    classes = int(max(part[1].max() for part in (train, validation, test))) + 1
    return Dataset(name, classes, on_device(train), on_device(validation), on_device(test))


def _moments(images: Images) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of each channel (at least 1e-6), from how often each value occurs."""
    values, pixels = np.arange(256), images.reshape(-1, images.shape[3] if images.ndim == 4 else 1)
    parts = np.array_split(pixels, -(-len(pixels) // 2**20))  # counting takes 8 bytes a pixel
    counts = np.array(
        [
            sum(np.bincount(part[:, channel], minlength=256) for part in parts)
            for channel in range(pixels.shape[1])
        ]
    )
    mean = counts @ values / len(pixels)
    variance = (counts * (values - mean[:, None]) ** 2).sum(axis=1) / len(pixels)
    return mean, np.maximum(np.sqrt(variance), 1e-6)


def _read_npz(path: Path) -> tuple[Images, Labels, Arrays | None]:
    if not path.is_file():
        raise DataError(f"load({str(path)!r}): there is no such file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            wanted = ["images", "labels"]
            if {"test_images", "test_labels"} & set(archive.files):
                wanted += ["test_images", "test_labels"]
            missing = ", ".join(repr(name) for name in wanted if name not in archive.files)
            arrays = [archive[name] for name in wanted if name in archive.files]
            holds = ", ".join(map(repr, archive.files)) or "nothing"
    except (OSError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise DataError(f"load({str(path)!r}): the file is damaged ({error})") from error
    except ValueError as error:
        raise DataError(f"load({str(path)!r}): not a plain .npz archive ({error})") from error
    if missing:
        raise ValueError(
            f"load({str(path)!r}): the archive must hold {' and '.join(map(repr, wanted))}, "
            f"but holds {holds}"
        )
    images, labels, *test = arrays
    _check_arrays(path, "", images, labels)
    labels = labels.astype(np.int64)
    counts = np.bincount(labels)
    rare = [label for label, count in enumerate(counts) if 0 < count < 5]
    if rare or (counts > 0).sum() < 2:
        raise ValueError(
            f"load({str(path)!r}): three splits need at least 2 classes with 5 images each; "
            f"too few of class {', '.join(map(str, rare)) or 'any other'}"
        )
    if not test:
        return images, labels, None
    _check_arrays(path, "test_", *test)
    if test[0].shape[1:] != images.shape[1:]:
        rule = f"test_images must be of the shape of images, {images.shape[1:]}"
        raise ValueError(f"load({str(path)!r}): {rule}, not {test[0].shape[1:]}")
    return images, labels, (test[0], test[1].astype(np.int64))


def _check_arrays(path: Path, prefix: str, images: Any, labels: Any) -> None:
    rule = f"{prefix}images must be uint8 of shape N×H×W or N×H×W×3"
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[3:] not in ((), (3,)):
        raise ValueError(f"load({str(path)!r}): {rule}, not {images.dtype} {images.shape}")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise ValueError(
            f"load({str(path)!r}): {prefix}labels must be {len(images)} integers, one an image, "
            f"not {labels.dtype} {labels.shape}"
        )
    if not len(labels) or labels.min() < 0:
        rule = f"{prefix}labels must be integers from 0, at least one"
        raise ValueError(f"load({str(path)!r}): {rule}")


# --- Files that torchvision fetches ------------------------------------------------------------


def _read_mnist(folder: Path, which: str) -> tuple[Arrays, Arrays]:
    from torchvision import datasets as vision

    source = getattr(vision, which)
    known: dict[str, str] = dict(source.resources)
    raw = folder / which / "raw"
    if not all((raw / file).is_file() for file in known):
        with _fetching(folder, which, source) as fetched:
            _move([fetched / which / "raw" / file for file in known], raw)

    def read(file: str) -> NDArray[np.uint8]:
        packed = _verified(raw / file, known[file])
        content = gzip.decompress(packed)
        # The IDX format: two zeros, a type (8: unsigned bytes), the rank, the sizes, the data.
        rank = content[3]
        sizes = np.frombuffer(content, ">u4", count=rank, offset=4).astype(int)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(sizes).copy()

    def arrays(prefix: str) -> Arrays:
        return (
            read(f"{prefix}-images-idx3-ubyte.gz"),
            read(f"{prefix}-labels-idx1-ubyte.gz").astype(np.int64),
        )

    return arrays("train"), arrays("t10k")


def _read_cifar10(folder: Path) -> tuple[Arrays, Arrays]:
    import pickle

    from torchvision.datasets import CIFAR10

    base = folder / CIFAR10.base_folder
    known: list[tuple[str, str]] = [
        (str(file), str(md5)) for file, md5 in [*CIFAR10.train_list, *CIFAR10.test_list]
    ]
    if not all((base / file).is_file() for file, _ in known):
        with _fetching(folder, "CIFAR10", CIFAR10) as fetched:
            _move([fetched / CIFAR10.base_folder / file for file, _ in known], base)

    def read(file: str, md5: str) -> Arrays:
        # Unpickled only after the sum has shown that it is the published file.
        batch = pickle.loads(_verified(base / file, md5), encoding="latin1")
        images = batch["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return images, np.array(batch["labels"], dtype=np.int64)

    batches = [read(*entry) for entry in known]
    images, labels = (
        np.concatenate(parts) for parts in zip(*batches[: len(CIFAR10.train_list)], strict=True)
    )
    return (images, labels), batches[-1]


_READERS: dict[str, Callable[[Path], tuple[Arrays, Arrays]]] = {
    "mnist": lambda folder: _read_mnist(folder, "MNIST"),
    "fashion-mnist": lambda folder: _read_mnist(folder, "FashionMNIST"),
    "cifar10": _read_cifar10,
}


@contextmanager
def _fetching(folder: Path, name: str, source: Any) -> Iterator[Path]:
    """A temporary folder in which torchvision has put the files; whatever fails, it goes away."""
    advice = (
        "Set LRLIB_DATA to a folder that has the files, or use 'digits', which needs no download."
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder, ".fetching-*")
        temporary = tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-")
    except OSError as error:
        raise DataError(
            f"{name} is not in {folder}, and that folder can't be written ({error}). {advice}"
        ) from error
    with temporary as fetched:
        try:
            source(fetched, download=True)
        except Exception as error:  # torchvision raises whatever its transport raised
            raise DataError(
                f"{name} is not in {folder}, and fetching it failed ({error}). {advice}"
            ) from error
        yield Path(fetched)


def _move(files: list[Path], to: Path) -> None:
    """Moves whole files into place one by one, so that each is either there or not."""
    to.mkdir(parents=True, exist_ok=True)
    for file in files:
        os.replace(file, to / file.name)


def _verified(path: Path, md5: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} can't be read ({error})") from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise DataError(
            f"{path} is damaged or altered: its MD5 sum is {found}, not {md5} "
            f"({len(content):,} bytes). Delete it, and it will be fetched again."
        )
    return content
