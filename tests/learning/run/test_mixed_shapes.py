"""A data set of landscape, portrait and square images: validation, prediction, --input and Python agree pixel for pixel."""

import json
from contextlib import closing, nullcontext

import numpy as np
import pytest
from commands import run_baseline, run_evaluate, small_run, train
from PIL import Image
from tiny import draw, make_camvid, save

from helpers.images import read_image
from helpers.labels import CAMVID
from helpers.probabilities import read_probabilities
from helpers.scoring import scores
from learning import checkpoint
from learning.data.datasets.statistics import DatasetStatistics
from learning.inference import predictor
from learning.run import predict_command
from learning.run.build import build_run
from learning.run.setup import setup_run
from learning.run.summary import shape_lines
from learning.training.engine import validate_epoch

SHAPES = [(48, 64), (64, 48), (56, 56), (96, 72), (71, 96), (40, 90)]
INPUTS = [(72, 96), (96, 72), (83, 83), (96, 72), (72, 96), (64, 125)]

SIZES = ("--train_size", 72, 96, "--test_size", 72, 96)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data set whose val images have the sizes `SHAPES`, in this order, and its training images the first three."""
    root = make_camvid(tmp_path_factory.mktemp("mixed") / "data", (("test", 1),))
    rng = np.random.default_rng(3)
    for split, shapes in (("train", SHAPES[:3] * 2), ("val", SHAPES)):
        for index, shape in enumerate(shapes):
            image, label = draw(rng, CAMVID, shape)
            save(root / split / f"0001TP_{split}{index:03d}.png", image)
            save(root / f"{split}annot" / f"0001TP_{split}{index:03d}.png", label)
    return root


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed") / "run"
    assert train(folder, data, "--epochs", 2, "--lr_init", 0.1, "--norm", "instance", "--seed", 1, *SIZES) == 0
    return folder


def predictions(folder):
    """dict: name -> train ids of every val image; CamVid's label ids are its train ids."""
    return {
        f"{path.stem}": np.asarray(Image.open(path)) for path in sorted(folder.glob("0001TP_val[0-9][0-9][0-9].png"))
    }


def same(found, expected):
    return found.keys() == expected.keys() and all(np.array_equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_confusion_of_validation_is_that_of_the_predictions(data, run, tmp_path, batch_size):
    assert run_evaluate("--results", run / "results_val") == 0
    results = json.loads((run / "results.json").read_text())
    argv = small_run(tmp_path / "other", data, "--norm", "instance", *SIZES, "--batch_size", batch_size)
    with closing(build_run(setup_run(argv))) as other:
        model = other.network.model
        model.load_state_dict(checkpoint.load(run / "best_weights.pth.tar")["model_state_dict"])
        metrics = other.metrics()
        validate_epoch(model, other.val_batches, other.training.criterion, nullcontext, metrics, lambda *_: None)
    expected = np.array(results["confusion_matrix"]["rows_are_truth"])[:11, :11]
    assert results["num_images"] == len(SHAPES)
    assert np.array_equal(metrics.confusion, expected)
    assert checkpoint.load(run / "best_weights.pth.tar")["miou"] == scores.mean(scores.iou(expected))


def test_the_first_screen_counts_the_images_of_other_shapes(data, tmp_path):
    setup = setup_run(small_run(tmp_path / "other", data, *SIZES))
    assert shape_lines(setup.options.data, setup.statistics) == [
        "          8 of 12 images have another shape: each keeps its own"
    ]
    assert (
        shape_lines(setup.options.data, {"val": DatasetStatistics(np.array([[48, 64], [71, 96]]), *[np.zeros(0)] * 2)})
        == []
    )


@pytest.mark.parametrize("mst", [False, True])
def test_splits_inputs_and_python_agree_for_every_batch_size(data, run, tmp_path, monkeypatch, mst):
    for module in (predictor, predict_command):
        monkeypatch.setattr(module, "MST_SCALES", (0.5, 1.25))
    loaded = predictor.load_run(run)
    expected = {path.stem: loaded.predict(read_image(path), mst=mst) for path in sorted((data / "val").iterdir())}
    assert len(np.unique(np.concatenate([classes.ravel() for classes in expected.values()]))) > 3
    assert [classes.shape for classes in expected.values()] == SHAPES
    words = ("--save_path", run, "--predict", "--device", "cpu", *(["--mst"] if mst else []))
    for batch_size in (1, 3):
        assert run_baseline(*words, "--split", "val", "--batch_size", batch_size) == 0
        assert same(predictions(run / "results_val"), expected)
        output = tmp_path / f"out{batch_size}"
        assert run_baseline(*words, "--input", data / "val", "--output", output, "--batch_size", batch_size) == 0
        assert same(predictions(output), expected)


def test_every_image_keeps_its_shape_in_the_network(data, run, monkeypatch):
    estimated = []
    monkeypatch.setattr(predict_command, "check_disk", lambda kind, sizes, *_: estimated.extend(sizes))
    words = ("--split", "val", "--save_scores", "float16", "--device", "cpu")
    assert run_baseline("--save_path", run, "--predict", *words) == 0
    found = [read_probabilities(path) for path in sorted((run / "scores_val").iterdir())]
    assert [scores.shape[1:] for scores in found] == estimated == INPUTS
    assert run_evaluate("--results", run / "results_val", "--calibration") == 0
