"""Image data sets and texts in memory, on the device, with fixed splits.

`digits` comes with scikit-learn, and a text with this package. torchvision downloads the others
once, checks them against their published MD5 sums, and reads them. Python does no work per sample.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lrlib import _checks
from lrlib.lab.devices import device as default_device
from lrlib.lab.devices import known_device
from lrlib.lab.files import remove_leftovers

__all__ = [
    "DataError",
    "Dataset",
    "Split",
    "Text",
    "crop_and_flip",
    "load",
    "load_text",
    "with_random_labels",
]

# The sets that torchvision has, by our name: the name of its class.
_TORCHVISION = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "cifar10": "CIFAR10"}
NAMES = ("digits", *_TORCHVISION)

# Fixed seed for the splits that we make ourselves.
_SPLIT_SEED = 0


class DataError(RuntimeError):
    """A data set is missing, damaged or unreadable; the message says where and what to do."""


class Split(NamedTuple):
    """Images and their labels, on the device.

    x: float32 [N, channels, height, width], standardized by the mean and standard deviation of the
    training split's channels; y: int64 [N].
    """

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Dataset:
    """A data set in three fixed, stratified splits. Look at the test split once, at the end."""

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
        """The number of batches in one pass over the training split; the last may be smaller."""
        batch_size = _checks.count("steps_per_epoch", "batch_size", batch_size)
        return -(-len(self.train.y) // batch_size)

    def __repr__(self) -> str:
        train, validation, test = (len(s.y) for s in (self.train, self.validation, self.test))
        sizes = f"train {train:,}, validation {validation:,}, test {test:,}"
        shape = "×".join(map(str, self.shape))
        return f"Dataset({self.name!r}: {shape} images, {self.classes} classes; {sizes})"


def data_folder() -> Path:
    """The folder of downloaded data sets: `LRLIB_DATA`, or a per-user cache folder."""
    import platformdirs

    return Path(os.environ.get("LRLIB_DATA") or platformdirs.user_cache_path("lrlib") / "data")


def load(name: str | Path = "digits", device: torch.device | str | None = None) -> Dataset:
    """Loads a data set onto the device, split into train, validation and test.

    `name` is "digits" (scikit-learn's 1,797 images of 8×8, which need no download), "mnist",
    "fashion-mnist" or "cifar10" (downloaded by torchvision into `LRLIB_DATA` or a per-user cache),
    or the path of your own .npz file. The file must hold `images` (uint8, N×H×W or N×H×W×3) and
    `labels` (integers from 0); it may hold a test set, `test_images` and `test_labels`.

    The validation split is a stratified fifth of the training images. If there is no separate test
    set (digits, most .npz files), train, validation and test are three, one and one fifths.

    Raises ValueError for an unknown name or an .npz file with other contents, and DataError for
    data that is missing, damaged or can't be downloaded.

    >>> load("digits", device="cpu")
    Dataset('digits': 1×8×8 images, 10 classes; train 1,077, validation 360, test 360)
    """
    device = default_device() if device is None else known_device("load", "device", device)
    if isinstance(name, Path) or (isinstance(name, str) and name.endswith(".npz")):
        train, test = _read_npz(Path(name))
        name = Path(name).stem
    elif not isinstance(name, str) or name not in NAMES:
        listed = ", ".join(repr(known) for known in NAMES)
        raise _checks.refuse("load", "name", name, f"one of {listed}, or the path of an .npz file")
    elif name == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        # From 0 … 16 to 0 … 255, as in every other set.
        train = np.round(digits.images * (255 / 16)).astype(np.uint8), digits.target
        test = None
    else:
        train, test = _torchvision(_TORCHVISION[name], data_folder())
    return _build(name, train, test, device)


def with_random_labels(data: Dataset, share: float, seed: int = 0) -> Dataset:
    """The same data, but each training image has a random label with the probability `share`.

    A random label is right by chance once in `classes` times; `noisy.train.y != data.train.y` finds
    those that are wrong. Validation and test labels stay as they are. The same seed gives the same
    labels on every device.

    >>> data = load("digits", device="cpu")
    >>> noisy = with_random_labels(data, share=0.2)
    >>> int((noisy.train.y != data.train.y).sum()), len(data.train.y)
    (203, 1077)
    """
    share = _checks.number("with_random_labels", "share", share, high=1.0)
    generator = torch.Generator().manual_seed(_checks.seed("with_random_labels", "seed", seed))
    labels = data.train.y
    chosen = torch.rand(len(labels), generator=generator) < share
    random = torch.randint(0, data.classes, (len(labels),), generator=generator)
    mixed = torch.where(chosen, random, labels.cpu()).to(labels.device)
    return replace(data, train=Split(data.train.x, mixed))


def crop_and_flip(images: Tensor, random: np.random.Generator) -> Tensor:
    """Moves each image by up to 4 pixels (the border is 0), and mirrors half of the images.

    >>> crop_and_flip(torch.ones(5, 3, 32, 32), np.random.default_rng(0)).shape
    torch.Size([5, 3, 32, 32])
    """
    count, _, height, width = images.shape
    device = images.device
    padded = F.pad(images, (4, 4, 4, 4))
    top, left = torch.from_numpy(random.integers(0, 9, (2, count, 1))).to(device)
    mirrored = torch.from_numpy(random.integers(0, 2, (count, 1)).astype(bool)).to(device)
    rows = top + torch.arange(height, device=device)
    columns = torch.arange(width, device=device)
    columns = left + torch.where(mirrored, width - 1 - columns, columns)
    image = torch.arange(count, device=device)[:, None, None]
    # Advanced indices with a slice between them come first: [count, height, width, channels].
    return padded[image, :, rows[:, :, None], columns[:, None, :]].movedim(3, 1)


# --- From arrays to a data set -----------------------------------------------------------------

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images and labels


def _build(name: str, train: Arrays, test: Arrays | None, device: torch.device) -> Dataset:
    from sklearn.model_selection import train_test_split

    def hold_out(arrays: Arrays, part: float) -> list[Arrays]:
        images, labels = arrays
        kept_and_held = train_test_split(
            np.arange(len(labels)), test_size=part, random_state=_SPLIT_SEED, stratify=labels
        )
        return [(images[rows], labels[rows]) for rows in map(np.sort, kept_and_held)]

    if test is None:
        train, test = hold_out(train, part=0.2)
        train, validation = hold_out(train, part=0.25)
    else:
        train, validation = hold_out(train, part=0.2)
    mean, deviation = _moments(train[0]).float().to(device)

    def on_device(arrays: Arrays) -> Split:
        images, labels = arrays
        x = torch.from_numpy(_with_channels(images)).to(device).permute(0, 3, 1, 2)
        x = x.to(torch.float32, memory_format=torch.contiguous_format).sub_(mean).div_(deviation)
        return Split(x, torch.from_numpy(labels.astype(np.int64)).to(device))

    classes = int(max(part[1].max() for part in (train, validation, test))) + 1
    return Dataset(name, classes, on_device(train), on_device(validation), on_device(test))


def _with_channels(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return images.reshape(*images.shape[:3], -1)


def _moments(images: NDArray[np.uint8]) -> Tensor:
    """Mean and standard deviation (at least 1e-6) of each channel, [2, channels, 1, 1]."""
    pixels, count = _with_channels(images), images.shape[0] * images.shape[1] * images.shape[2]
    # Sums of integers are exact, and need no float for each pixel.
    mean = np.einsum("nhwc->c", pixels, dtype=np.int64) / count
    square = np.einsum("nhwc,nhwc->c", pixels, pixels, dtype=np.int64) / count
    deviation = np.sqrt(np.maximum(square - mean**2, 1e-12))
    return torch.from_numpy(np.stack([mean, deviation])).view(2, -1, 1, 1)


def _read_npz(path: Path) -> tuple[Arrays, Arrays | None]:
    call = f"load({str(path)!r})"
    if not path.is_file():
        raise DataError(f"{call}: there is no such file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            held = {name: archive[name] for name in archive.files}
    except (OSError, EOFError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise DataError(
            f"{call}: the file is damaged, or isn't a plain .npz archive ({error})"
        ) from error
    images, labels = _checked_arrays(call, "", held)
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2 or counts.min() < 5:
        rare = ", ".join(map(str, classes[counts < 5])) or "any other"
        rule = "three splits need at least 2 classes with 5 images each"
        raise ValueError(f"{call}: {rule}; there are too few of class {rare}")
    if held.keys().isdisjoint(("test_images", "test_labels")):
        return (images, labels), None
    test = _checked_arrays(call, "test_", held)
    if test[0].shape[1:] != images.shape[1:]:
        rule = f"test_images must be of the shape of images, {images.shape[1:]}"
        raise ValueError(f"{call}: {rule}, not {test[0].shape[1:]}")
    return (images, labels), test


def _checked_arrays(call: str, prefix: str, held: dict[str, Any]) -> Arrays:
    names = [f"{prefix}images", f"{prefix}labels"]
    if not held.keys() >= set(names):
        rule = f"the archive must hold {' and '.join(map(repr, names))}"
        raise ValueError(f"{call}: {rule}, but holds {', '.join(map(repr, held)) or 'nothing'}")
    images, labels = (held[name] for name in names)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[3:] not in ((), (3,)):
        rule = f"{prefix}images must be uint8 of shape N×H×W or N×H×W×3"
        raise ValueError(f"{call}: {rule}, not {images.dtype} {images.shape}")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        rule = f"{prefix}labels must be {len(images)} integers, one per image"
        raise ValueError(f"{call}: {rule}, not {labels.dtype} {labels.shape}")
    if not len(labels) or labels.min() < 0:
        raise ValueError(f"{call}: {prefix}labels must be integers from 0, at least one")
    return images, labels


# --- torchvision's data sets -------------------------------------------------------------------


def _torchvision(name: str, folder: Path) -> list[Arrays]:
    """The training and the test images, read from the folder or downloaded into it."""
    from torchvision import datasets

    source = getattr(datasets, name)
    try:
        return _read(source, folder)
    except Exception:  # missing or damaged: torchvision raises many kinds
        return _download(source, folder)


def _read(source: Any, folder: Path, download: bool = False) -> list[Arrays]:
    parts = [source(folder, train=train, download=download) for train in (True, False)]
    return [(np.asarray(part.data), np.asarray(part.targets)) for part in parts]


def _download(source: Any, folder: Path) -> list[Arrays]:
    """Downloads into a temporary folder, and moves the files into place when all are there."""
    name = source.__name__
    inside = getattr(source, "base_folder", f"{name}/raw")
    target = folder / inside
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder, ".fetching-*")
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as temporary:
            fresh = Path(temporary, inside)
            fresh.mkdir(parents=True)
            # torchvision checks the packed files that it finds, and downloads the others.
            for file in target.glob("*.gz"):
                shutil.copyfile(file, fresh / file.name)
            arrays = _read(source, Path(temporary), download=True)
            target.mkdir(parents=True, exist_ok=True)
            for file in fresh.iterdir():
                os.replace(file, target / file.name)
    except Exception as error:  # of the disk, of the network, or of torchvision
        reason = " ".join(str(error).split())
        raise DataError(
            f"{name} is missing from {folder}, or damaged, and can't be downloaded into it "
            f"({reason}). Set LRLIB_DATA to a folder that has the files and can be written, or use "
            "'digits', which needs no download."
        ) from error
    return arrays


# --- Text --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Text:
    """A text as tokens, one for each character, in three parts in the order of the text.

    characters: all that occur, sorted; a token is a position in this string. train, validation,
    test: int64 [N]. Look at the test part once, at the end.
    """

    name: str
    characters: str
    train: Tensor
    validation: Tensor
    test: Tensor

    def batch(self, size: int, context: int, seed: int, step: int) -> tuple[Tensor, Tensor]:
        """Random pieces of the training part, and the same pieces moved on by one character.

        Both are int64 [size, context]. They depend on seed and step alone.

        >>> x, y = load_text(device="cpu").batch(size=16, context=32, seed=0, step=7)
        >>> x.shape, torch.equal(x[:, 1:], y[:, :-1])
        (torch.Size([16, 32]), True)
        """
        starts = np.random.default_rng((seed, step)).integers(len(self.train) - context, size=size)
        places = torch.from_numpy(starts[:, None] + np.arange(context + 1)).to(self.train.device)
        pieces = self.train[places]
        return pieces[:, :-1], pieces[:, 1:]

    def __repr__(self) -> str:
        sizes = (len(part) for part in (self.train, self.validation, self.test))
        sizes_text = "train {:,}, validation {:,}, test {:,}".format(*sizes)
        return f"Text({self.name!r}: {len(self.characters)} different characters; {sizes_text})"


def load_text(path: str | Path | None = None, device: torch.device | str | None = None) -> Text:
    """Loads a text onto the device: this book's prose, which needs no download, or your own .txt.

    The first eight tenths of the text are for training, the next tenth is for validation, and the
    last for the test. The book's prose is a copy that doesn't change when the book does.

    Raises DataError if there is no such file or it isn't UTF-8, and ValueError if the text has
    fewer than 10,000 characters.

    >>> load_text(device="cpu")
    Text('prose': 76 different characters; train 152,668, validation 19,083, test 19,084)
    """
    device = default_device() if device is None else known_device("load_text", "device", device)
    call = f"load_text({str(path)!r})"
    try:
        if path is None:
            name, packed = "prose", Path(__file__).with_name("prose.txt.gz").read_bytes()
            text = gzip.decompress(packed).decode("utf-8")
        else:
            name, text = Path(path).stem, Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(f"{call}: there is no such file") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{call}: the file isn't a text in UTF-8 ({error})") from error
    if len(text) < 10_000:
        raise ValueError(
            f"{call}: the text must have at least 10,000 characters, not {len(text):,}"
        )
    characters, tokens = np.unique(list(text), return_inverse=True)
    cuts = [len(text) * 8 // 10, len(text) * 9 // 10]
    parts = np.split(tokens.astype(np.int64), cuts)
    return Text(name, "".join(characters), *(torch.from_numpy(part).to(device) for part in parts))
