"""CamVid in SegNet's split: `train`, `val`, `test` beside `trainannot`, `valannot` (and `testannot` where it exists).

Images are JPEG or PNG, label maps PNG of the same name: 0 .. 10 are the classes, 11 is void.
"""

from pathlib import Path

from helpers.images import list_images
from helpers.labels import CAMVID as LABELS  # noqa: F401  (part of `DatasetSpec`)
from learning.data.datasets.base import Found, by_key, missing_label_folder, pair, unused_files

SIZE: tuple[int, int] = (360, 480)
CROP_SIZE: tuple[int, int] = (360, 480)
MEAN: tuple[float, float, float] = (0.4116, 0.4249, 0.4322)  # of the 367 training images
STD: tuple[float, float, float] = (0.3067, 0.3113, 0.3068)
CLASS_WEIGHTS: tuple[float, ...] | None = None  # none are published
BLOB_RULES: dict[str, tuple[str, ...]] = {
    "Pavement": ("Fence", "Pedestrian"),
    "Road": ("Bicyclist",),
}  # ground class -> classes of the blobs
IMAGES: str = "*.png or *.jpg"
HINT: str = "Name the folder that holds train/, trainannot/, val/ and valannot/ with --dataset_path"


def find(root: Path) -> Found:
    """See `DatasetSpec`; the encoding is always "ids"."""
    splits, findings = {}, []
    for split in ("train", "val", "test"):
        folder = root / split
        annotations = root / f"{split}annot"
        if not folder.is_dir():
            continue
        has_labels = annotations.is_dir()
        if split != "test" and not has_labels:
            findings.append(missing_label_folder(split, annotations, folder))
        label_files = list_images(annotations) if has_labels else []
        images, duplicate_images = by_key(split, list_images(folder), lambda path: path.stem)
        labels, duplicate_labels = by_key(split, label_files, lambda path: path.stem)
        required = bool(labels) or (has_labels and split != "test")
        splits[split], unpaired = pair(split, images, labels, {}, label_required=required, where=annotations)
        findings += duplicate_images + duplicate_labels + unpaired
        findings += unused_files(split, folder, list_images(folder), IMAGES)
        findings += unused_files(split, annotations, label_files, "a label has the name of its image")
    return splits, "ids", findings


def sample_paths(split: str, name: str, suffix: str, encoding: str) -> tuple[str, str]:
    """See `DatasetSpec`."""
    assert encoding == "ids"
    return f"{split}/{name}{suffix}", f"{split}annot/{name}.png"
