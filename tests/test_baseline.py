"""The job end to end, through the command line."""

import csv
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from commands import run_baseline, run_evaluate, snapshot, train
from PIL import Image
from tiny import draw, make_camvid, make_minicity, save

import options
from helpers.images import read_image
from helpers.labels import CITYSCAPES
from learning.inference.predictor import load_run

ROOT = options.__file__.rsplit("/", 1)[0]


def log_rows(folder):
    with open(folder / "log_epoch.csv") as file:
        return list(csv.DictReader(file))


def test_run_folder_holds_everything(tmp_path, camvid, capsys):
    run = tmp_path / "run"
    assert train(run, camvid, "--epochs", 2, "--seed", 3) == 0
    screen = capsys.readouterr().out
    for words in ("cpu", "5 train, 3 val, 2 test", "UNet", "from scratch", "2 steps x 2 epochs", "seed 3", str(run)):
        assert words in screen
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    names = [f"0001TP_val{index:03d}" for index in range(3)]
    assert {"options.json", "log_epoch.csv", "log_time.csv", "learning_curve.png", "images/train_batch.png"} <= files
    assert {"checkpoint.pth.tar", "checkpoint_previous.pth.tar", "best_weights.pth.tar"} <= files
    assert {f"results_val/{name}.png" for name in names} == {name for name in files if name.startswith("results_val/")}
    assert {f"results_color_val/{name}_{kind}.png" for name in names for kind in ("input", "prediction")} <= files
    assert {f"images/{names[0]}{end}.png" for end in ("", "_gt", "_epoch_0", "_epoch_1")} <= files
    stored = json.loads((run / "options.json").read_text())
    assert stored["external weights"] == "none"
    assert set(stored["options"]) == set(options.OPTIONS)
    assert stored["options"]["seed"] == 3


def test_log_miou_is_what_evaluate_says(tmp_path, camvid):
    run = tmp_path / "run"
    assert train(run, camvid, "--epochs", 2) == 0
    best = max(float(row["miou"]) for row in log_rows(run))
    assert run_evaluate("--results", run / "results_val") == 0
    assert json.loads((run / "results.json").read_text())["scores"]["mean_class_iou"] == pytest.approx(best, abs=1e-7)


def test_predictions_are_label_ids_at_source_size(tmp_path):
    data = make_minicity(tmp_path / "data")
    odd = draw(np.random.default_rng(9), CITYSCAPES, (40, 70))
    save(data / "leftImg8bit/test/12345678901234567_leftImg8bit.png", odd[0])
    run = tmp_path / "run"
    assert train(run, data, "--epochs", 1, name="minicity") == 0
    assert run_baseline("--save_path", run, "--batch_size", 3, "--predict", "--mst") == 0
    sizes = {path.stem: Image.open(path).size for path in (run / "results_test").iterdir()}
    assert sizes == {
        "12345678901234567_leftImg8bit": (70, 40),
        "tiny_000000_000019_leftImg8bit": (96, 48),
        "tiny_000001_000019_leftImg8bit": (96, 48),
    }
    ids = {row.id for row in CITYSCAPES.classes}
    for path in [*(run / "results_val").iterdir(), *(run / "results_test").iterdir()]:
        assert set(np.unique(np.asarray(Image.open(path)))) <= ids
    color = np.asarray(Image.open(run / "results_color_test/12345678901234567_leftImg8bit_input.png"))
    assert np.array_equal(color, odd[0])
    assert run_evaluate("--results", run / "results_val", "--batch_size", 1, "--predict", "--mst") == 0


def test_predict_needs_no_test_split(tmp_path):
    data = make_camvid(tmp_path / "data", (("train", 4), ("val", 2)))
    run = tmp_path / "run"
    assert train(run, data, "--epochs", 1) == 0
    assert run_baseline("--save_path", run, "--predict") == 0
    assert not (run / "results_test").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("--loss", "focal", "--focal_gamma", "2.0"),
        ("--loss", "weighted_ce"),
        ("--loss", "ce+lovasz+abl"),
        ("--cutmix", "--copyblob"),
    ],
)
def test_losses_and_mixing_train(tmp_path, minicity, words):
    run = tmp_path / "run"
    assert train(run, minicity, "--epochs", 1, *words, name="minicity") == 0
    assert math.isfinite(float(log_rows(run)[0]["train loss"]))


@pytest.mark.slow
@pytest.mark.usefixtures("small_resnets")
@pytest.mark.parametrize("norm", ["instance", "group", "evo", "evo_b0"])
def test_every_norm_trains_with_a_batch_of_one(tmp_path, norm):
    data = make_camvid(tmp_path / "data", (("train", 2), ("val", 1)))
    words = ("--epochs", 1, "--batch_size", 1, "--norm", norm, "--model", "DeepLabv3_resnet50")
    assert train(tmp_path / "run", data, *words) == 0


