"""Predictions of an earlier run: their data set, and the file of each image."""

from collections.abc import Sequence
from pathlib import Path

from helpers.errors import InputError
from helpers.run_folder import read_options
from learning.data.datasets import open_dataset_from_options
from learning.data.datasets.base import Dataset, Sample, same_name


def read_run_options(dataset: str | None, dataset_path: str | None, run: Path) -> dict[str, object]:
    """The options of a run folder, with the data set that was typed (if any) in place of its own.

    Options may be missing; where both values were typed, options.json may be damaged, too.

    Raises:
        InputError: damaged options.json.
    """
    given = {"dataset": dataset, "dataset_path": dataset_path}
    typed = {name: value for name, value in given.items() if value}
    try:
        stored = read_options(run / "options.json")
    except InputError:
        if len(typed) < len(given):
            raise
        stored = {}
    return {**stored, **typed}


def open_run_dataset(dataset: str | None, dataset_path: str | None, run: Path) -> Dataset:
    """The data set of `read_run_options`, divided into splits as in the run; by default minicity in ./minicity."""
    return open_dataset_from_options(read_run_options(dataset, dataset_path, run), run / "options.json")


def labeled_samples(dataset: Dataset, split: str) -> tuple[Sample, ...]:
    """The samples of a split that can be scored.

    Raises:
        InputError: the split has no images, or no labels.
    """
    samples = tuple(sample for sample in dataset.split(split) if sample.label)
    if not samples:
        raise InputError(
            f"the {split} images of {dataset.root} have no labels to score against ({dataset.name} data set); "
            "evaluate the results of a labelled split, such as results_val"
        )
    return samples


def find_predictions(results: Path, samples: Sequence[Sample]) -> list[Path]:
    """The prediction of each sample: NAME.png, or for Cityscapes names the only <city>_<sequence>_<frame>*.png.

    Raises:
        InputError: no such folder, or a folder of color images; samples with no prediction, or with several.
    """
    if not results.is_dir():
        raise InputError(f"there is no folder {results}; predict first: python baseline.py --save_path RUN --predict")
    if results.name.startswith("results_color"):
        plain = results.name.replace("_color", "", 1)
        raise InputError(f"{results} holds color images; use {plain}, not {results.name}")
    files = sorted(path.name for path in results.iterdir() if path.suffix == ".png")
    exact = {same_name(name): name for name in files}
    found = []
    missing = []
    for sample in samples:
        expected = f"{sample.name}.png"
        same = exact.get(same_name(expected))
        names = [same] if same else _same_frame(sample.name, files)
        if len(names) > 1:
            raise InputError(f"several predictions for {sample.name} in {results}: {', '.join(names)}; keep one")
        if names:
            found.append(results / names[0])
        else:
            missing.append(sample)
    if missing:
        more = f" (nor for {len(missing) - 1} more of {len(samples)})" if len(missing) > 1 else ""
        raise InputError(f"no prediction for {missing[0].image} in {results}{more}; expected {missing[0].name}.png")
    return found


def _same_frame(name: str, files: Sequence[str]) -> list[str]:
    """Files named after the same frame as an image with a Cityscapes name; none for other names."""
    key = name.removesuffix("_leftImg8bit")
    if key == name:
        return []
    # A digit after the key is another frame, where the frame numbers are not padded with zeros.
    return [file for file in files if file.startswith(key) and not file[len(key) :][:1].isdigit()]
