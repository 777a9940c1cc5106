"""tools.ablate: runs of variants and their differences. The programs are stubs, except in one slow test."""

import json
import math
import subprocess
import sys

import pytest
from PIL import Image

from helpers.errors import exit_status
from tools.ablate import __main__ as ablate
from tools.ablate import experiment
from tools.ablate.results import paired_difference

BASELINE = """
import json, pathlib, sys
argv = sys.argv[1:]
value = lambda name: argv[argv.index(name) + 1]
run = pathlib.Path(value("--save_path"))
run.mkdir(parents=True, exist_ok=True)
(run / "argv.json").write_text(json.dumps(argv))
miou = 0.5 + 0.01 * int(value("--seed")) + (0.1 + 0.02 * int(value("--seed")) if "--cutmix" in argv else 0)
if "--copyblob" in argv:
    sys.exit(1)
(run / "log_epoch.csv").write_text(f"epoch,miou\\n0,0.1\\n1,{miou / 2}\\n")
(run / "log_time.csv").write_text(f"epoch,seconds\\n0,2\\n1,{4 if '--cutmix' in argv else 2}\\n")
(run / "miou").write_text(str(miou))
print("started", file=open(run / "starts", "a"))
"""
EVALUATE = """
import json, pathlib, sys
run = pathlib.Path(sys.argv[2]).parent
(run / "results.json").write_text(json.dumps({"scores": {"mean_class_iou": float((run / "miou").read_text())}}))
"""


@pytest.fixture
def stub_programs(tmp_path, monkeypatch):
    """Fast programs: a run scores 0.5 plus a point for each seed, --cutmix adds 10 points plus 2 for each seed."""
    (tmp_path / "baseline.py").write_text(BASELINE)
    (tmp_path / "evaluate.py").write_text(EVALUATE)
    monkeypatch.setattr(experiment, "ROOT", tmp_path)
    monkeypatch.setattr(ablate, "check_data", lambda *_: None)
    return tmp_path


def run(*argv):
    return exit_status("tools.ablate", ablate.main, list(map(str, argv)))


def test_the_table_contains_means_spreads_and_paired_differences(stub_programs, capsys):
    folder = stub_programs / "ablation"
    recipe = stub_programs / "recipe.txt"
    recipe.write_text("--loss focal\n")
    argv = ("--base", f"@{recipe}", "--epochs", 2, "--save_path", folder, "--seeds", 2)
    assert run(*argv, "--vary", "--cutmix", "--lr_init 0.1") == 0
    table = (folder / "ablation.md").read_text()
    assert f"Base: `@{recipe} --epochs 2`" in table
    assert "| base | 2 | 50.50 | 0.71 |  | 1.00 |  |" in table
    # Differences 10 and 12 points: mean 11, deviation sqrt(2), half the interval 12.706 * sqrt(2) / sqrt(2).
    assert "| cutmix | 2 | 61.50 | 2.12 | +11.00 [-1.71, +23.71] | 1.50 | could be chance |" in table
    assert "| lr_init_0.1 | 2 | 50.50 | 0.71 | +0.00 [+0.00, +0.00] | 1.00 | could be chance |" in table
    assert table.splitlines()[-1].startswith("mIoU is of")
    numbers = json.loads((folder / "ablation.json").read_text())["variants"]["cutmix"]
    assert numbers["runs"]["1"] == pytest.approx({"miou": 0.63, "last_miou": 0.315, "seconds": 6.0, "epochs": 2})
    assert Image.open(folder / "ablation.png").size[0] > 500
    typed = json.loads((folder / "cutmix" / "seed_1" / "argv.json").read_text())
    assert typed[:5] == [f"@{recipe}", "--epochs", "2", "--cutmix", "--seed"]
    assert "[6/6] lr_init_0.1, seed 1: mIoU 0.5100" in capsys.readouterr().out


def test_a_second_call_adds_variants_and_seeds_and_repeats_no_run(stub_programs, capsys):
    folder = stub_programs / "ablation"
    argv = ("--base", "--epochs", 2, "--save_path", folder)
    assert run(*argv, "--seeds", 1, "--vary", "--cutmix") == 0
    assert "+10.00 |" in (folder / "ablation.md").read_text(), "one seed has no interval"
    assert run(*argv, "--seeds", 2, "--vary", "--hflip False", "--jobs", 2) == 0
    assert "[6/6]" in capsys.readouterr().out
    assert "| cutmix | 2 |" in (folder / "ablation.md").read_text()
    assert (folder / "base" / "seed_0" / "starts").read_text() == "started\n"


def test_it_continues_after_a_stop_in_the_first_run(stub_programs, monkeypatch):
    folder = stub_programs / "ablation"

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "run", stopped)
        assert run("--base", "--epochs", 2, "--vary", "--cutmix", "--seeds", 1, "--save_path", folder) == 130
    assert "| cutmix | 0 | not run yet |" in (folder / "ablation.md").read_text()
    assert run("--base", "--epochs", 2, "--seeds", 1, "--save_path", folder) == 0
    assert "| cutmix | 1 |" in (folder / "ablation.md").read_text()


