"""evaluate.py through its command line, on tiny data sets."""

import json
import math
import os
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import evaluate
from helpers import threads
from helpers.errors import InputError, exit_status
from helpers.images import read_instances, read_label
from helpers.labels import CITYSCAPES
from helpers.scoring import counting, scores

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("aachen_000000_000019", "aachen_000001_000019", "bochum_000000_000313")


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def draw(index):
    """Truth, instances (cars and people, one group) and a prediction with errors; all (12, 16)."""
    generator = np.random.default_rng(index)
    truth = generator.choice(np.array([0, 4, 7, 8, 11, 23], np.uint8), (3, 4)).repeat(4, 0).repeat(4, 1)
    instances = truth.astype(np.uint16)
    for label, number, box in (
        (26, 26001, np.s_[0:5, 2:9]),
        (24, 24000 + index, np.s_[6:11, 1:3]),
        (24, 24, np.s_[9:, 9:]),
    ):
        truth[box], instances[box] = label, number
    classes = np.array([7, 8, 11, 23, 24, 26], np.uint8)
    prediction = np.where(generator.random(truth.shape) < 0.3, generator.choice(classes, truth.shape), truth)
    prediction[~np.isin(prediction, classes)] = 7
    return truth, instances, prediction


def train_ids(truth):
    return np.array([row.train_id for row in CITYSCAPES.rows], np.uint8)[truth]


@pytest.fixture
def city(tmp_path, monkeypatch):
    """A MiniCity of three validation images in ./minicity, and predictions in R/results_val."""
    monkeypatch.chdir(tmp_path)
    for index, name in enumerate(NAMES):
        truth, instances, prediction = draw(index)
        save(Path(f"minicity/leftImg8bit/val/{name}_leftImg8bit.png"), np.zeros((12, 16, 3), np.uint8))
        save(Path(f"minicity/gtFine/val/{name}_gtFine_labelIds.png"), truth)
        save(Path(f"minicity/gtFine/val/{name}_gtFine_instanceIds.png"), instances)
        save(Path(f"R/results_val/{name}_leftImg8bit.png"), prediction)
    return tmp_path


@pytest.fixture
def camvid(tmp_path, monkeypatch):
    """A CamVid of two validation images and a test image without label; the run of its predictions names it."""
    monkeypatch.chdir(tmp_path)
    for index in range(2):
        truth = np.random.default_rng(index).integers(0, 12, (6, 8)).astype(np.uint8)
        save(Path(f"somewhere/val/{index}.png"), np.zeros((6, 8, 3), np.uint8))
        save(Path(f"somewhere/valannot/{index}.png"), truth)
        save(Path(f"R/results_val/{index}.png"), np.where(truth == 11, 0, truth).astype(np.uint8))
    save(Path("somewhere/test/9.png"), np.zeros((6, 8, 3), np.uint8))
    save(Path("R/results_test/9.png"), np.zeros((6, 8), np.uint8))
    Path("R/options.json").write_text('{"options": {"dataset": "camvid", "dataset_path": "somewhere"}, "torch": "2"}')
    return tmp_path


def label_path(index, kind="labelIds"):
    return Path(f"minicity/gtFine/val/{NAMES[index]}_gtFine_{kind}.png")


def prediction_path(index):
    return Path(f"R/results_val/{NAMES[index]}_leftImg8bit.png")


def run(*arguments):
    evaluate.main(["--results", "R/results_val", *arguments])


def read(folder="R"):
    """results.txt as a dict of floats, and results.json."""
    folder = Path(folder)
    lines = dict(line.split(": ") for line in (folder / "results.txt").read_text().splitlines())

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    found = json.loads((folder / "results.json").read_text(), parse_constant=refuse)
    return {name: float(value) for name, value in lines.items()}, found


def assert_refused(capsys, *patterns, arguments=()):
    """Status 2, one line with all the patterns on standard error, and nothing written."""
    before = {path for path in Path().rglob("*") if path.is_file()}
    assert exit_status("evaluate.py", evaluate.main, ["--results", "R/results_val", *arguments]) == 2
    printed = capsys.readouterr()
    message = printed.err.splitlines()[-1]
    assert message.startswith("evaluate.py: error: ")
    for pattern in patterns:
        assert str(pattern) in message
    assert printed.out == ""
    assert {path for path in Path().rglob("*") if path.is_file()} == before


