"""MiniCity and Cityscapes: `leftImg8bit/SPLIT` and `gtFine/SPLIT`, files flat or in one folder a city.

Label files are `*_gtFine_labelIds.png`, or `*_gtFine_labelTrainIds.png` where the former are missing; instance maps
(`*_gtFine_instanceIds.png`) are optional. Test images may be named by a bare number, as the challenge's kit does.
"""

from helpers.images import SUFFIXES
from helpers.labels import CITYSCAPES as LABELS  # noqa: F401  (part of what a data set module offers)
from learning.data.datasets.base import by_key, missing_folder, pair

SIZE = (1024, 2048)
CROP_SIZE = (768, 768)
MEAN = (0.485, 0.456, 0.406)  # the tutorial's constants
STD = (0.229, 0.224, 0.225)
# OCNet (Yuan and Wang, 2018): the weights in use for Cityscapes, by train id.
CLASS_WEIGHTS = (
    *(0.8373, 0.918, 0.866, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786, 1.0023),
    *(0.9539, 0.9843, 1.1116, 0.9037, 1.0865, 1.0955, 1.0865, 1.1529, 1.0507),
)
BLOB_RULES = {"sidewalk": ("wall", "fence"), "road": ("bus", "train")}  # class a blob stands on -> classes of the blobs
IMAGES = "*_leftImg8bit.png"
HINT = (
    "`python -m minicity.synthesize` draws one to start with; "
    "`python -m minicity.convert CITYSCAPES_DIR` arranges the real one; --dataset_path names another folder"
)

_IMAGE = "_leftImg8bit"
_IDS, _TRAIN_IDS, _INSTANCES = "_gtFine_labelIds", "_gtFine_labelTrainIds", "_gtFine_instanceIds"


def find(root):
    """Samples of each split in `root`.

    Returns:
        (dict of split name -> list of Sample, "ids" or "train_ids", list of Finding): what pairs up, and what does not.
    """
    images, labels = root / "leftImg8bit", root / "gtFine"
    names = [split for split in ("train", "val", "test") if (images / split).is_dir()]
    encoding, suffix = "ids", _IDS
    if not _any_files(labels, names, _IDS) and _any_files(labels, names, _TRAIN_IDS):
        encoding, suffix = "train_ids", _TRAIN_IDS
    splits, findings = {}, []
    for split in names:
        has_labels = (labels / split).is_dir()
        if split != "test" and not has_labels:
            findings.append(missing_folder(split, labels / split, images / split))
        found, twice = _files(split, images / split, _IMAGE, numbered=split == "test")
        masks, masks_twice = _files(split, labels / split, suffix)
        instances, instances_twice = _files(split, labels / split, _INSTANCES)
        splits[split], unpaired = pair(
            split,
            found,
            masks,
            {key: path for key, path in instances.items() if key in masks},
            label_required=bool(masks) or (has_labels and split != "test"),
            where=labels / split,
        )
        findings += twice + masks_twice + instances_twice + unpaired
    return splits, encoding, findings


def sample_paths(split, name, suffix, encoding):
    """Where an image and its label go, relative to the root; arguments and result as for `camvid.sample_paths`."""
    key = name.removesuffix(_IMAGE)
    ending = _IDS if encoding == "ids" else _TRAIN_IDS
    return f"leftImg8bit/{split}/{key}{_IMAGE}{suffix}", f"gtFine/{split}/{key}{ending}.png"


def _any_files(folder, splits, suffix):
    return any(path.stem.endswith(suffix) for split in splits for path in _walk(folder / split))


def _walk(folder):
    if not folder.is_dir():
        return []
    found = (path for pattern in ("*", "*/*") for path in folder.glob(pattern))
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))


def _files(split, folder, suffix, numbered=False):
    """`by_key` of the files in `folder` and its city folders whose stem ends with `suffix`, by the part before it.

    With `numbered`, files named by a bare number, too.
    """
    found = [path for path in _walk(folder) if path.stem.endswith(suffix) or (numbered and path.stem.isdigit())]
    return by_key(split, found, lambda path: path.stem.removesuffix(suffix))