def test_a_failed_run_is_reported_and_the_others_continue(stub_programs, capsys):
    folder = stub_programs / "ablation"
    assert run("--base", "--epochs", 2, "--vary", "--copyblob", "--cutmix", "--seeds", 1, "--save_path", folder) == 1
    assert f"copyblob, seed 0: failed: see {folder / 'copyblob' / 'seed_0.log'}" in capsys.readouterr().out
    table = (folder / "ablation.md").read_text()
    assert "| copyblob | 0 | failed |" in table
    assert "| cutmix | 1 |" in table


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--base", "--los", "ce"], "variant base: unrecognized arguments: --los ce"),
        (["--base", "--epochs", "2", "--vary", "--epochs x"], "variant epochs_x: argument --epochs"),
        (["--base", "--seed", "2"], "variant base: leave out --seed"),
        (["--base", "--epochs", "2", "--vary", "--cutmix", "--cutmix"], "there is a variant cutmix already"),
        (["--base", "--epochs", "2", "--vary", "--loss 'ce"], "No closing quotation"),
        (["--base", "--epochs", "2", "--seeds", "0"], "--seeds 0"),
        (
            ["--base", "--epochs", "2", "--vary", "--holdout tail"],
            "variant holdout_tail: --holdout changes what is scored",
        ),
        (["--base", "--train_on", "trainval"], "variant base is scored on images that it trains on"),
        (["--vary", "--cutmix"], "--base"),
    ],
)
def test_usage_errors_are_reported_before_anything_runs(stub_programs, capsys, argv, message):
    assert run(*argv, "--save_path", stub_programs / "ablation") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (stub_programs / "ablation").exists()


def test_other_folders_are_refused(stub_programs, capsys):
    other = stub_programs / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    assert run("--base", "--epochs", 2, "--save_path", other) == 2
    assert "was not made by tools.ablate" in capsys.readouterr().err
    folder = stub_programs / "ablation"
    assert run("--base", "--epochs", 2, "--seeds", 1, "--save_path", folder) == 0
    assert run("--base", "--epochs", 3, "--seeds", 1, "--save_path", folder) == 2
    assert "another base (--epochs 2)" in capsys.readouterr().err
    (folder / "ablation.json").write_text("{")
    assert run("--base", "--epochs", 2, "--seeds", 1, "--save_path", folder) == 2
    assert "damaged" in capsys.readouterr().err


def test_a_changed_recipe_is_another_base(stub_programs, capsys):
    """The command line is the same, but the finished runs used the earlier content of the recipe."""
    recipe, folder = stub_programs / "recipe.txt", stub_programs / "ablation"
    recipe.write_text("--epochs 2")
    assert run("--base", f"@{recipe}", "--seeds", 1, "--save_path", folder) == 0
    recipe.write_text("--epochs 2 --lr_init 0.5")
    assert run("--base", f"@{recipe}", "--vary", "--cutmix", "--seeds", 1, "--save_path", folder) == 2
    assert "holds variant base with --lr_init None, which is 0.5 now" in capsys.readouterr().err
    assert not (folder / "cutmix").exists()


def test_data_are_checked_before_the_first_run(stub_programs, camvid, monkeypatch, capsys):
    monkeypatch.undo()
    monkeypatch.setattr(experiment, "ROOT", stub_programs)
    argv = (
        "--base",
        "--dataset",
        "camvid",
        "--dataset_path",
        camvid,
        "--epochs",
        2,
        "--save_path",
        stub_programs / "ablation",
    )
    assert run(*argv, "--vary", "--copypaste Nothing") == 2
    assert "variant copypaste_Nothing: " in capsys.readouterr().err
    assert not (stub_programs / "ablation").exists()
    assert run(*argv, "--seeds", 1) == 0


def test_the_interval_needs_two_common_seeds():
    assert paired_difference({0: 0.1}, {1: 0.2}) == (pytest.approx(math.nan, nan_ok=True),) * 2
    mean, half = paired_difference({0: 0.1, 1: 0.5}, {0: 0.2})
    assert (mean, math.isnan(half)) == (pytest.approx(0.1), True)
    mean, half = paired_difference({0: 0.0, 1: 0.0, 2: 0.0}, {0: 1.0, 1: 2.0, 2: 3.0})
    assert (mean, half) == (2.0, pytest.approx(4.303 / math.sqrt(3)))


@pytest.mark.slow
def test_real_runs(tmp_path, camvid):
    argv = ["--dataset", "camvid", "--dataset_path", camvid, "--model", "UNet", "--train_size", 64, "--crop_size", 64]
    argv += ["--test_size", 64, "--batch_size", 2, "--epochs", 1, "--num_workers", 0, "--device", "cpu"]
    command = [sys.executable, "-m", "tools.ablate", "--base", *argv, "--vary", "--norm group", "--seeds", 1]
    command += ["--save_path", tmp_path / "ablation", "--jobs", 2]
    result = subprocess.run(list(map(str, command)), cwd=experiment.ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "| norm_group | 1 |" in (tmp_path / "ablation" / "ablation.md").read_text()