def test_same_seed_same_run(tmp_path, camvid):
    for name in ("a", "b"):
        assert train(tmp_path / name, camvid, "--epochs", 1, "--seed", 5, "--cutmix") == 0
    assert train(tmp_path / "c", camvid, "--epochs", 1, "--seed", 6, "--cutmix") == 0
    rows = [log_rows(tmp_path / name) for name in "abc"]
    assert rows[0] == rows[1] != rows[2]


@pytest.mark.slow
def test_workers_do_not_change_the_run(tmp_path, camvid):
    for workers in (0, 2):
        assert train(tmp_path / str(workers), camvid, "--epochs", 2, "--seed", 5, "--num_workers", workers) == 0
    assert log_rows(tmp_path / "0") == log_rows(tmp_path / "2")


def test_resumed_run_is_the_uninterrupted_run(tmp_path, camvid):
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert train(whole, camvid, "--epochs", 3, "--seed", 7, "--copyblob") == 0
    # The state after two of three epochs, as a kill would leave it.
    part.mkdir()
    for name in ("options.json", "best_weights.pth.tar"):
        (part / name).write_bytes((whole / name).read_bytes())
    (part / "checkpoint.pth.tar").write_bytes((whole / "checkpoint_previous.pth.tar").read_bytes())
    assert run_baseline("--save_path", part, "--weights", part / "checkpoint.pth.tar", "--device", "cpu") == 0
    one, other = (torch.load(folder / "checkpoint.pth.tar", weights_only=True) for folder in (whole, part))
    assert all(
        torch.equal(one["model_state_dict"][key], other["model_state_dict"][key]) for key in one["model_state_dict"]
    )
    assert (whole / "log_epoch.csv").read_bytes() == (part / "log_epoch.csv").read_bytes()
    assert one["best_miou"] == other["best_miou"]


def test_resume_into_another_folder_keeps_the_best(tmp_path, camvid):
    first, second = tmp_path / "first", tmp_path / "second"
    assert train(first, camvid, "--epochs", 1) == 0
    before = snapshot(first)
    words = ("--save_path", second, "--weights", first / "checkpoint.pth.tar", "--epochs", 2, "--device", "cpu")
    assert run_baseline(*words) == 0
    assert len(log_rows(second)) == 2
    assert (second / "best_weights.pth.tar").exists()
    assert snapshot(first) == before


def test_dry_run_keeps_nothing(tmp_path, camvid, capsys):
    assert train(tmp_path / "run", camvid, "--dry_run", "--mst") == 0
    assert not (tmp_path / "run").exists()
    screen = capsys.readouterr().out
    for words in (
        "training step",
        "validation of",
        "--mst",
        "saving",
        "evaluation",
        "peak memory",
        "the whole run about",
    ):
        assert words in screen


@pytest.mark.slow
def test_overfit_learns_its_images(tmp_path, camvid):
    run = tmp_path / "run"
    assert train(run, camvid, "--overfit", 2, "--epochs", 25, "--lr_init", "0.05", "--seed", 0) == 0
    rows = log_rows(run)
    assert float(rows[-1]["train acc"]) > float(rows[0]["train acc"]) + 0.2
    assert not (run / "results_val").exists()


def test_a_later_prediction_replaces_results_and_nothing_else(tmp_path, camvid):
    run = tmp_path / "run"
    assert train(run, camvid, "--epochs", 1) == 0
    (run / "results_val" / "notes.txt").write_text("mine")
    (run / "mine.png").write_bytes(b"mine")
    (run / "results_val" / "figure.png").write_bytes(b"mine")
    prediction = run / "results_val" / "0001TP_val000.png"
    prediction.write_bytes(b"old")
    assert run_baseline("--save_path", run, "--predict") == 0
    assert (run / "results_val" / "notes.txt").read_text() == "mine"
    assert (run / "mine.png").read_bytes() == b"mine"
    assert (run / "results_val" / "figure.png").read_bytes() == b"mine"
    assert prediction.read_bytes() != b"old"
    assert not list(run.glob(".*"))


