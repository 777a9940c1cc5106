"""What every data set is made of: samples, splits, and the pairing of images with labels."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from helpers.errors import InputError
from helpers.labels import LabelTable


@dataclass(frozen=True)
class Sample:
    """One image and what is known about it.

    Args:
        name: file name of the image without suffix; predictions carry it.
        image: Path of the image.
        label: Path of the label map, or None (a test image).
        instances: Path of the instance map, or None.
    """

    name: str
    image: Path
    label: Path | None = None
    instances: Path | None = None


@dataclass(frozen=True)
class Dataset:
    """A data set found on disk.

    Args:
        name: its key in `DATASETS`.
        root: its folder.
        splits: split name -> tuple of `Sample`, sorted by file name; "train" and "val" where they exist, "test" is optional.
        encoding: what the label files hold, "ids" or "train_ids" (see `helpers.labels`).
        spec: the data set's module, with its constants.
    """

    name: str
    root: Path
    splits: dict
    encoding: str
    spec: ModuleType

    @property
    def labels(self) -> LabelTable:
        """The class table."""
        return self.spec.LABELS

    @property
    def decode(self):
        """uint8 (256,): the train id of each value in the label files."""
        return self.labels.decoder(self.encoding, "train_ids")[0]

    def split(self, name):
        """Samples of a split.

        Raises:
            InputError: the split does not exist.
        """
        if name not in self.splits:
            known = ", ".join(self.splits)
            raise InputError(f"{self.root} has no {name} images ({self.name} data set); it has: {known}")
        return self.splits[name]


def open_dataset(name, spec, root):
    """Find the data set of module `spec` in `root`; see `learning.datasets.open_dataset`."""
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"there is no {name} data set in {root} (no such folder). {spec.HINT}")
    splits, encoding = spec.find(root)
    if not splits:
        raise InputError(f"there is no {name} data set in {root}. {spec.HINT}")
    for split, samples in splits.items():
        if not samples:
            raise InputError(
                f"the {split} split of {root} has no images ({spec.IMAGES}); add some, or remove the folder"
            )
    return Dataset(name, root, {split: tuple(samples) for split, samples in splits.items()}, encoding, spec)


def pair(images, labels, instances, label_required, where):
    """Samples from files that share a key.

    Args:
        images, labels, instances: dicts from key to Path.
        label_required: whether an image without label is a mistake.
        where: folder of the labels, for messages.

    Returns:
        list of Sample, in the order of the image paths' names.

    Raises:
        InputError: names the first image without label or label without image, and how many there are.
    """
    missing = [images[key] for key in sorted(images) if key not in labels] if label_required else []
    if missing:
        more = f" (and {len(missing) - 1} more images)" if len(missing) > 1 else ""
        raise InputError(f"{missing[0]} has no label in {where}{more}; add the label or remove the image")
    orphans = [labels[key] for key in sorted(labels) if key not in images]
    if orphans:
        more = f" (and {len(orphans) - 1} more labels)" if len(orphans) > 1 else ""
        raise InputError(f"{orphans[0]} has no image{more}; add the image or remove the label")
    return [
        Sample(images[key].stem, images[key], labels.get(key), instances.get(key))
        for key in sorted(images, key=lambda key: images[key].name)
    ]


def by_key(paths, key):
    """Dict from `key(path)` to path.

    Raises:
        InputError: two files have the same key.
    """
    found = {}
    for path in paths:
        if other := found.get(key(path)):
            raise InputError(f"{other} and {path} are two files for the same picture; remove one")
        found[key(path)] = path
    return found
