"""CamVid in SegNet's split: `train`, `val`, `test` beside `trainannot`, `valannot` (and `testannot` where it exists).

Images are JPEG or PNG, label maps PNG of the same name: 0 .. 10 are the classes, 11 is void.
"""

from helpers.images import list_images
from helpers.labels import CAMVID as LABELS  # noqa: F401  (part of what a data set module offers)
from learning.data.datasets.base import by_key, missing_folder, pair

SIZE = (360, 480)
CROP_SIZE = (360, 480)
MEAN = (0.4116, 0.4249, 0.4322)  # of the 367 training images
STD = (0.3067, 0.3113, 0.3068)
CLASS_WEIGHTS = None  # there is no standard set
BLOB_RULES = {
    "Pavement": ("Fence", "Pedestrian"),
    "Road": ("Bicyclist",),
}  # class a blob stands on -> classes of the blobs
IMAGES = "*.png or *.jpg"
HINT = "Name the folder that holds train/, trainannot/, val/ and valannot/ with --dataset_path"


def find(root):
    """Samples of each split in `root`.

    Returns:
        (dict of split name -> list of Sample, "ids", list of Finding): what pairs up, and what does not.
    """
    splits, findings = {}, []
    for split in ("train", "val", "test"):
        folder, annotations = root / split, root / f"{split}annot"
        if not folder.is_dir():
            continue
        has_labels = annotations.is_dir()
        if split != "test" and not has_labels:
            findings.append(missing_folder(split, annotations, folder))
        images, twice = by_key(split, list_images(folder), lambda path: path.stem)
        labels, labels_twice = by_key(split, list_images(annotations) if has_labels else [], lambda path: path.stem)
        required = bool(labels) or (has_labels and split != "test")
        splits[split], unpaired = pair(split, images, labels, {}, label_required=required, where=annotations)
        findings += twice + labels_twice + unpaired
    return splits, "ids", findings


def sample_paths(split, name, suffix, encoding):
    """Where an image and its label go, relative to the root.

    Args:
        split: name of the split.
        name: of the sample, the image's file name without suffix.
        suffix: of the image file, such as ".jpg".
        encoding: of the labels; here always "ids".

    Returns:
        (str, str)
    """
    assert encoding == "ids"
    return f"{split}/{name}{suffix}", f"{split}annot/{name}.png"