def test_table_and_files(city, capsys):
    run()
    printed = capsys.readouterr()
    drawn = [draw(index) for index in range(3)]
    confusion = sum(scores.confusion_matrix(truth, prediction, 34) for truth, _, prediction in drawn)
    matches = [scores.instance_matches(inst.astype(np.int32), pred, CITYSCAPES) for _, inst, pred in drawn]
    expected = scores.evaluate(confusion, np.concatenate(matches), CITYSCAPES)

    lines, found = read()
    assert list(lines) == [
        *("IoU Class", "iIoU Class", "IoU Category", "iIoU Category", "Accuracy"),
        *("Accuracy Labelled Pixels", "Mean Class Accuracy"),
    ]
    assert lines["IoU Class"] == expected["mean_class_iou"]  # to the last digit
    assert lines["iIoU Class"] == expected["mean_class_niou"]
    assert lines["IoU Category"] == expected["mean_category_iou"]
    assert lines["iIoU Category"] == expected["mean_category_niou"]
    assert lines["Accuracy"] == np.trace(confusion) / confusion.sum()
    assert lines["Accuracy Labelled Pixels"] == expected["labelled_accuracy"] != lines["Accuracy"]
    assert lines["Mean Class Accuracy"] == expected["mean_class_accuracy"]

    assert found["num_images"] == 3
    assert found["scores"]["class_iou"]["bus"] is None
    assert found["confusion_matrix"]["labels"][7] == "road"
    assert found["confusion_matrix"]["rows_are_truth"] == confusion.tolist()

    table = printed.out.splitlines()
    assert table[:2] == ["classes          IoU      nIoU", "--------------------------------"]
    assert f"car           : {expected['class_iou']['car']:5.3f}    {expected['class_niou']['car']:5.3f}" in table
    assert "bus           :   nan      nan" in table
    mean = f"{expected['mean_category_iou']:5.3f}    {expected['mean_category_niou']:5.3f}"
    assert f"Score Average : {mean}" in table
    assert "categories       IoU      nIoU" in table
    assert str(Path("R/results.json")) in table[-1]
    assert printed.err == ""


def test_class_iou_follows_from_the_images_of_the_json(city):
    run()
    _, found = read()
    assert list(found["images"]) == [f"{name}_leftImg8bit" for name in NAMES]
    for name, iou in found["scores"]["class_iou"].items():
        tp, fp, fn = (sum(image[name][kind] for image in found["images"].values()) for kind in ("tp", "fp", "fn"))
        assert (tp / (tp + fp + fn) if tp + fp + fn else None) == iou


def test_results_are_reproducible_and_no_temporary_files_remain(city):
    run()
    first = [Path("R/results.txt").read_bytes(), Path("R/results.json").read_bytes()]
    run()
    assert [Path("R/results.txt").read_bytes(), Path("R/results.json").read_bytes()] == first
    assert sorted(os.listdir("R")) == ["results.json", "results.txt", "results_val"]


def test_an_empty_output_is_the_run_folder(camvid):
    """Such as --output "$FOLDER" with a variable that is not set."""
    run("--output", "")
    assert Path("R/results.txt").is_file()
    assert not Path("results.txt").exists()


def test_output_folder_is_made(city, capsys):
    run("--output", "deep/er")
    assert read("deep/er")[1]["split"] == "val"
    assert not Path("R/results.txt").exists()


def test_output_that_cannot_be_a_folder(city, capsys):
    Path("taken").write_text("")
    assert exit_status("evaluate.py", evaluate.main, ["--results", "R/results_val", "--output", "taken"]) == 2
    assert "cannot write into taken" in capsys.readouterr().err
    assert Path("taken").read_text() == ""


def test_from_within_the_results_folder(city, monkeypatch):
    monkeypatch.chdir("R/results_val")
    evaluate.main(["--results", ".", "--minicity", "../../minicity"])
    assert read("..")[1]["split"] == "val"


def test_options_of_the_tutorial_are_accepted_with_one_note(city, capsys):
    run("--batch_size", "1", "--predict", "--mst")
    notice = capsys.readouterr().err.splitlines()
    assert notice == ["evaluate.py: note: options of baseline.py without effect here: --batch_size --predict --mst"]


@pytest.mark.parametrize(
    "arguments", [["--no_such_flag"], ["--mini", "x"], ["--batch_size", "many"], ["--dataset", "ade"]]
)
def test_unknown_flags_and_values_are_refused(city, capsys, arguments):
    assert_refused(capsys, arguments[0], arguments=arguments)