def test_pretrained_weights_are_loaded_and_named(tmp_path, camvid, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    assert train(first, camvid, "--epochs", 1) == 0
    assert train(second, camvid, "--epochs", 1, "--pretrained", first / "best_weights.pth.tar") == 0
    assert "weights from" in capsys.readouterr().out
    assert json.loads((second / "options.json").read_text())["external weights"].startswith("sha256 ")


def test_jpeg_images_and_png_labels(tmp_path):
    data = make_camvid(tmp_path / "data", suffix=".jpg")
    assert train(tmp_path / "run", data, "--epochs", 1) == 0
    assert {path.suffix for path in (tmp_path / "run/results_val").iterdir()} == {".png"}


def test_official_city_folders(tmp_path):
    flat, official = make_minicity(tmp_path / "flat"), tmp_path / "official"
    for path in flat.rglob("*.png"):
        save(official / path.parent.relative_to(flat) / "tiny" / path.name, np.asarray(Image.open(path)))
    for name, data in (("a", flat), ("b", official)):
        assert train(tmp_path / name, data, "--epochs", 1, "--seed", 1, name="minicity") == 0
    assert log_rows(tmp_path / "a") == log_rows(tmp_path / "b")


def test_label_train_ids_are_the_same_data(tmp_path):
    ids, train_ids = make_minicity(tmp_path / "ids"), make_minicity(tmp_path / "train_ids")
    decode, _ = CITYSCAPES.decoder("ids", "train_ids")
    for path in list((train_ids / "gtFine").rglob("*_labelIds.png")):
        save(path.with_name(path.name.replace("labelIds", "labelTrainIds")), decode[np.asarray(Image.open(path))])
        path.unlink()
    for name, data in (("a", ids), ("b", train_ids)):
        assert train(tmp_path / name, data, "--epochs", 1, "--seed", 1, name="minicity") == 0
        assert run_evaluate("--results", tmp_path / name / "results_val") == 0
    assert log_rows(tmp_path / "a") == log_rows(tmp_path / "b")
    assert (tmp_path / "a/results.txt").read_text() == (tmp_path / "b/results.txt").read_text()


def test_mistakes_are_answered_before_torch_is_imported(tmp_path, camvid):
    label = next((camvid / "trainannot").iterdir())
    save(label, np.full((48, 64), 77, np.uint8))
    code = (
        "import sys, baseline; from helpers.errors import exit_status;"
        f"status = exit_status('baseline.py', baseline.main, ['--dataset', 'camvid', '--dataset_path', {str(camvid)!r}]);"
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert label.name in done.stderr
    assert "77" in done.stderr
    assert "3072 pixels" in done.stderr


def test_help_names_every_option_and_default(capsys):
    with pytest.raises(SystemExit) as stopped:
        run_baseline("--help")
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for action in options.parser()._actions:
        assert action.option_strings[0] in text
        assert action.help


def test_a_run_loads_and_predicts_in_python(tmp_path, camvid):
    run = tmp_path / "run"
    assert train(run, camvid, "--epochs", 1) == 0
    loaded = load_run(run)
    for name in ("0001TP_val000", "0001TP_val002"):
        prediction = loaded.predict(read_image(camvid / "val" / f"{name}.png"))
        assert np.array_equal(prediction, np.asarray(Image.open(run / "results_val" / f"{name}.png")))


def test_results_behind_a_link_are_replaced_where_they_are(tmp_path, camvid):
    run, disk = tmp_path / "run", tmp_path / "disk"
    assert train(run, camvid, "--epochs", 1) == 0
    (run / "results_val").rename(disk)
    (disk / "notes.txt").write_text("mine")
    (run / "results_val").symlink_to(disk)
    assert run_baseline("--save_path", run, "--predict") == 0
    assert (run / "results_val").is_symlink()
    assert (disk / "notes.txt").read_text() == "mine"
    assert len(list(disk.glob("*.png"))) == 3


def test_moved_weights_bring_their_options(tmp_path, camvid):
    run, moved = tmp_path / "run", tmp_path / "moved"
    assert train(run, camvid, "--epochs", 1, "--dataset_mean", 0.3, 0.3, 0.3) == 0
    moved.mkdir()
    (run / "best_weights.pth.tar").rename(moved / "weights.pth.tar")
    words = ("--save_path", tmp_path / "out", "--predict", "--weights", moved / "weights.pth.tar", "--device", "cpu")
    assert run_baseline(*words) == 0
    assert snapshot(tmp_path / "out/results_val") == snapshot(run / "results_val")


def test_a_run_from_pretrained_weights_predicts_without_their_file(tmp_path, camvid):
    first, second = tmp_path / "first", tmp_path / "second"
    assert train(first, camvid, "--epochs", 1) == 0
    assert train(second, camvid, "--epochs", 1, "--pretrained", first / "best_weights.pth.tar") == 0
    (first / "best_weights.pth.tar").unlink()
    assert run_baseline("--save_path", second, "--predict") == 0


def test_images_of_16_bits_are_divided_by_257(tmp_path):
    ramp = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    image = read_image(save(tmp_path / "gray.png", ramp))
    assert image.shape == (3, 16, 16)
    assert np.array_equal(image[1], (ramp // 257).astype(np.uint8))


def test_scoring_needs_no_tqdm(tmp_path, camvid):
    run = tmp_path / "run"
    assert train(run, camvid, "--epochs", 1) == 0
    code = (
        "import sys; sys.modules['tqdm'] = sys.modules['torch'] = sys.modules['matplotlib'] = None;"
        f"import evaluate; sys.exit(evaluate.main(['--results', {str(run / 'results_val')!r}]))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
