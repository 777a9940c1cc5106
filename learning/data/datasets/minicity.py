"""MiniCity and Cityscapes: `leftImg8bit/SPLIT` and `gtFine/SPLIT`, files flat or in one folder a city.

Label files are `*_gtFine_labelIds.png`, or `*_gtFine_labelTrainIds.png` where the former are missing; instance maps
(`*_gtFine_instanceIds.png`) are optional. Test images may be named by a bare number, as the challenge's kit does.
"""

from collections.abc import Sequence
from pathlib import Path

from helpers.images import SUFFIXES
from helpers.labels import CITYSCAPES as LABELS  # noqa: F401  (part of `DatasetSpec`)
from learning.data.datasets.base import Finding, Found, by_key, missing_label_folder, pair, unused_files

SIZE: tuple[int, int] = (1024, 2048)
CROP_SIZE: tuple[int, int] = (768, 768)
MEAN: tuple[float, float, float] = (0.485, 0.456, 0.406)  # the tutorial's constants
STD: tuple[float, float, float] = (0.229, 0.224, 0.225)
# OCNet (Yuan and Wang, 2018), by train id.
CLASS_WEIGHTS: tuple[float, ...] | None = (
    *(0.8373, 0.918, 0.866, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786, 1.0023),
    *(0.9539, 0.9843, 1.1116, 0.9037, 1.0865, 1.0955, 1.0865, 1.1529, 1.0507),
)
BLOB_RULES: dict[str, tuple[str, ...]] = {
    "sidewalk": ("wall", "fence"),
    "road": ("bus", "train"),
}  # ground class -> classes of the blobs
IMAGES: str = "*_leftImg8bit.png"
HINT: str = (
    "`python -m minicity.synthesize` draws one to start with; "
    "`python -m minicity.convert CITYSCAPES_DIR` arranges the real one; --dataset_path names another folder"
)

_IMAGE = "_leftImg8bit"
_IDS = "_gtFine_labelIds"
_TRAIN_IDS = "_gtFine_labelTrainIds"
_INSTANCES = "_gtFine_instanceIds"
_LABEL_ENDINGS = (_IDS, _TRAIN_IDS, _INSTANCES, "_gtFine_instanceTrainIds", "_gtFine_color")


def find(root: Path) -> Found:
    """See `DatasetSpec`; the encoding is "train_ids" where there are only such label files."""
    images = root / "leftImg8bit"
    labels = root / "gtFine"
    names = [split for split in ("train", "val", "test") if (images / split).is_dir()]
    encoding = "ids"
    suffix = _IDS
    if not _any_files(labels, names, _IDS) and _any_files(labels, names, _TRAIN_IDS):
        encoding = "train_ids"
        suffix = _TRAIN_IDS
    splits, findings = {}, []
    for split in names:
        has_labels = (labels / split).is_dir()
        if split != "test" and not has_labels:
            findings.append(missing_label_folder(split, labels / split, images / split))
        found, duplicate_images = _files(split, images / split, _IMAGE, numbered=split == "test")
        masks, duplicate_masks = _files(split, labels / split, suffix)
        instances, duplicate_instances = _files(split, labels / split, _INSTANCES)
        splits[split], unpaired = pair(
            split,
            found,
            masks,
            {key: path for key, path in instances.items() if key in masks},
            label_required=bool(masks) or (has_labels and split != "test"),
            where=labels / split,
        )
        findings += duplicate_images + duplicate_masks + duplicate_instances + unpaired
        findings += unused_files(
            split, images / split, _named(images / split, _IMAGE, numbered=split == "test"), IMAGES
        )
        findings += unused_files(split, labels / split, (), f"*{suffix}.png", _LABEL_ENDINGS)
    return splits, encoding, findings


def sample_paths(split: str, name: str, suffix: str, encoding: str) -> tuple[str, str]:
    """See `DatasetSpec`."""
    key = name.removesuffix(_IMAGE)
    ending = _IDS if encoding == "ids" else _TRAIN_IDS
    return f"leftImg8bit/{split}/{key}{_IMAGE}{suffix}", f"gtFine/{split}/{key}{ending}.png"


def _any_files(folder: Path, splits: Sequence[str], suffix: str) -> bool:
    return any(path.stem.endswith(suffix) for split in splits for path in _image_files(folder / split))


def _image_files(folder: Path) -> list[Path]:
    """Image files in a folder and its city folders, sorted; hidden files are left out."""
    found = [*folder.glob("*"), *folder.glob("*/*")]
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))


def _files(split: str, folder: Path, suffix: str, numbered: bool = False) -> tuple[dict[str, Path], list[Finding]]:
    """Files whose stem ends with `suffix`, by the part before it; with `numbered` also those named by a bare number."""
    return by_key(split, _named(folder, suffix, numbered), lambda path: path.stem.removesuffix(suffix))


def _named(folder: Path, suffix: str, numbered: bool = False) -> list[Path]:
    return [path for path in _image_files(folder) if path.stem.endswith(suffix) or (numbered and path.stem.isdigit())]