def test_train_id_labels_give_the_same_scores(city):
    run()
    expected = read()
    for index in range(3):
        save(label_path(index, "labelTrainIds"), train_ids(draw(index)[0]))
        label_path(index).unlink()
    run()
    assert read()[0] == expected[0]
    assert read()[1]["scores"] == expected[1]["scores"]
    assert read()[1]["images"] == expected[1]["images"]


def test_255_is_void_in_predictions_and_labels(city):
    truth, _, prediction = draw(0)
    right = truth == 26
    prediction[right] = 255
    save(prediction_path(0), prediction)
    truth[truth == 4] = 255
    save(label_path(0), truth)
    run()
    assert read()[1]["images"][f"{NAMES[0]}_leftImg8bit"]["car"]["fn"] == right.sum()
    assert np.sum(read()[1]["confusion_matrix"]["rows_are_truth"]) == 3 * 12 * 16


def test_other_unknown_predictions_are_refused(city, capsys):
    prediction = draw(1)[2]
    prediction[0, :5] = 200
    save(prediction_path(1), prediction)
    assert_refused(capsys, prediction_path(1), "value 200 in 5 pixels", "0 .. 33")


def test_unknown_labels_are_refused(city, capsys):
    truth = draw(1)[0]
    truth[0, :3], truth[1, :2] = 34, 90
    save(label_path(1), truth)
    assert_refused(capsys, label_path(1), "value 34 in 3 pixels", "1 more")


def test_missing_predictions_are_refused(city, capsys):
    prediction_path(1).unlink()
    prediction_path(2).unlink()
    assert_refused(capsys, f"{NAMES[1]}_leftImg8bit.png", "1 more of 3")


def test_prediction_of_another_size_is_refused(city, capsys):
    save(prediction_path(2), np.zeros((16, 12), np.uint8))
    assert_refused(capsys, prediction_path(2), "16x12", "12x16")


def test_unreadable_prediction_is_refused(city, capsys):
    prediction_path(0).write_bytes(b"not an image")
    assert_refused(capsys, prediction_path(0), "cannot read")


def test_truncated_label_is_refused(city, capsys):
    label_path(0).write_bytes(label_path(0).read_bytes()[:-30])
    assert_refused(capsys, label_path(0), "cannot read")


def test_color_prediction_is_refused(city, capsys):
    save(prediction_path(1), np.zeros((12, 16, 3), np.uint8))
    assert_refused(capsys, prediction_path(1), "use results_val, not results_color_val")


def test_folder_of_color_images_is_refused(city, capsys):
    Path("R/results_val").rename("R/results_color_val")
    assert_refused(capsys, "use results_val, not results_color_val", arguments=["--results", "R/results_color_val"])


def test_missing_results_folder_is_refused(city, capsys):
    assert_refused(capsys, "there is no folder S/results_val", arguments=["--results", "S/results_val"])


def test_any_single_official_name_is_accepted(city):
    run()
    expected = read()[0]
    prediction_path(0).rename(f"R/results_val/{NAMES[0]}_pred_labelIds.png")
    prediction_path(1).rename(f"R/results_val/{NAMES[1]}.png")
    save(Path(f"R/results_val/{NAMES[1]}7.png"), np.zeros((3, 3), np.uint8))  # frame 0000197: another image
    run()
    assert read()[0] == expected


def test_several_predictions_for_an_image_are_refused(city, capsys):
    prediction_path(0).rename(f"R/results_val/{NAMES[0]}_a.png")
    save(Path(f"R/results_val/{NAMES[0]}_b.png"), draw(0)[2])
    assert_refused(capsys, "several", f"{NAMES[0]}_a.png, {NAMES[0]}_b.png")


def test_no_instance_maps_means_no_niou(city, capsys):
    run()
    expected = read()[0]
    for index in range(3):
        label_path(index, "instanceIds").unlink()
    capsys.readouterr()
    run()
    lines, found = read()
    assert math.isnan(lines["iIoU Class"])
    assert math.isnan(lines["iIoU Category"])
    assert lines["IoU Class"] == expected["IoU Class"]
    assert found["scores"]["mean_class_niou"] is None
    printed = capsys.readouterr()
    assert "car           : " in printed.out
    assert all(
        line.endswith("      n/a") for line in printed.out.splitlines() if line.startswith(("car", "road", "Score"))
    )
    assert printed.err == ""


