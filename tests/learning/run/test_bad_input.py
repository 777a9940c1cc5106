"""Bad input gets one line that says what, where and what to do, exit status 2, and leaves every file as it was."""

import json
import os
import pickle

import numpy as np
import pytest
import torch
from commands import run_baseline, snapshot, train
from tiny import make_camvid, make_minicity, save

from helpers.images import SUFFIXES


def refused(capsys, status, *words):
    """Check exit status 2 and one line on standard error with all the words in it."""
    error = capsys.readouterr().err
    assert status == 2, error
    assert error.startswith("baseline.py: error: ")
    assert error.count("\n") == 1, error
    for word in words:
        assert str(word) in error, error


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(run folder, data folder) of a finished run."""
    folder = tmp_path_factory.mktemp("trained")
    data = make_camvid(folder / "data")
    assert train(folder / "run", data, "--epochs", 1, "--seed", 1) == 0
    return folder / "run", data


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--model", "ResNet"), ("ResNet", "DeepLabv3_resnet50", "UNet")),
        (("--norm", "layer"), ("layer", "batch", "evo")),
        (("--loss", "l2"), ("l2", "weighted_ce", "focal")),
        (("--dataset", "ade"), ("ade", "minicity", "camvid")),
        (("--no_such_option",), ("--no_such_option", "--help")),
        (("--crop_size", "8"), ("--crop_size", "8", "64")),
        (("--crop_size", "1", "2", "3"), ("--crop_size", "3 numbers")),
        (("--epochs", "0"), ("--epochs 0", "at least 1")),
        (("--epochs", "many"), ("--epochs", "many")),
        (("--lr_init", "nan"), ("--lr_init nan",)),
        (("--lr_init", "-1"), ("--lr_init -1",)),
        (("--batch_size", "0"), ("--batch_size 0",)),
        (("--seed", "-1"), ("--seed -1",)),
        (("--colorjitter_factor", "1.5"), ("--colorjitter_factor", "1.5")),
        (("--augment", "strong"), ("--augment", "strong", "tutorial", "hard")),
        (("--scale_range", "2", "1"), ("--scale_range", "lower")),
        (("--scale_range", "0", "1"), ("--scale_range 0.0 1.0", "0.1")),
        (("--scale_range", "1"), ("--scale_range",)),
        (("--rotation", "181"), ("--rotation 181.0", "degrees")),
        (("--class_crop", "1.5"), ("--class_crop 1.5", "0 to 1")),
        (("--overfit", "2", "--augment", "hard"), ("--overfit", "--augment")),
        (("--overfit", "2", "--class_crop", "0.5"), ("--overfit", "--class_crop")),
        (("--dataset_std", "0", "1", "1"), ("--dataset_std",)),
        (("--hflip", "maybe"), ("--hflip", "maybe")),
        (("--batch_size", "1", "--cutmix"), ("--cutmix", "--batch_size")),
        (("--overfit", "2", "--cutmix"), ("--overfit", "--cutmix")),
        (("--warmup_epochs", "3", "--epochs", "3"), ("--warmup_epochs", "--epochs")),
        (("--output_stride", "8"), ("--output_stride", "UNet")),
        (("--model", "DeepLabv3_resnet50", "--output_stride", "4"), ("--output_stride", "4", "16")),
        (("--aux", "0.4"), ("--aux", "UNet")),
        (("--model", "DeepLabv3_resnet50", "--aux", "-1"), ("--aux -1", "0 or more")),
        (("--model", "UNet_resnet34", "--aux", "0.4"), ("--aux", "UNet")),
        (("--zero_init",), ("--zero_init", "UNet")),
        (("--freeze", "backbone", "--pretrained", "a"), ("--freeze backbone", "UNet", "--model")),
        (("--predict", "--dry_run"), ("--dry_run", "--predict")),
        (("--weights", "a", "--pretrained", "b"), ("--weights", "--pretrained")),
        (("--weights", "no/such/file"), ("--weights", "no/such/file")),
        (("--pretrained", "no/such/file"), ("--pretrained", "no/such/file")),
        (("--device", "cuda:77"), ("--device cuda:77", "cpu")),
    ],
)
def test_options(tmp_path, camvid, capsys, words, expected):
    run = tmp_path / "run"
    refused(capsys, train(run, camvid, *words), *expected)
    assert not run.exists()


def test_no_data_names_the_two_commands_that_help(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(capsys, run_baseline(), "minicity", "python -m minicity.synthesize", "python -m minicity.convert")
    assert not list(tmp_path.iterdir())


def test_an_image_without_label(tmp_path, camvid, capsys):
    gone = camvid / "trainannot/0001TP_train002.png"
    gone.unlink()
    refused(capsys, train(tmp_path / "run", camvid), "train/0001TP_train002.png", "no label", "trainannot")


def test_a_label_without_image(tmp_path, camvid, capsys):
    (camvid / "val/0001TP_val001.png").unlink()
    refused(capsys, train(tmp_path / "run", camvid), "valannot/0001TP_val001.png", "no image")


def test_sizes_that_differ(tmp_path, camvid, capsys):
    save(camvid / "valannot/0001TP_val001.png", np.zeros((48, 60), np.uint8))
    refused(capsys, train(tmp_path / "run", camvid), "0001TP_val001.png", "48x64", "48x60")


def test_values_outside_the_table(tmp_path, camvid, capsys):
    label = np.zeros((48, 64), np.uint8)
    label[:2, :3] = 19
    save(camvid / "trainannot/0001TP_train001.png", label)
    refused(capsys, train(tmp_path / "run", camvid), "0001TP_train001.png", "value 19", "6 pixels", "0 .. 11")


def test_black_and_white_masks(tmp_path, camvid, capsys):
    label = np.zeros((48, 64), np.uint8)
    label[:20] = 255
    for path in camvid.glob("*annot/*"):
        save(path, label)
    refused(capsys, train(tmp_path / "run", camvid), "0001TP_train000.png", "0 and 255", "mask", "python -c")


def test_color_masks(tmp_path, camvid, capsys):
    save(camvid / "trainannot/0001TP_train001.png", np.zeros((48, 64, 3), np.uint8))
    refused(capsys, train(tmp_path / "run", camvid), "0001TP_train001.png", "color")


@pytest.mark.parametrize("suffix", SUFFIXES[:2])
def test_truncated_images(tmp_path, capsys, suffix):
    data = make_camvid(tmp_path / "data", suffix=suffix)
    path = data / f"train/0001TP_train003{suffix}"
    path.write_bytes(path.read_bytes()[:-200])
    refused(capsys, train(tmp_path / "run", data), path.name, "cut off")


def test_files_that_are_no_images(tmp_path, camvid, capsys):
    (camvid / "train/0001TP_train000.png").write_text("not an image")
    refused(capsys, train(tmp_path / "run", camvid), "0001TP_train000.png", "replace or remove")


@pytest.mark.parametrize("workers", [0, 2])
def test_damage_that_only_a_worker_meets(tmp_path, camvid, capsys, workers):
    path = camvid / "train/0001TP_train004.png"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    path.write_bytes(content)
    refused(capsys, train(tmp_path / "run", camvid, "--num_workers", workers), path.name, "replace or remove")


def test_an_empty_split(tmp_path, camvid, capsys):
    for path in [*(camvid / "val").iterdir(), *(camvid / "valannot").iterdir()]:
        path.unlink()
    refused(capsys, train(tmp_path / "run", camvid), "val", "no images")


def test_no_validation_split(tmp_path, capsys):
    data = make_minicity(tmp_path / "data", (("train", 3),))
    refused(capsys, train(tmp_path / "run", data, name="minicity"), "no val images")


def test_a_run_folder_that_holds_another_run(trained, capsys):
    run, data = trained
    before = snapshot(run)
    refused(capsys, train(run, data, "--epochs", 1), "holds another run", "--resume", "--save_path")
    assert snapshot(run) == before


def test_a_run_folder_without_checkpoint_may_be_started_anew(tmp_path, camvid):
    run = tmp_path / "run"
    run.mkdir()
    (run / "notes.txt").write_text("mine")
    assert train(run, camvid, "--epochs", 1) == 0
    assert (run / "notes.txt").read_text() == "mine"


def test_a_run_folder_that_is_a_file(tmp_path, camvid, capsys):
    (tmp_path / "run").write_text("")
    refused(capsys, train(tmp_path / "run", camvid), "run", "is a file")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_run_folder_that_cannot_be_written(tmp_path, camvid, capsys):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    refused(capsys, train(locked / "run", camvid), "locked/run", "--save_path")


def test_no_best_weights_to_predict_with(tmp_path, camvid, capsys):
    refused(capsys, train(tmp_path / "run", camvid, "--predict"), "best_weights.pth.tar", "--weights")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "value", "other"), [("--model", "DeepLabv3_resnet50", "UNet"), ("--norm", "group", "batch")]
)
def test_predicting_with_options_that_contradict_the_weights(trained, capsys, option, value, other):
    run, _ = trained
    before = snapshot(run)
    refused(capsys, run_baseline("--save_path", run, "--predict", option, value), option, value, other)
    assert snapshot(run) == before


def test_predicting_without_options_json_still_compares(trained, tmp_path, capsys):
    run, data = trained
    alone = tmp_path / "best.pth.tar"
    alone.write_bytes((run / "best_weights.pth.tar").read_bytes())
    status = train(tmp_path / "run", data, "--predict", "--weights", alone, "--norm", "evo")
    refused(capsys, status, "--norm evo", "batch")


def test_weights_of_another_number_of_classes(trained, tmp_path, minicity, capsys):
    run, _ = trained
    state = torch.load(run / "best_weights.pth.tar", weights_only=True)
    torch.save({"model_state_dict": state["model_state_dict"]}, tmp_path / "bare.pth.tar")
    status = train(tmp_path / "run", minicity, "--predict", "--weights", tmp_path / "bare.pth.tar", name="minicity")
    refused(capsys, status, "--dataset", "classifier", "11", "19")


def test_resuming_with_another_option(trained, capsys):
    run, data = trained
    before = snapshot(run)
    status = train(run, data, "--weights", run / "checkpoint.pth.tar", "--epochs", 2, "--loss", "focal")
    refused(capsys, status, "--loss", "focal", "ce")
    assert snapshot(run) == before


def test_resuming_from_weights_alone(trained, tmp_path, capsys):
    run, data = trained
    before = snapshot(run)
    status = train(tmp_path / "run", data, "--weights", run / "best_weights.pth.tar", "--epochs", 1, "--seed", 1)
    refused(capsys, status, "weights only", "checkpoint.pth.tar", "--pretrained")
    assert snapshot(run) == before


class Harmful:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.mark.parametrize("kind", ["text", "code", "pickle", "list", "truncated"])
def test_a_weights_file_that_is_no_checkpoint(trained, tmp_path, capsys, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth.tar"
    if kind == "text":
        path.write_text("hello")
    elif kind == "code":
        torch.save({"model_state_dict": Harmful()}, path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Harmful()))
    elif kind == "list":
        torch.save([1, 2], path)
    else:
        path.write_bytes((trained[0] / "checkpoint.pth.tar").read_bytes()[:5000])
    refused(capsys, train(tmp_path / "run", trained[1], "--weights", path), "weights.pth.tar")
    assert not (tmp_path / "harm").exists()
    assert not (tmp_path / "run").exists()


def test_a_damaged_options_file(trained, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "best_weights.pth.tar").write_bytes((trained[0] / "best_weights.pth.tar").read_bytes())
    (run / "options.json").write_text("{")
    refused(capsys, run_baseline("--save_path", run, "--predict"), "options.json", "damaged")


def test_pretrained_weights_of_which_none_fits(tmp_path, camvid, capsys):
    torch.save({"model_state_dict": {"somewhere.weight": torch.zeros(3)}}, tmp_path / "other.pth")
    refused(capsys, train(tmp_path / "run", camvid, "--pretrained", tmp_path / "other.pth"), "--pretrained", "not one")
    assert not (tmp_path / "run").exists()


def test_a_full_disk_keeps_the_last_checkpoint(trained, tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"
    run.mkdir()
    for path in trained[0].glob("*.*"):
        (run / path.name).write_bytes(path.read_bytes())
    before = (run / "checkpoint.pth.tar").read_bytes()

    def full(state, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    status = run_baseline("--save_path", run, "--weights", run / "checkpoint.pth.tar", "--epochs", 2, "--device", "cpu")
    assert status == 2
    assert "No space left" in capsys.readouterr().err
    assert (run / "checkpoint.pth.tar").read_bytes() == before
    assert not list(run.glob("*.tmp"))


def test_weights_from_elsewhere_do_not_touch_another_runs_results(trained, tmp_path, capsys):
    run, data = trained
    other = tmp_path / "other"
    assert train(other, data, "--epochs", 1) == 0
    before = snapshot(other)
    capsys.readouterr()
    status = run_baseline("--save_path", other, "--predict", "--weights", run / "best_weights.pth.tar")
    refused(capsys, status, "holds another run", "--save_path")
    assert snapshot(other) == before


@pytest.mark.parametrize(
    "damage", [{"model": "Foo"}, {"dataset": "foo"}, {"epochs": "abc"}, {"crop_size": 3}, {"hflip": 1}]
)
def test_damaged_stored_options(trained, tmp_path, capsys, damage):
    run = tmp_path / "run"
    run.mkdir()
    (run / "best_weights.pth.tar").write_bytes((trained[0] / "best_weights.pth.tar").read_bytes())
    stored = json.loads((trained[0] / "options.json").read_text())
    (run / "options.json").write_text(json.dumps({"options": stored["options"] | damage}))
    refused(capsys, run_baseline("--save_path", run, "--predict"), "damaged", *damage, *damage.values())


def test_resuming_on_other_data(trained, tmp_path, capsys):
    run, _ = trained
    other = make_camvid(tmp_path / "data", seed=1)
    words = ("--save_path", tmp_path / "run", "--weights", run / "checkpoint.pth.tar", "--epochs", 2, "--device", "cpu")
    refused(capsys, run_baseline(*words, "--dataset_path", other), "not those of the run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["--weights", "--pretrained", "--save_path", "--dataset_path"])
def test_empty_paths(tmp_path, camvid, capsys, option):
    refused(capsys, train(tmp_path / "run", camvid, option, ""), option, "empty")


def test_results_that_are_a_file(trained, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("best_weights.pth.tar", "options.json"):
        (run / name).write_bytes((trained[0] / name).read_bytes())
    (run / "results_val").write_text("mine")
    refused(capsys, run_baseline("--save_path", run, "--predict", "--device", "cpu"), "results_val", "file")
    assert (run / "results_val").read_text() == "mine"


def test_running_out_of_memory_names_the_options_that_help(tmp_path, camvid, capsys, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr("learning.training.engine.train_epoch", full)
    refused(capsys, train(tmp_path / "run", camvid), "--batch_size", "--crop_size", "--test_size", "--mst")
