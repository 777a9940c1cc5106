"""What every data set is made of: samples, splits, the pairing of images with labels, and what can be wrong with them."""

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
class Finding:
    """One thing that is wrong, or looks wrong, with the data.

    Args:
        kind: what sort of thing, such as "image without label"; findings of one kind are counted together.
        split: the split it belongs to.
        path: file or folder that it is about.
        what: a verb and the rest, to be read after the path.
        advice: what to do about it.
        severity: "error" (the file cannot be used as it is) or "warning".
    """

    kind: str
    split: str
    path: Path
    what: str
    advice: str
    severity: str = "error"

    def line(self, more=""):
        """The finding in one line; `more` is inserted before the advice."""
        return f"{self.path} {self.what}{more}; {self.advice}"


@dataclass(frozen=True)
class Dataset:
    """A data set found on disk.

    Args:
        name: its key in `DATASETS`.
        root: its folder.
        splits: split name -> tuple of `Sample`, sorted by file name; "train" and "val" where they exist, "test" is optional.
        encoding: what the label files hold, "ids" or "train_ids" (see `helpers.labels`).
        spec: the data set's module, with its constants.
        extra: tuple of `learning.data.datasets.extra.Extra`, the folders whose images stand at the end of "train".
    """

    name: str
    root: Path
    splits: dict
    encoding: str
    spec: ModuleType
    extra: tuple = ()

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
    """Find the data set of module `spec` in `root`; see `learning.data.datasets.open_dataset`."""
    dataset, findings = search(name, spec, root)
    if findings:
        first = findings[0]
        alike = sum((finding.kind, finding.split) == (first.kind, first.split) for finding in findings)
        things = first.kind.split()[0] + "s"  # images, labels, ...
        raise InputError(first.line(f" (and {alike - 1} more {things})" if alike > 1 else ""))
    return dataset


def search(name, spec, root):
    """Find the data set of module `spec` in `root`, whatever is wrong with its files.

    Returns:
        (Dataset, list of Finding): the samples that pair up, and everything that does not, in the order in which it was met;
        a split may be empty.

    Raises:
        InputError: there is no such folder, or none of the data set's folders in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"there is no {name} data set in {root} (no such folder). {spec.HINT}")
    splits, encoding, findings = spec.find(root)
    if not splits:
        raise InputError(f"there is no {name} data set in {root}. {spec.HINT}")
    findings += [
        Finding(
            "empty split",
            split,
            root,
            f"has no images in its {split} split ({spec.IMAGES})",
            "add some, or remove the folder",
        )
        for split, samples in splits.items()
        if not samples
    ]
    return Dataset(name, root, {split: tuple(samples) for split, samples in splits.items()}, encoding, spec), findings


def pair(split, images, labels, instances, label_required, where):
    """Samples from files that share a key.

    Args:
        split: name of the split.
        images, labels, instances: dicts from key to Path.
        label_required: whether an image without label is a mistake.
        where: folder of the labels, for messages.

    Returns:
        (list of Sample, list of Finding): the images in the order of their paths' names; images without label, then labels
        without image, in the order of the keys. An image that misses its label is among the samples, too.
    """
    findings = [
        Finding(
            "image without label",
            split,
            images[key],
            f"has no label in {where}",
            "add the label or remove the image",
        )
        for key in sorted(images)
        if label_required and key not in labels
    ]
    findings += [
        Finding("label without image", split, labels[key], "has no image", "add the image or remove the label")
        for key in sorted(labels)
        if key not in images
    ]
    samples = [
        Sample(images[key].stem, images[key], labels.get(key), instances.get(key))
        for key in sorted(images, key=lambda key: images[key].name)
    ]
    return samples, findings


def by_key(split, paths, key):
    """The first file of each key.

    Returns:
        (dict of `key(path)` -> Path, list of Finding): a finding for each further file with the same key.
    """
    found, findings = {}, []
    for path in paths:
        if other := found.get(key(path)):
            findings.append(
                Finding(
                    "picture in two files", split, other, f"and {path} are two files for the same picture", "remove one"
                )
            )
        else:
            found[key(path)] = path
    return found, findings


def missing_folder(split, folder, images):
    """Finding: the folder of a split's labels does not exist."""
    return Finding("missing folder", split, folder, "is missing", f"the labels of {images} belong there")
