"""tools.compare through its command line: tables, verdicts, plots, and runs that cannot be compared."""

import json
import shutil

import numpy as np
import pytest
from commands import run_evaluate
from PIL import Image
from tiny import make_camvid

from helpers.errors import exit_status
from helpers.images import read_label, read_size
from helpers.scoring import bootstrap
from learning.data.datasets import open_dataset
from tools import compare

NAMES = ("0001TP_000", "0001TP_001", "0006R0_000", "0006R0_001")


def run(*argv):
    return exit_status("python -m tools.compare", compare.main, list(map(str, argv)))


def make_run(folder, dataset, wrong_rows, **options):
    """A run whose predictions are the truth except for `wrong_rows` rows, which are Sky, as void is."""
    (folder / "results_val").mkdir(parents=True)
    for sample in dataset.split("val"):
        classes = read_label(sample.label).copy()
        classes[classes == 11] = 0
        classes[10 : 10 + wrong_rows] = 0
        Image.fromarray(classes).save(folder / "results_val" / f"{sample.name}.png")
    stored = {"dataset": "camvid", "dataset_path": str(dataset.root), "save_path": str(folder), **options}
    (folder / "options.json").write_text(json.dumps({"options": stored}))
    (folder / "log_epoch.csv").write_text("epoch,val loss,miou\n0,2,0.1\n1,1,0.2\n")


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Runs A (20 wrong rows), B (3) and C (3) over four images of two recordings."""
    root = make_camvid(tmp_path / "data", (("train", 1), ("val", 4)))
    for folder in ("val", "valannot"):
        for path, name in zip(sorted((root / folder).iterdir()), NAMES, strict=True):
            path.rename(path.with_name(f"{name}.png"))
    dataset = open_dataset("camvid", root)
    monkeypatch.chdir(tmp_path)
    for name, rows, rate in (("A", 20, 0.01), ("B", 3, 0.02), ("C", 3, 0.02)):
        make_run(tmp_path / name, dataset, rows, model="UNet", lr_init=rate, crop_size=[64, 64])
    return tmp_path


def table(printed, first):
    """dict: first column -> the others, of the table that begins with `first`."""
    lines = printed[printed.index(first) :].split("\n\n")[0].splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines}


def test_options_that_differ_and_class_iou(made, capsys):
    assert run("A", "B") == 0
    printed = capsys.readouterr().out
    assert table(printed, "option ") == {"option": ["A", "B"], "lr_init": ["0.01", "0.02"]}
    assert printed.startswith("4 val images of the camvid data set\nA: A\nB: B\n")
    shown = table(printed, "IoU in %")
    for index, name in enumerate("AB"):
        assert run_evaluate("--results", f"{name}/results_val") == 0
        found = json.loads((made / name / "results.json").read_text())["scores"]
        for class_name, iou in found["class_iou"].items():
            assert shown[class_name][index] == ("n/a" if iou is None else f"{100 * iou:.1f}")
        assert shown["mean"][index] == f"{100 * found['mean_class_iou']:.1f}"


def test_training_on_the_validation_images_is_noted(made, capsys):
    dataset = open_dataset("camvid", made / "data")
    make_run(made / "D", dataset, 3, train_on="trainval")
    assert run("A", "D") == 0
    assert "note: D was trained on the validation images, too" in capsys.readouterr().out
    assert run("A", "B") == 0
    assert "note: " not in capsys.readouterr().out


def test_the_suggested_command_is_quoted(made, capsys):
    (made / "my run").mkdir()
    assert run("A", "my run") == 2
    assert "--save_path 'my run' --predict" in capsys.readouterr().err


def test_per_command_options_are_not_compared(made, capsys):
    dataset = open_dataset("camvid", made / "data")
    per_command = {"device": "cpu", "num_workers": 3, "cache": "ram", "save_minutes": 7.0, "tile": [64, 64]}
    make_run(made / "D", dataset, 3, model="UNet", lr_init=0.01, crop_size=[64, 64], **per_command)
    assert run("A", "D") == 0
    assert "options: no difference" in capsys.readouterr().out


def test_the_verdict_comes_from_the_paired_bootstrap(made, capsys):
    assert run("A", "B", "--seed", 4, "--resamples", 300) == 0
    printed = capsys.readouterr().out
    counts = []
    for name in "AB":
        run_evaluate("--results", f"{name}/results_val")
        images = json.loads((made / name / "results.json").read_text())["images"]
        counts.append(
            [np.array([[c[part] for c in image.values()] for image in images.values()]) for part in ("tp", "fp", "fn")]
        )
    mean, _ = bootstrap.paired_difference(*counts, num_resamples=300, seed=4)
    assert mean.low > 0
    value, low, high = (100 * number for number in mean)
    expected = f"mean IoU, B - A = {value:+.1f} points, 95 % interval [{low:.1f}, {high:.1f}]: more than chance"
    assert expected in printed
    assert "300 resamples of single images" in printed
    assert run("B", "C") == 0
    printed = capsys.readouterr().out
    assert "mean IoU, C - B = +0.0 points, 95 % interval [0.0, 0.0]: no difference" in printed
    assert "options: no difference" in printed


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.013, -0.004, 0.029), "+1.3 points, 95 % interval [-0.4, 2.9]: could be chance"),
        ((0.02, 0.001, 0.04), "+2.0 points, 95 % interval [0.1, 4.0]: more than chance"),
        ((-0.02, -0.04, -0.001), "-2.0 points, 95 % interval [-4.0, -0.1]: more than chance"),
        ((0.0, 0.0, 0.0), "+0.0 points, 95 % interval [0.0, 0.0]: no difference"),
        ((0.01, 0.0, 0.02), "+1.0 points, 95 % interval [0.0, 2.0]: could be chance"),
    ],
)
def test_verdicts(values, expected):
    assert compare.verdict(bootstrap.Interval(*values)) == expected


def test_blocks_resample_whole_recordings(made, capsys):
    assert run("A", "B", "--blocks") == 0
    assert "2000 resamples of 2 recordings" in capsys.readouterr().out
    for path in sorted(made.rglob("0006R0_*.png")):
        path.rename(path.with_name(path.name.replace("0006R0_", "0001TP_1")))
    capsys.readouterr()
    assert run("A", "B", "--blocks") == 2
    assert "at least 2 recordings to draw from, got 1" in capsys.readouterr().err


def test_results_json_is_read_only_without_predictions(made, capsys):
    assert run("A", "B") == 0
    expected = capsys.readouterr().out
    for name in "AB":
        assert run_evaluate("--results", f"{name}/results_val") == 0
    shutil.rmtree("B/results_val")
    capsys.readouterr()
    assert run("A", "B") == 0
    assert capsys.readouterr().out == expected
    path = made / "A/results.json"  # not read, because the predictions exist
    path.write_text("{")
    assert run("A", "B") == 0
    assert capsys.readouterr().out == expected
    shutil.rmtree("A/results_val")
    assert run("A", "B") == 2
    assert "results.json is damaged" in capsys.readouterr().err


def test_files_are_written_and_only_own_files_replaced(made, capsys):
    assert run("A", "B", "C", "--output", "out") == 0
    printed = capsys.readouterr().out
    assert sorted(path.name for path in (made / "out").iterdir()) == ["class_iou.png", "comparison.txt", "curves.png"]
    text = (made / "out/comparison.txt").read_text()
    assert text.split("\n\n", 1)[1].strip() in printed
    for name in ("class_iou.png", "curves.png"):
        assert min(read_size(made / "out" / name)) > 300
    assert run("A", "B", "--output", "out") == 0  # made by this program
    (made / "other").mkdir()
    (made / "other/curves.png").write_text("mine")
    assert run("A", "B", "--output", "other") == 2
    assert "add --force" in capsys.readouterr().err
    assert (made / "other/curves.png").read_text() == "mine"
    assert run("A", "B", "--output", "other", "--force") == 0
    assert run("A", "B", "--output", "A/options.json") == 2


def test_without_a_log_there_are_no_curves(made):
    for name in "AB":
        (made / name / "log_epoch.csv").unlink()
    assert run("A", "B", "--output", "out") == 0
    assert sorted(path.name for path in (made / "out").iterdir()) == ["class_iou.png", "comparison.txt"]


def test_runs_on_different_images_labels_or_data_are_refused(made, capsys):
    other = open_dataset("camvid", make_camvid(made / "data2", (("train", 1), ("val", 4)), seed=1))
    make_run(made / "D", other, 3)
    assert run("A", "D") == 2
    assert "A and D were scored on different images (4 and 4; 8 in only one of them, such as" in capsys.readouterr().err

    shutil.copytree("data", "data3")
    path = made / "data3/valannot" / f"{NAMES[2]}.png"
    Image.fromarray(np.where(read_label(path) == 11, 11, 5).astype(np.uint8)).save(path)
    make_run(made / "E", open_dataset("camvid", made / "data3"), 3)
    assert run("A", "E") == 2
    assert f"different labels of {NAMES[2]}" in capsys.readouterr().err

    (made / "F").mkdir()
    report = {"dataset": "minicity", "split": "val", "images": {NAMES[0]: {"road": {"tp": 1, "fp": 0, "fn": 0}}}}
    (made / "F/results.json").write_text(json.dumps(report))
    assert run("A", "F") == 2
    assert "A was scored on the camvid data set, F on minicity" in capsys.readouterr().err
    assert run("A", "F", "--split", "train") == 2


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("A",), "nothing to compare with one run"),
        (("A", "nowhere"), "there is no run folder nowhere"),
        (("A", "B", "./A"), "A is named twice"),
        (("A", "B", "--resamples", "3"), "--resamples 3: expected 100 .. 1000000"),
        (("A", "B", "--seed", "-1"), "--seed -1"),
        (("A", "data"), "data has neither results_val nor results.json"),
    ],
)
def test_usage_errors(made, capsys, argv, message):
    assert run(*argv) == 2
    assert message in capsys.readouterr().err


def test_run_names_are_distinct(tmp_path):
    assert compare.label_runs([tmp_path / "a/run", tmp_path / "b/run"]) == ["a/run", "b/run"]
    assert compare.label_runs([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]
