"""Predictions of an earlier run: which data set they are of, which files belong to which images."""

from helpers.errors import InputError
from helpers.run_folder import read_options
from learning.data.datasets import open_as_stored


def read_stored(args, run):
    """dict: the options of the folder `run`, with the data set that was typed in place of theirs; they may be missing.

    Raises:
        InputError: damaged options.json.
    """
    typed = {name: getattr(args, name) for name in ("dataset", "dataset_path") if getattr(args, name)}
    try:
        stored = read_options(run / "options.json")
    except InputError:
        if len(typed) < 2:
            raise
        stored = {}
    return stored | typed


def find_dataset(args, run):
    """The data set that `read_stored` names, divided as there; else minicity in ./minicity."""
    return open_as_stored(read_stored(args, run), run / "options.json")


def labelled_samples(dataset, split):
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


def find_predictions(results, samples):
    """Paths of the predictions: NAME.png, or for Cityscapes names the only <city>_<sequence>_<frame>*.png.

    Raises:
        InputError: no such folder, or a folder of color pictures; images with no prediction, or with several.
    """
    if not results.is_dir():
        raise InputError(f"there is no folder {results}; predict first: python baseline.py --save_path RUN --predict")
    if results.name.startswith("results_color"):
        plain = results.name.replace("_color", "", 1)
        raise InputError(f"{results} holds color pictures; use {plain}, not {results.name}")
    files = sorted(path.name for path in results.iterdir() if path.suffix == ".png")
    exact, found, missing = set(files), [], []
    for sample in samples:
        expected = f"{sample.name}.png"
        names = [expected] if expected in exact else _named_alike(sample.name, files)
        if len(names) > 1:
            raise InputError(f"several predictions for {sample.name} in {results}: {', '.join(names)}; keep one")
        found += [results / name for name in names]
        missing += [] if names else [sample]
    if missing:
        more = f" (nor for {len(missing) - 1} more of {len(samples)})" if len(missing) > 1 else ""
        raise InputError(f"no prediction for {missing[0].image} in {results}{more}; expected {missing[0].name}.png")
    return found


def _named_alike(name, files):
    key = name.removesuffix("_leftImg8bit")
    if key == name:
        return []
    # A digit after the key is another frame, where the frame numbers are not padded with zeros.
    return [file for file in files if file.startswith(key) and not file[len(key) :][:1].isdigit()]