def test_some_missing_instance_maps_mean_no_niou_and_a_notice(city, capsys):
    label_path(1, "instanceIds").unlink()
    run()
    assert math.isnan(read()[0]["iIoU Class"])
    notice = capsys.readouterr().err
    assert "no nIoU: 1 of 3 images" in notice
    assert NAMES[1] in notice


def test_instance_of_an_unknown_class_is_refused(city, capsys):
    instances = draw(2)[1]
    instances[0, :4] = 40001
    save(label_path(2, "instanceIds"), instances)
    assert_refused(capsys, label_path(2, "instanceIds"), "instance 40001 (4 pixels)")


def test_instance_map_of_another_size_is_refused(city, capsys):
    save(label_path(2, "instanceIds"), np.zeros((3, 3), np.uint16))
    assert_refused(capsys, label_path(2, "instanceIds"), "3x3")


def test_the_first_bad_image_is_the_one_named(city, capsys):
    for index in (2, 1):
        save(prediction_path(index), np.full((12, 16), 99, np.uint8))
    assert_refused(capsys, prediction_path(1))


def test_the_first_bad_image_is_the_one_named_even_if_a_later_one_fails_first(city, capsys, monkeypatch):
    for index in (1, 2):
        save(prediction_path(index), np.full((12, 16), 99, np.uint8))
    counted, original = threading.Event(), counting.count_image

    def count_image(sample, path, *args, **options):
        if path.name == prediction_path(1).name:
            assert counted.wait(20)
        try:
            return original(sample, path, *args, **options)
        finally:
            if path.name == prediction_path(2).name:
                counted.set()

    monkeypatch.setattr(counting, "count_image", count_image)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert_refused(capsys, prediction_path(1))


@pytest.mark.parametrize("workers", [1, 2, 5, None])
def test_equal_results_with_any_number_of_workers(city, monkeypatch, workers):
    run()
    expected = [Path("R/results.txt").read_bytes(), Path("R/results.json").read_bytes()]
    monkeypatch.setattr(os, "cpu_count", lambda: workers)
    run()
    assert [Path("R/results.txt").read_bytes(), Path("R/results.json").read_bytes()] == expected


def test_ctrl_c_while_counting_ends_with_130(city, capsys, monkeypatch):
    def count_image(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(counting, "count_image", count_image)
    assert exit_status("evaluate.py", evaluate.main, ["--results", "R/results_val"]) == 130
    assert capsys.readouterr().err == "\nevaluate.py: stopped\n"
    assert not Path("R/results.txt").exists()


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_bar_is_for_terminals(capsys, monkeypatch, terminal):
    tqdm = pytest.importorskip("tqdm")
    bars = []
    monkeypatch.setattr(tqdm, "tqdm", lambda counted, **options: bars.append(options["total"]) or counted)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    assert list(threads.show_progress(iter("ab"), 2, "counting")) == ["a", "b"]
    assert bars == ([2] if terminal else [])


def test_camvid_from_the_runs_options(camvid, capsys):
    run()
    printed = capsys.readouterr().out
    lines, found = read()
    assert (found["dataset"], found["dataset_path"]) == ("camvid", "somewhere")
    assert lines["IoU Class"] == lines["Accuracy Labelled Pixels"] == 1
    assert lines["Accuracy"] < 1  # void pixels cannot be right
    assert math.isnan(lines["iIoU Class"])
    assert "Pavement      : 1.000      n/a" in printed.splitlines()
    assert "moving        : 1.000      n/a" in printed.splitlines()


def test_command_line_overrides_the_runs_options(camvid, capsys):
    Path("somewhere").rename("elsewhere")
    assert_refused(capsys, "somewhere")
    run("--dataset_path", "elsewhere")
    assert read()[1]["dataset_path"] == "elsewhere"
    Path("R/options.json").write_text("{")
    run("--dataset_path", "elsewhere", "--dataset", "camvid")


def test_split_without_labels_is_refused(camvid, capsys):
    assert_refused(capsys, "test images of somewhere have no labels", arguments=["--results", "R/results_test"])


def test_labelled_test_split_is_scored(camvid):
    save(Path("somewhere/testannot/9.png"), np.zeros((6, 8), np.uint8))
    evaluate.main(["--results", "R/results_test/"])
    assert read()[1]["split"] == "test"
    assert read()[0]["IoU Class"] == 1


def test_missing_split_is_refused(camvid, capsys):
    Path("R/results_val").rename("R/results_train")
    assert_refused(capsys, "no train images", arguments=["--results", "R/results_train"])


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"options": 3}', '{"options": {"dataset": "ade"}}', '{"options": {"dataset_path": 3}}']
)
def test_damaged_options_are_refused(camvid, capsys, text):
    Path("R/options.json").write_text(text)
    assert_refused(capsys, Path("R/options.json"), "damaged")


