"""One named test for each mistake of the tutorial that this program mirrors: none may come back."""

import itertools
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from commands import parse_values, run_baseline, run_evaluate, train
from PIL import Image
from tiny import make_minicity, save

import options
from helpers import plots
from helpers.history import COLUMNS, TIME_COLUMNS
from helpers.images import colorize, overlay
from helpers.labels import CITYSCAPES, VOID
from helpers.scoring import scores
from learning import checkpoint, losses
from learning.data.augmentation.mixing import copyblob, cutmix
from learning.data.augmentation.sampling import Augmentation, draw_view
from learning.data.augmentation.transforms import View, color_map, view_sample
from learning.data.cache import FilePixels
from learning.data.datasets import open_dataset
from learning.data.loaders import EvalBatch, LoaderConfig, TrainBatches
from learning.inference.predict import predict_images
from learning.models import Architecture, build_model
from learning.rng import COPYBLOB, CUTMIX, VIEW, draw_order, generator
from learning.run.saver import improves
from learning.training.optim import scheduled_rate

RUNS = ("--epochs", 1)


# ---------------------------------------------------------------------------------------------- training


def test_seed_does_not_crash(tmp_path, camvid):
    assert train(tmp_path / "run", camvid, *RUNS, "--seed", 42) == 0


def test_the_scheduled_rate_falls_with_the_step_not_the_loss():
    rates = [scheduled_rate(step, 100, 0.01) for step in range(100)]
    assert rates[0] == 0.01
    assert all(later < earlier for earlier, later in itertools.pairwise(rates))
    assert rates[50] == pytest.approx(0.005)
    assert rates[-1] < 1e-5


def test_weights_carry_no_module_prefix_and_load_with_one(tmp_path):
    model = build_model(Architecture("UNet", 3, "batch"), 0)
    wrapped = torch.nn.DataParallel(model)
    checkpoint.save({"model_state_dict": wrapped.state_dict()}, tmp_path / "wrapped.pth.tar")
    state = checkpoint.load(tmp_path / "wrapped.pth.tar")
    assert set(state["model_state_dict"]) == set(model.state_dict())
    checkpoint.load_weights(build_model(Architecture("UNet", 3, "batch"), 1), state, "wrapped", {})


def test_the_checkpoint_knows_the_best_of_its_own_epoch(tmp_path, camvid):
    run = tmp_path / "run"
    assert train(run, camvid, "--epochs", 2, "--seed", 2) == 0
    state = torch.load(run / "checkpoint.pth.tar", weights_only=True)
    assert state["best_miou"] == max(state["metrics"]["miou"])
    assert torch.load(run / "best_weights.pth.tar", weights_only=True)["miou"] == state["best_miou"]


def test_a_worse_epoch_after_a_resume_does_not_replace_the_best(tmp_path, camvid):
    run = tmp_path / "run"
    assert train(run, camvid, *RUNS, "--seed", 2) == 0
    for name, key in (("checkpoint.pth.tar", "best_miou"), ("best_weights.pth.tar", "miou")):
        checkpoint.save(checkpoint.load(run / name) | {key: 0.99}, run / name)
    best = (run / "best_weights.pth.tar").read_bytes()
    words = ("--save_path", run, "--weights", run / "checkpoint.pth.tar", "--epochs", 2, "--device", "cpu")
    assert run_baseline(*words) == 0
    assert (run / "best_weights.pth.tar").read_bytes() == best


def test_schedule_and_random_choices_are_restored(tmp_path, camvid):
    """The log of a resumed run ends as that of the uninterrupted one; the weights are compared in test_cli."""
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert train(whole, camvid, "--epochs", 2, "--seed", 2) == 0
    part.mkdir()
    (part / "checkpoint.pth.tar").write_bytes((whole / "checkpoint_previous.pth.tar").read_bytes())
    (part / "options.json").write_bytes((whole / "options.json").read_bytes())
    assert run_baseline("--save_path", part, "--weights", part / "checkpoint.pth.tar", "--device", "cpu") == 0
    assert (whole / "log_epoch.csv").read_text() == (part / "log_epoch.csv").read_text()


