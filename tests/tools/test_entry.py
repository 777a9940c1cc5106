"""tools.entry: from a recipe to the packed test predictions in one call, and again."""

import io
import os
import signal
import threading
import time
import zipfile

import numpy as np
import pytest
from commands import run_baseline, small_run, stored_options
from PIL import Image
from tiny import make_camvid

import baseline
from helpers.errors import exit_status
from helpers.images import read_label
from tools import entry


def enter(*words):
    """Exit status of tools.entry."""
    return exit_status("tools.entry", entry.main, list(map(str, words)))


def stop_when(ready):
    """Send SIGTERM to this process, once, as soon as `ready()`."""

    def wait():
        while not ready():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


@pytest.fixture
def in_process(monkeypatch):
    """Runs baseline.py in this process: starting another takes longer than the tiny training."""
    monkeypatch.setattr(entry, "run_baseline", lambda argv: exit_status("baseline.py", baseline.main, argv))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_camvid(tmp_path_factory.mktemp("entry") / "data")


@pytest.mark.slow
def test_a_recipe_becomes_a_packed_entry(data, tmp_path, capfd):
    """Label ids of every test image at its size, predicted at several scales; the training images include the validation's."""
    recipe, run = tmp_path / "recipe.txt", tmp_path / "run"
    recipe.write_text("# tiny\n--steps 3 --train_on trainval   # few\n--seed 1\n")
    assert enter(f"@{recipe}", *small_run(run, data)) == 0
    out = capfd.readouterr().out
    assert "trained, predicted and packed in" in out
    assert f"--save_path {run} --predict --mst --split test" in out
    assert out.count("val images predicted") == 1, "by the training, and not again"
    with zipfile.ZipFile(run / "submission_test.zip") as archive:
        assert archive.namelist() == ["0001TP_test000.png", "0001TP_test001.png"]
        for name in archive.namelist():
            label = np.asarray(Image.open(io.BytesIO(archive.read(name))))
            assert (label.shape, label.dtype) == ((48, 64), np.uint8)
            assert label.max() < 11
            assert np.array_equal(label, read_label(run / "results_test" / name))
    assert stored_options(run)["train_on"] == "trainval"


@pytest.mark.slow
def test_a_second_call_continues(data, tmp_path, in_process, capsys):
    run = tmp_path / "run"
    words = small_run(run, data, "--epochs", 2, "--seed", 1)
    assert enter(*words) == 0
    first = (run / "submission_test.zip").read_bytes()
    logs = (run / "log_epoch.csv").read_bytes()
    (run / "submission_test.zip").unlink()
    assert enter(*words) == 0
    assert (run / "submission_test.zip").read_bytes() == first
    assert (run / "log_epoch.csv").read_bytes() == logs
    assert "is finished: 2 of 2 epochs" in capsys.readouterr().out


def test_prediction_options_reach_the_prediction(data, tmp_path, in_process, capsys):
    run = tmp_path / "run"
    words = small_run(run, data, "--steps", 1)
    assert enter(*words, "--scales", 0.5, 1, "--no-flip", "--tile", 64, "--overlap", 8) == 0
    out = capsys.readouterr().out
    assert "--scales 0.5 1 --no-flip --tile 64 64 --overlap 8 --device=cpu --num_workers=0" in " ".join(out.split())
    assert "2 test images predicted (2 scales, windows of 64x64;" in out
    assert "8 scales" not in out


@pytest.mark.parametrize("word", ["--tile 8", "--scales 0", "--overlap 64 --tile 64"])
def test_mistakes_in_prediction_options_are_found_first(data, tmp_path, capsys, word):
    assert enter(*small_run(tmp_path / "run", data), *word.split()) == 2
    assert word.split()[0] in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_damaged_test_images_are_found_first(tmp_path, capsys):
    folder = make_camvid(tmp_path / "data")
    (folder / "test" / "0001TP_test001.png").write_bytes(b"no picture")
    assert enter(*small_run(tmp_path / "run", folder)) == 2
    assert "0001TP_test001.png" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_stopped_entry_continues(data, tmp_path, capsys):
    """SIGTERM after the first epoch; the next call ends with the file of an uninterrupted entry."""
    words = ("--epochs", 8, "--seed", 3)
    assert enter(*small_run(tmp_path / "whole", data, *words)) == 0
    stop_when((tmp_path / "run" / "checkpoint.pth.tar").exists)
    assert enter(*small_run(tmp_path / "run", data, *words)) == 143
    assert "the same call continues the entry" in capsys.readouterr().err
    assert not (tmp_path / "run" / "submission_test.zip").exists()
    assert enter(*small_run(tmp_path / "run", data, *words)) == 0
    packed = [(tmp_path / name / "submission_test.zip").read_bytes() for name in ("whole", "run")]
    assert packed[0] == packed[1]


def test_an_overfitted_run_is_no_entry(data, tmp_path, capsys):
    assert run_baseline(*small_run(tmp_path / "run", data, "--overfit", 2, "--steps", 1)) == 0
    assert enter("--save_path", tmp_path / "run") == 2
    assert "holds a run of --overfit" in capsys.readouterr().err


def test_help_says_what_it_is(capsys):
    with pytest.raises(SystemExit):
        entry.main(["--help"])
    out = capsys.readouterr().out
    assert "challenge entry" in out
    assert "--scales" in out


@pytest.mark.parametrize("word", ["--predict", "--dry_run", "--weights x.pth", "--overfit 2", "--export m.onnx"])
def test_options_that_contradict_an_entry(data, tmp_path, capsys, word):
    assert enter(*small_run(tmp_path / "run", data), *word.split()) == 2
    assert f"{word.split()[0]} is not for an entry" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_no_test_images(tmp_path, capsys):
    make_camvid(tmp_path / "data", (("train", 4), ("val", 2)))
    assert enter(*small_run(tmp_path / "run", tmp_path / "data")) == 2
    assert "has no test images" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_not_under_torchrun(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert enter(*small_run(tmp_path / "run", data)) == 2
    assert "without torchrun" in capsys.readouterr().err


def test_a_program_that_ends_badly_ends_the_entry(data, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(entry, "run_baseline", lambda argv: asked.append(argv) or 130)
    assert enter(*small_run(tmp_path / "run", data)) == 130
    assert len(asked) == 1


@pytest.mark.parametrize(("handles", "status"), [(True, 7), (False, 143)])
def test_a_signal_reaches_the_child_and_its_status_is_kept(tmp_path, monkeypatch, capfd, handles, status):
    handler = "lambda *_: sys.exit(7)" if handles else "signal.SIG_DFL"
    (tmp_path / "baseline.py").write_text(
        f"import pathlib, signal, sys, time\nsignal.signal(signal.SIGTERM, {handler})\n"
        "print(*sys.argv[1:], flush=True)\npathlib.Path(sys.argv[1]).touch()\ntime.sleep(60)\n"
    )
    monkeypatch.setattr(entry, "ROOT", tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    stop_when((tmp_path / "ready").exists)
    assert entry.run_baseline([str(tmp_path / "ready"), "a b"]) == status
    assert capfd.readouterr().out == f"{tmp_path / 'ready'} a b\n"
    assert signal.getsignal(signal.SIGTERM) is before