def test_options_without_a_path_mean_the_default(city):
    Path("R/options.json").write_text('{"options": {"dataset": "minicity", "dataset_path": null}}')
    run()
    assert read()[1]["dataset_path"] == "minicity"


def test_missing_data_set_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("R/results_val").mkdir(parents=True)
    with pytest.raises(InputError, match="no minicity data set in minicity"):
        run()


def png_with_half_of_its_rows(height, width):
    """A complete PNG file with the pixels of half of its rows: Pillow reads the others as 0."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes([7]) * width) * (height // 2)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "I", "half", "raw", "palette of two"])
def test_pixels_equal_those_of_pillow(tmp_path, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50)).astype(np.uint8)
    path = tmp_path / "label.png"
    if mode == "half":
        Image.fromarray(np.full((30, 50), 255, np.uint8)).save(path)
        read_label(path)  # leaves memory that is not 0
        path.write_bytes(png_with_half_of_its_rows(30, 50))
    elif mode == "raw":
        Image.fromarray(pixels).save(path, format="BMP")  # not decoded but mapped into memory
    elif mode in ("1", "L"):
        Image.fromarray(pixels).convert(mode).save(path)
    elif mode == "I":
        Image.fromarray(pixels.astype(np.int32)).save(path, format="TIFF")
    elif mode == "I;16":
        Image.fromarray(pixels.astype(np.uint16)).save(path)
    else:
        image = Image.fromarray(pixels % 2 if mode == "palette of two" else pixels).convert("P")
        image.putpalette([value // 3 for value in range(768)])
        image.save(path, bits=1 if mode == "palette of two" else 8)
    with Image.open(path) as image:
        expected = np.asarray(image)
    if mode == "1":
        expected = expected * np.uint8(255)
    else:
        assert (read_instances(path) == expected).all()
        assert read_instances(path).dtype == (np.uint16 if mode == "I;16" else np.int32)
    found = read_label(path)
    assert found.dtype == np.uint8
    assert (found == expected).all()


def test_needs_no_torch(city):
    program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import evaluate
evaluate.main(["--results", "R/results_val"])
assert "torch" not in sys.modules
assert "matplotlib" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_exit_status_of_the_program(city):
    command = [sys.executable, str(ROOT / "evaluate.py"), "--results"]
    done = subprocess.run([*command, "R/results_val"], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run([*command, "nowhere"], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


# ---------------------------------------------------------------------------------------------- numbers that mean nothing


def as_train_ids(folder):
    for path in folder.glob("*.png"):
        save(path, train_ids(read_label(path)))


@pytest.mark.parametrize("program", ["evaluate", "gallery"])
def test_predictions_that_hold_train_ids_get_a_hint(city, capsys, program):
    as_train_ids(Path("R/results_val"))
    if program == "evaluate":
        assert exit_status("evaluate.py", evaluate.main, ["--results", "R/results_val"]) == 0
    else:
        from tools.gallery.__main__ import main

        assert main(["R"]) in (None, 0)
    error = capsys.readouterr().err
    assert "note: R/results_val: the predictions seem to hold train ids: read as such, " in error


def test_right_predictions_get_no_hint(city, capsys):
    assert exit_status("evaluate.py", evaluate.main, ["--results", "R/results_val"]) == 0
    assert "seem to hold" not in capsys.readouterr().err


def test_labels_of_void_are_not_scored(city, capsys):
    for path in Path("minicity/gtFine/val").glob("*_labelIds.png"):
        save(path, np.full((12, 16), 255, np.uint8))
    for path in Path("minicity/gtFine/val").glob("*_instanceIds.png"):
        path.unlink()
    assert exit_status("evaluate.py", evaluate.main, ["--results", "R/results_val"]) == 2
    assert "nothing to score against" in capsys.readouterr().err
    assert not Path("R/results.json").exists()
