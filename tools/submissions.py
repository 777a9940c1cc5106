"""Predictions packed as challenges want them; the same predictions always give the same bytes."""

import csv
import io
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers import run_folder
from helpers.images import write_png
from helpers.labels import LabelTable
from helpers.nearest import resize_nearest
from helpers.output import claim_file, writing
from helpers.progress import progress_bar
from learning.data.datasets.base import Dataset, Sample
from learning.data.predictions import find_predictions
from tools import runs

Labels = Iterable[tuple[Sample, np.ndarray]]  # uint8 (H, W) each, image by image


@dataclass(frozen=True)
class Submission:
    """Which predictions are packed, and how.

    Args:
        run: folder of a run or an ensemble, or of predictions.
        format: a key of `FORMATS`.
        size: height and width to resize to; None for those of the images.
        row_major: count run lengths along the rows, not down the columns.
        train_ids: write train ids instead of label ids.
        output: None for the default name beside the predictions.
        dataset, dataset_path: None for those of the run.
    """

    run: str
    split: str = "test"
    format: str = "zip"
    size: tuple[int, int] | None = None
    row_major: bool = False
    train_ids: bool = False
    output: str | None = None
    dataset: str | None = None
    dataset_path: str | None = None
    force: bool = False


def write(submission: Submission) -> None:
    """Check that every image has a fitting prediction, and write the file."""
    folder = runs.find_results(submission.run, submission.split)
    path = folder.parent / "options.json"
    typed = {"dataset": submission.dataset} if submission.dataset else {}
    data = runs.open_data(run_folder.read_options(path) | typed, path, submission.dataset_path)
    samples = data.split(submission.split)
    files = find_predictions(folder, samples)
    ending, write_format = FORMATS[submission.format]
    output = Path(submission.output or folder.parent / f"submission_{submission.split}{ending}")
    began = time.monotonic()
    with claim_file(output, "--output", None, submission.force), writing(output) as fresh:
        write_format(fresh, _labels(submission, data, samples, files), data.labels, submission)
    speed = len(samples) / (time.monotonic() - began)
    megabytes = output.stat().st_size / 1e6
    print(f"{output}: {len(samples)} {submission.split} images of {folder}, {megabytes:.1f} MB ({speed:.1f} images/s)")


def _labels(
    submission: Submission, data: Dataset, samples: Sequence[Sample], files: Sequence[Path]
) -> Iterator[tuple[Sample, np.ndarray]]:
    values = data.labels.decoder("ids", "train_ids" if submission.train_ids else "ids")[0]
    bar, _ = progress_bar(len(samples), f"writing {submission.format}")
    with bar:
        for sample, path in zip(samples, files, strict=True):
            label = values[runs.read_prediction(path, sample, data.labels)]
            yield sample, label if submission.size is None else resize_nearest(label, submission.size)
            bar.update()


def _write_zip(path: Path, labels: Labels, table: LabelTable, submission: Submission) -> None:
    """Label maps as PNGs, flat, named as the images."""
    with zipfile.ZipFile(path, "w") as archive:
        for sample, label in labels:
            add_to_zip(archive, f"{sample.name}.png", label)


def _write_csv(path: Path, labels: Labels, table: LabelTable, submission: Submission) -> None:
    """A line per image: its name, and all labels, row after row."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("id", "labels"))
        for sample, label in labels:
            rows.writerow((sample.name, " ".join(map(str, label.ravel().tolist()))))


def _write_rle(path: Path, labels: Labels, table: LabelTable, submission: Submission) -> None:
    """A line per image and class: the image's name, the class, and its run lengths."""
    numbers = [row.train_id if submission.train_ids else row.id for row in table.classes]
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("id", "label", "pixels"))
        for sample, label in labels:
            for number in numbers:
                rows.writerow((sample.name, number, run_lengths(label == number, submission.row_major)))


# Name -> ending of the default file name, and the function that writes the file.
FORMATS: dict[str, tuple[str, Callable[[Path, Labels, LabelTable, Submission], None]]] = {
    "zip": (".zip", _write_zip),
    "csv": (".csv", _write_csv),
    "rle": ("_rle.csv", _write_rle),
}


def add_to_zip(archive: zipfile.ZipFile, name: str, label: np.ndarray) -> None:
    """Put a uint8 (H, W) label map into a zip as an 8-bit PNG, with a fixed time stamp and fixed permissions."""
    file = io.BytesIO()
    write_png(file, label)
    entry = zipfile.ZipInfo(name)  # of 1980, the earliest year of a zip
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, file.getvalue())  # stored: a PNG is compressed already


def run_lengths(mask: np.ndarray, row_major: bool = False) -> str:
    """Run-length encoding of a bool (H, W) mask: "start length start length ...", empty for an empty mask.

    Pixels are counted from 1, down each column and column after column, as Kaggle does; with `row_major` along each row.
    """
    flat = mask.ravel(order="C" if row_major else "F")
    bounds = np.flatnonzero(np.diff(flat.astype(np.int8), prepend=0, append=0))
    starts = bounds[::2]
    ends = bounds[1::2]
    return " ".join(map(str, np.stack([starts + 1, ends - starts], 1).ravel().tolist()))