def test_the_log_has_one_header_after_a_resume(tmp_path, camvid):
    run = tmp_path / "run"
    assert train(run, camvid, *RUNS) == 0
    words = ("--save_path", run, "--weights", run / "checkpoint.pth.tar", "--epochs", 2, "--device", "cpu")
    assert run_baseline(*words) == 0
    lines = (run / "log_epoch.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "0", "1"]


def test_an_existing_run_folder_gets_its_sub_folders(tmp_path, camvid):
    (tmp_path / "run").mkdir()
    assert train(tmp_path / "run", camvid, *RUNS) == 0
    assert (tmp_path / "run/images/train_batch.png").exists()


def test_a_nan_miou_still_saves_a_best_and_never_beats_a_number():

    assert improves(math.nan, None)
    assert improves(0.1, math.nan)
    assert not improves(math.nan, 0.1)
    assert not improves(math.nan, math.nan)
    assert not improves(0.1, 0.1)


def test_mst_takes_any_batch_size(tmp_path, camvid):
    assert train(tmp_path / "run", camvid, *RUNS, "--mst", "--batch_size", 3) == 0
    assert len(list((tmp_path / "run/results_val").iterdir())) == 3


@pytest.mark.parametrize("epochs", [1, 7])
def test_the_learning_curve_takes_any_length(tmp_path, epochs):
    history = {name: [0.5] * epochs for name in (*COLUMNS.values(), *TIME_COLUMNS.values())}
    plots.learning_curve(history, tmp_path / "curve.png")
    plots.learning_curve(history | {"miou": [math.nan] * epochs}, tmp_path / "nan.png")
    assert Image.open(tmp_path / "curve.png").size[0] > 1000


def test_checkpoints_hold_only_tensors_and_plain_values(tmp_path, camvid):
    assert train(tmp_path / "run", camvid, *RUNS) == 0
    for name in ("checkpoint.pth.tar", "best_weights.pth.tar"):
        torch.load(tmp_path / "run" / name, weights_only=True)


def test_the_tutorials_checkpoints_still_load(tmp_path):
    model = build_model(Architecture("UNet", 3, "batch"), 0)
    weights = {f"module.{name}": value for name, value in model.state_dict().items()}
    metrics = {"train_loss": [1.0], "miou": [np.float64(0.25)]}
    torch.save(
        {"epoch": 0, "model_state_dict": weights, "best_miou": np.float64(0.25), "metrics": metrics}, tmp_path / "old"
    )
    state = checkpoint.load(tmp_path / "old")
    assert state["best_miou"] == 0.25
    checkpoint.load_weights(model, state, "old", {})


def test_nothing_needs_cuda(tmp_path, camvid):
    assert train(tmp_path / "run", camvid, *RUNS, "--device", "cpu") == 0


# ---------------------------------------------------------------------------------------------- data


def views(count=300, source=(40, 60), **changes):
    augmentation = Augmentation(**{"train_size": (40, 60), "crop_size": (20, 30), **changes})
    return [draw_view(generator(0, VIEW, 0, index), source, augmentation) for index in range(count)]


def test_horizontal_flip_happens_half_of_the_time():
    flips = sum(view.flip for view in views(1000))
    assert 430 < flips < 570
    assert not any(view.flip for view in views(100, flip=False))
    image = torch.arange(12, dtype=torch.uint8).view(1, 3, 1, 4)
    flipped, label = view_sample(image[0], image[0, 0], View(0, 0, 1, 4, flip=True), (1, 4), (0, 0, 0))
    assert torch.equal(flipped, image[0].flip(-1))
    assert torch.equal(label, image[0, 0].flip(-1))


def test_padding_covers_both_axes_with_mean_and_void():
    image, label = torch.full((3, 4, 4), 200, dtype=torch.uint8), torch.full((4, 4), 7, dtype=torch.uint8)
    image, label = view_sample(image, label, View(-2, -3, 8, 10), (8, 10), (0.2, 0.4, 0.6))
    outside = torch.ones(8, 10, dtype=torch.bool)
    outside[2:6, 3:7] = False
    assert (label[outside] == VOID).all()
    assert (label[~outside] == 7).all()
    assert image[:, outside].T.unique(dim=0).tolist() == [[51, 102, 153]]


def test_equal_crop_and_train_size_is_still_cropped(camvid):
    data = open_dataset("camvid", camvid)
    feed = LoaderConfig((0.5,) * 3, (0.25,) * 3, torch.device("cpu"))
    batches = TrainBatches(
        FilePixels(data.split("train"), data.decode), feed, 2, Augmentation((48, 64), (48, 64)), seed=0
    )
    shapes = {tuple(images.shape) for epoch in range(5) for images, _ in batches.epoch(epoch)}
    assert shapes == {(2, 3, 48, 64)}


def test_the_last_crop_offset_is_drawn():
    tops = {view.top for view in views(scale_range=(1.0, 1.0), crop_size=(38, 58))}
    assert tops == {0, 1, 2}


@pytest.mark.parametrize("factor", [0.6, 1.0])
def test_color_jitter_above_one_half(factor):
    for view in views(50, jitter=factor):
        assert np.isfinite(color_map(view)[0]).all()


def test_the_last_batch_is_never_a_batch_of_one():
    assert draw_order(0, 0, 9, 4).shape == (2, 4)
    assert draw_order(0, 0, 3, 4).shape == (1, 4)


def test_the_test_split_need_not_exist(tmp_path):
    data = make_minicity(tmp_path / "data", (("train", 2), ("val", 1)))
    assert list(open_dataset("minicity", data).splits) == ["train", "val"]


def test_files_are_sorted_and_stray_files_are_no_images(tmp_path):
    data = make_minicity(tmp_path / "data")
    for name in ("Thumbs.db", "notes.txt", ".hidden_leftImg8bit.png", "preview.png"):
        (data / "leftImg8bit/train" / name).write_text("stray")
    names = [sample.name for sample in open_dataset("minicity", data).split("train")]
    assert names == sorted(names)
    assert len(names) == 5


def test_cutmix_runs_on_the_current_numpy():
    images, labels = torch.rand(4, 3, 16, 16), torch.randint(0, 5, (4, 16, 16))
    mixed, _ = cutmix(images, labels, generator(0, CUTMIX, 0, 3))
    assert mixed.shape == images.shape


def test_copyblob_neither_wraps_nor_smears_nor_cascades():
    labels = torch.zeros(2, 6, 6, dtype=torch.long)
    labels[0, 1:4, 1:4] = 3  # a 3 x 3 blob in image 0
    labels[1] = 2
    labels[1, 5, 5] = 1  # the only ground of image 1 is its last pixel
    labels[0, 0, 5] = 1  # and image 0 has ground, too, for a cascade back
    images = labels[:, None].expand(2, 3, 6, 6).float() * 10
    mixed, target = copyblob(images, labels, [(3, 1)], generator(0, COPYBLOB))
    expected = labels[1].clone()
    expected[5, 5] = 3  # one pixel of the blob is inside: the rest is dropped
    assert torch.equal(target[1], expected)
    assert torch.equal(target[0], labels[0])
    assert torch.equal(mixed, target[:, None].expand_as(mixed).float() * 10)


# ---------------------------------------------------------------------------------------------- model and loss


def test_unet_trains():
    torch.manual_seed(0)
    model = build_model(Architecture("UNet", 3, "batch"), 0)
    images = torch.randn(2, 3, 32, 32)
    labels = (images[:, 0] > 0).long()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    values = []
    for _ in range(8):
        loss = losses.mean(*losses.LOSSES["ce"](model(images)["out"], labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.5 * values[0]


@pytest.mark.parametrize("name", options.LOSSES)
def test_no_loss_counts_void(name):
    criterion = losses.Criterion(name)
    logits = torch.randn(1, 3, 4, 4)
    labels = torch.randint(0, 3, (1, 4, 4))
    labels[:, 0] = VOID
    total, weight = criterion({"out": logits}, labels)
    changed = logits.clone()
    changed[:, :, 0] = 100.0
    assert weight == (12 if name in losses.PIXELWISE else 1)
    assert torch.equal(criterion({"out": changed}, labels)[0], total)


def test_instance_norm_survives_the_pooled_branch():
    model = build_model(Architecture("DeepLabv3_resnet50", 3, "instance"), 0).train()
    assert torch.isfinite(model(torch.randn(1, 3, 64, 64))["out"]).all()


@pytest.mark.parametrize("norm", ["evo", "evo_b0"])
def test_evonorm_keeps_the_relus_after_the_additions(norm):
    model = build_model(Architecture("DeepLabv3_resnet50", 3, norm), 0)
    kept = [name for name, module in model.named_modules() if isinstance(module, torch.nn.ReLU)]
    assert len(kept) == 16
    assert all(name.endswith(".relu") for name in kept)
    assert torch.isfinite(model.train()(torch.randn(1, 3, 64, 64))["out"]).all()


def test_void_is_no_class_that_can_be_predicted():
    for name in options.MODELS:
        with torch.inference_mode():
            assert (
                build_model(Architecture(name, 19, "batch"), 0).eval()(torch.randn(1, 3, 64, 64))["out"].shape[1] == 19
            )


# ---------------------------------------------------------------------------------------------- scores and pictures


def test_void_is_not_correct_in_the_accuracy():
    confusion = np.array([[6, 2], [0, 0]])
    confusion_with_void = np.array([[6, 2, 0], [0, 0, 0], [50, 0, 50]])
    assert scores.pixel_accuracy(confusion) == 0.75
    assert scores.pixel_accuracy(confusion_with_void, np.array([True, True, False])) == 0.75


def test_pictures_do_not_change_their_input():
    label = np.full((3, 4), VOID, np.uint8)
    colors = colorize(label, CITYSCAPES.palette)
    overlay(colors, colors)
    assert (label == VOID).all()
    assert (colors == 0).all()


def test_predictions_have_the_source_size_and_scores_are_enlarged():
    """A class boundary between two low-resolution pixels falls between them, not on a block's edge."""
    scores_low = torch.tensor([[[[3.0, -1.0]], [[0.0, 0.0]]]])  # the classes are equal at 3/4 of the way

    def model(_):
        return {"out": scores_low}

    model.eval = lambda: None
    batch = EvalBatch(torch.zeros(1, 3, 1, 2), None, [(2, 16)], ["sample"])
    ((_, prediction),) = predict_images(model, [batch])
    assert prediction.shape == (2, 16)
    assert prediction[0].tolist() == [0] * 10 + [1] * 6


def test_the_evaluator_takes_255_and_missing_instance_maps_and_writes_beside_the_results(
    tmp_path, minicity, monkeypatch
):
    for path in (minicity / "gtFine").rglob("*instanceIds.png"):
        path.unlink()
    label = next((minicity / "gtFine/val").iterdir())
    pixels = np.asarray(Image.open(label)).copy()
    pixels[:5] = 255
    save(label, pixels)
    run = tmp_path / "run"
    assert train(run, minicity, *RUNS, name="minicity") == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run_evaluate("--results", run / "results_val") == 0
    assert "iIoU Class: nan" in (run / "results.txt").read_text()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_evaluator_swallows_no_mistake(tmp_path, minicity):
    assert run_evaluate("--results", tmp_path, "--minicity", minicity) == 2


# ---------------------------------------------------------------------------------------------- options


def test_booleans_are_booleans_and_sizes_are_numbers():
    parsed = parse_values(["--hflip", "False", "--pin_memory", "--no-cutmix", "--crop_size", "576", "1152"])[0]
    assert (parsed.hflip, parsed.pin_memory, parsed.cutmix, parsed.crop_size) == (False, True, False, (576, 1152))


def test_one_number_for_a_size_is_a_square():
    assert parse_values(["--crop_size", "512"])[0].crop_size == (512, 512)


def test_choices_are_checked(capsys):
    assert run_baseline("--model", "deeplab") == 2
    assert "DeepLabv3_resnet101" in capsys.readouterr().err


def test_the_evaluator_accepts_the_flags_of_the_tutorials_readme(tmp_path, minicity, capsys):
    run = tmp_path / "run"
    assert train(run, minicity, *RUNS, name="minicity") == 0
    capsys.readouterr()
    assert run_evaluate("--results", run / "results_val", "--batch_size", 1, "--predict", "--mst") == 0
    assert capsys.readouterr().err.count("\n") == 1
    assert json.loads((run / "results.json").read_text())["num_images"] == 3


def test_the_programs_run_as_scripts():
    root = options.__file__.rsplit("/", 1)[0]
    for program in ("baseline.py", "evaluate.py"):
        done = subprocess.run([sys.executable, program, "--help"], cwd=root, capture_output=True, text=True)
        assert done.returncode == 0
        assert "--" in done.stdout
