"""Pseudo labels: exact thresholds, the folder that is written, and training on it through the command line."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from commands import copied_run, run_baseline, snapshot, train
from tiny import make_camvid, make_minicity, save

from helpers.errors import InputError, exit_status
from helpers.images import read_image, read_label
from helpers.labels import CAMVID, CITYSCAPES, VOID
from learning.data import cache
from learning.data.datasets import add_training_images, open_dataset
from learning.data.datasets.statistics import dataset_statistics
from learning.inference import ensemble
from learning.inference.predictor import load_run
from tools import predictors
from tools.pseudo_label import __main__ as pseudo_label
from tools.pseudo_label import confidence, labels
from tools.pseudo_label.confidence import LEVELS


def label(*words):
    """Exit status of tools.pseudo_label."""
    return exit_status("tools.pseudo_label", pseudo_label.main, list(map(str, words)))


# ---------------------------------------------------------------------------------------------- thresholds


def counts_of(*rows):
    """Counts of classes from lists of confidences."""
    pairs = [(index, value) for index, row in enumerate(rows) for value in row]
    classes, values = (np.array(column) for column in zip(*pairs, strict=True))
    return confidence.count_levels(classes[None], confidence.to_levels(values[None]), len(rows))


def lowest(counts, *numbers):
    return (confidence.thresholds(counts, *numbers) / LEVELS).tolist()


def test_levels_are_rounded_confidences():
    assert confidence.to_levels([0.0, 0.9, 1.0, 0.900009, 0.900011]).tolist() == [0, 45000, 50000, 45000, 45001]


def test_one_threshold_for_all():
    counts = counts_of([0.5, 0.95], [0.2], [1.0])
    assert lowest(counts, 0.9) == [0.9, 0.9, 0.9]
    summary = confidence.summarize(counts, confidence.thresholds(counts, 0.9), ("a", "b", "c"))
    assert summary["a"] == {"threshold": 0.9, "predicted": 2, "kept": 1, "share": 0.5, "confidence": 0.95}
    assert summary["b"] == {"threshold": 0.9, "predicted": 1, "kept": 0, "share": 0.0, "confidence": None}


def test_a_confidence_at_the_threshold_is_kept():
    counts = counts_of([0.9, 0.89])
    assert confidence.summarize(counts, confidence.thresholds(counts, 0.9), ("a",))["a"]["kept"] == 1


def test_the_threshold_of_a_class_is_that_of_its_most_confident_share():
    # ceil(0.4 * 5) = 2 pixels of the first class, ceil(0.4 * 3) = 2 of the second
    counts = counts_of([0.5, 0.6, 0.7, 0.3, 0.4], [0.35, 0.30, 0.25])
    assert lowest(counts, 0.9, 0.4) == [0.6, 0.3]
    assert lowest(counts, 0.9, 1.0) == [0.3, 0.25]
    assert lowest(counts, 0.9, 0.0001) == [0.7, 0.35]


def test_the_threshold_is_at_most_the_confidence():
    counts = counts_of([0.99, 0.98, 0.97, 0.92, 0.5], [0.6, 0.5])
    thresholds = confidence.thresholds(counts, 0.9, 0.2)
    assert (thresholds / LEVELS).tolist() == [0.9, 0.6]
    # A class of mostly high confidence keeps more than its share.
    assert [row["kept"] for row in confidence.summarize(counts, thresholds, ("a", "b")).values()] == [4, 1]


def test_all_pixels_at_the_threshold_are_kept():
    counts = counts_of([0.7, 0.7, 0.7, 0.1])
    thresholds = confidence.thresholds(counts, 0.9, 0.25)
    assert confidence.summarize(counts, thresholds, ("a",))["a"]["kept"] == 3


def test_shares_are_exact():
    # 0.1 * 30 is 3.0000000000000004 in floating point
    counts = counts_of([index / 100 for index in range(30)])
    assert lowest(counts, 0.9, 0.1) == [0.27]


def test_a_class_without_pixels():
    counts = counts_of([0.7], [0.5])
    counts[0] = 0
    assert lowest(counts, 0.9, 0.5) == [0.9, 0.5]
    summary = confidence.summarize(counts, confidence.thresholds(counts, 0.9, 0.5), ("a", "b"))
    assert summary["a"] == {"threshold": 0.9, "predicted": 0, "kept": 0, "share": None, "confidence": None}


def test_thresholds_agree_with_sorting():
    rng = np.random.default_rng(3)
    classes, sure = rng.integers(0, 5, (40, 50)), rng.random((40, 50))
    counts = confidence.count_levels(classes, confidence.to_levels(sure), 5)
    for portion in (0.05, 0.2, 0.7):
        for index, found in enumerate(confidence.thresholds(counts, 0.8, portion)):
            values = np.sort(np.rint(sure[classes == index] * LEVELS))[::-1]
            expected = min(values[int(np.ceil(len(values) * portion - 1e-9)) - 1], 0.8 * LEVELS)
            assert found == expected


# ---------------------------------------------------------------------------------------------- the folder


class Fixed:
    """A run that predicts class 3 on the left and 9 on the right, with confidences that fall from top to bottom."""

    labels = CAMVID

    def input_size(self, image):
        return 48, 64

    def probabilities(self, image, scales=(1.0,), mirror=False):
        sure = torch.linspace(0.99, 0.5, 48)[:, None].expand(48, 32)
        found = torch.zeros(len(self.labels.classes), 48, 64)
        found[3, :, :32], found[9, :, 32:] = sure, sure * 0.6
        return found


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_camvid(tmp_path_factory.mktemp("pseudo") / "data")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "a"
    assert train(folder, data, "--epochs", 1, "--seed", 1) == 0
    return folder


@pytest.fixture
def fixed(monkeypatch):
    monkeypatch.setattr(predictors, "load", lambda sources, data, device: [Fixed()] * len(sources))


def test_the_folder_is_a_data_set_of_the_same_format(tmp_path, run, data, fixed, capsys):
    output = tmp_path / "out"
    assert label(run, "--input", data / "test", "--output", output) == 0
    out = capsys.readouterr().out
    assert "a challenge may forbid pseudo labels and additional data" in out
    found = open_dataset("camvid", output)
    assert [sample.name for sample in found.split("train")] == ["0001TP_test000", "0001TP_test001"]
    counted = dataset_statistics(found, "train")
    # Of 48 rows from 0.99 to 0.5 the first 9 are at least 0.9; the right half is never that confident.
    assert counted.pixels.sum(0).tolist() == [0, 0, 0, 2 * 9 * 32, *(0 for _ in range(7))]
    assert np.unique(read_label(found.split("train")[0].label)).tolist() == [3, CAMVID.void_id]
    image = found.split("train")[0].image
    assert os.path.samefile(image, data / "test" / image.name)
    assert sorted(path.name for path in output.iterdir()) == ["pseudo_labels.json", "train", "trainannot"]

    about = json.loads((output / "pseudo_labels.json").read_text())
    assert about["round"] == 1
    assert about["classes"]["Road"]["kept"] == 2 * 9 * 32
    assert about["classes"]["Road"]["predicted"] == 2 * 48 * 32
    assert about["classes"]["Sky"]["share"] is None
    assert len(about["runs"][0]["sha256"]) == 64
    line = next(line for line in out.splitlines() if line.startswith("Road"))
    assert line.split() == ["Road", "0.9000", "3072", "576", "18.8", f"{about['classes']['Road']['confidence']:.4f}"]


def test_a_threshold_for_each_class(tmp_path, run, data, fixed):
    output = tmp_path / "out"
    assert label(run, "--input", data / "test", "--output", output, "--per_class", 0.5) == 0
    counted = dataset_statistics(open_dataset("camvid", output), "train").pixels.sum(0)
    assert counted[3] == counted[9] == 2 * 24 * 32
    assert json.loads((output / "pseudo_labels.json").read_text())["per_class"] == 0.5


def test_images_without_a_confident_pixel_are_left_out(tmp_path, run, data, fixed, monkeypatch, capsys):
    assert label(run, "--input", data / "test", "--output", tmp_path / "out", "--confidence", 1.0) == 2
    assert "no pixel of 2 images is confident enough" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    sure = Fixed().probabilities(None)
    answers = iter([sure, sure * 0.5])
    monkeypatch.setattr(Fixed, "probabilities", lambda *_: next(answers))
    assert label(run, "--input", data / "test", "--output", tmp_path / "out") == 0
    assert "1 of 2 images labelled" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out/train").iterdir()] == ["0001TP_test000.png"]


def test_only_confident_pixels_are_labelled(tmp_path, run, data):
    output, path = tmp_path / "out", data / "test/0001TP_test000.png"
    ((classes, sure),) = ensemble.predict_ensemble([load_run(run)], [path], [1.0])
    middle = round(float(np.median(sure)), 4)
    words = ("--input", data / "test", "--output", output, "--confidence", middle, "--device", "cpu")
    assert label(run, *words) == 0
    found = read_label(output / "trainannot/0001TP_test000.png")
    kept = confidence.to_levels(sure) >= round(middle * LEVELS)
    assert 0.3 < kept.mean() < 0.7
    assert np.array_equal(found, np.where(kept, classes, CAMVID.void_id))


def test_minicity_has_its_own_names_and_encoding(tmp_path):
    for encoding, ending in (("ids", "labelIds"), ("train_ids", "labelTrainIds")):
        root, image = tmp_path / encoding, save(tmp_path / "7.png", np.zeros((4, 6, 3), np.uint8))
        data = open_dataset("minicity", make_minicity(tmp_path / "city", size=(48, 64)))
        data = type(data)(data.name, data.root, data.splits, encoding, data.spec)
        predictions = tmp_path / "predictions"
        save(predictions / "7.classes.png", np.full((4, 6), 18, np.uint8))
        save(predictions / "7.levels.png", np.array([[50000] * 6] * 2 + [[100] * 6] * 2, np.uint16))
        assert labels.write_labels(data, [image], np.full(19, 45000), predictions, root) == 1
        found = open_dataset("minicity", root)
        (sample,) = found.split("train")
        assert (sample.name, sample.label.name) == ("7_leftImg8bit", f"7_gtFine_{ending}.png")
        assert found.encoding == encoding
        values = np.unique(read_label(sample.label)).tolist()
        assert values == ([CITYSCAPES.void_id, 33] if encoding == "ids" else [18, VOID])
        assert np.array_equal(read_image(sample.image), read_image(image))


@pytest.mark.parametrize("missing", [("link",), ("link", "symlink")])
def test_images_without_hard_links(tmp_path, monkeypatch, missing):
    def refuse(*_):
        raise OSError("no links here")

    for name in missing:
        monkeypatch.setattr(os, name, refuse)
    source = save(tmp_path / "a.png", np.full((4, 6, 3), 7, np.uint8))
    labels.link_or_copy(source, tmp_path / "b.png")
    assert (tmp_path / "b.png").is_symlink() == (missing == ("link",))
    assert (tmp_path / "b.png").read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--confidence", 0), "--confidence 0.0: expected a number above 0"),
        (("--per_class", 1.5), "--per_class 1.5"),
        (("--mix", 1, 2), "2 weights for 1 runs"),
        (("--input", "nowhere"), "there is no such folder"),
    ],
)
def test_mistakes_are_a_line(tmp_path, run, data, capsys, words, message):
    assert label(run, "--input", data / "test", "--output", tmp_path / "out", *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_foreign_folders_are_not_replaced(tmp_path, run, data, fixed, capsys):
    mine = save(tmp_path / "out/photo.png", np.zeros((4, 4, 3), np.uint8))
    words = (run, "--input", data / "test", "--output", tmp_path / "out")
    assert label(*words) == 2
    assert "not made by" in capsys.readouterr().err
    mine.unlink()
    assert label(*words) == 0
    assert label(*words, "--per_class") == 0  # made by this program
    assert json.loads((tmp_path / "out/pseudo_labels.json").read_text())["per_class"] == 0.2
    empty = tmp_path / "empty"
    empty.mkdir()
    assert label(run, "--input", empty, "--output", tmp_path / "new") == 2
    copied_run(run, tmp_path / "other", dataset="minicity")
    assert label(run, tmp_path / "other", "--input", data / "test", "--output", tmp_path / "new") == 2
    assert "its --dataset is minicity, not camvid" in capsys.readouterr().err


def test_files_added_to_its_folder_are_not_lost(tmp_path, run, data, fixed, capsys):
    output = tmp_path / "out"
    words = (run, "--input", data / "test", "--output", output)
    assert label(*words) == 0
    assert json.loads((output / "pseudo_labels.json").read_text())["files"] == [
        f"{folder}/0001TP_test00{index}.png" for folder in ("train", "trainannot") for index in (0, 1)
    ]
    for folder in ("train", "trainannot"):
        save(output / folder / "mine.png", np.zeros((4, 4), np.uint8))
    before = snapshot(output)
    assert label(*words) == 2
    err = capsys.readouterr().err
    assert f"holds 2 files that were not made by tools.pseudo_label, such as {output}/train/mine.png" in err
    assert err.count("\n") == 1
    assert snapshot(output) == before
    assert label(*words, "--force") == 0
    assert snapshot(output) == before


def test_images_in_the_folder_that_is_replaced_are_refused(tmp_path, run, data, fixed, monkeypatch, capsys):
    """Where there are no hard links, a symbolic link would be left of them, to nothing."""

    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(data / "test", "photos")
    assert label(run, "--input", "photos", "--output", "out") == 0
    shutil.rmtree("out/train")
    shutil.copytree("photos", "out/train")
    before = snapshot(tmp_path / "out")
    assert label(run, "--input", "out/train", "--output", tmp_path / "out") == 2
    assert "lies in --output" in capsys.readouterr().err
    assert snapshot(tmp_path / "out") == before


def test_the_printed_command_can_be_pasted(tmp_path, run, data, fixed, capsys):
    output = tmp_path / "my labels"
    assert label(run, "--input", data / "test", "--output", output) == 0
    assert f"--extra_data '{output}' ..." in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------- training on it


@pytest.fixture(scope="module")
def extra(data, run, tmp_path_factory):
    """A folder of pseudo labels of the two test images."""
    folder = tmp_path_factory.mktemp("extra") / "extra"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictors, "load", lambda sources, data, device: [Fixed()])
        assert label(run, "--input", data / "test", "--output", folder, "--per_class", 0.5) == 0
    return folder


def test_training_images_are_followed_by_those_of_the_folder(data, extra):
    both = add_training_images(open_dataset("camvid", data), [str(extra)])
    names = [sample.name for sample in both.split("train")]
    assert names == [*(f"0001TP_train{index:03d}" for index in range(5)), "0001TP_test000", "0001TP_test001"]
    assert (both.extra[0].num_images, both.extra[0].round) == (2, 1)
    assert dataset_statistics(both, "train").pixels[5:, 3].tolist() == [24 * 32] * 2
    assert len(both.split("val")) == 3


def test_the_cache_knows_which_images_it_holds(tmp_path, data, extra):
    plain = open_dataset("camvid", data)
    both = add_training_images(plain, [str(extra)])
    for dataset, number in ((plain, 5), (both, 7)):
        sizes = dataset_statistics(dataset, "train").sizes
        pixels = cache.open_on_disk(tmp_path, dataset, "train", sizes)
        assert len(pixels) == number
        assert cache.is_cached(tmp_path, dataset, "train", sizes)
        expected = cache.FilePixels(dataset.split("train"), dataset.decode)
        assert all(torch.equal(pixels.label(index), expected.label(index)) for index in range(number))
    assert len(list(tmp_path.glob("*.pixels"))) == 2
    path = extra / "trainannot/0001TP_test000.png"
    os.utime(path, ns=(1, 1))  # made anew: the cache is stale
    assert not cache.is_cached(tmp_path, both, "train", dataset_statistics(both, "train").sizes)


def test_rounds_of_self_training_through_the_command_line(tmp_path, data, extra, monkeypatch, capsys):
    monkeypatch.chdir(extra.parent)
    second = tmp_path / "second"
    assert train(second, data, "--epochs", 1, "--seed", 2, "--extra_data", "extra") == 0
    out = capsys.readouterr().out
    assert "7 train" in out
    assert f"2 of the training images are from {extra}, with pseudo labels of round 1; a challenge may forbid" in out
    about = json.loads((second / "options.json").read_text())
    assert about["options"]["extra_data"] == [str(extra)]
    assert about["extra data"] == [{"folder": str(extra), "num_images": 2, "round": 1}]
    monkeypatch.chdir(tmp_path)
    # --extra_data is stored in the run and must not change.
    words = ("--save_path", second, "--resume", "--device", "cpu", "--epochs", 1)
    assert run_baseline(*words) == 0
    assert run_baseline(*words, "--extra_data", tmp_path) == 2
    assert "--extra_data" in capsys.readouterr().err
    monkeypatch.setattr(predictors, "load", lambda sources, data, device: [Fixed()])
    assert label(second, "--input", data / "test", "--output", tmp_path / "again") == 0
    assert json.loads((tmp_path / "again/pseudo_labels.json").read_text())["round"] == 2
    # Predicting needs the data set alone.
    (tmp_path / "moved").mkdir()
    os.rename(extra, tmp_path / "moved/extra")
    try:
        assert run_baseline("--save_path", second, "--predict", "--device", "cpu") == 0
    finally:
        os.rename(tmp_path / "moved/extra", extra)


def test_folders_that_do_not_fit_are_refused(tmp_path, data, extra):
    plain = open_dataset("camvid", data)
    with pytest.raises(InputError, match="there is no camvid data set"):
        add_training_images(plain, [str(tmp_path / "nowhere")])
    with pytest.raises(InputError, match="labels of camvid, but the data set is minicity"):
        add_training_images(open_dataset("minicity", make_minicity(tmp_path / "city")), [str(extra)])
    wrong = tmp_path / "wrong"
    shutil.copytree(data / "val", wrong / "train")
    shutil.copytree(data / "valannot", wrong / "trainannot")
    with pytest.raises(InputError, match=r"validation image .*0001TP_val000\.png"):
        add_training_images(plain, [str(wrong)])
    (tmp_path / "damaged/train").mkdir(parents=True)
    (tmp_path / "damaged/pseudo_labels.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        add_training_images(plain, [str(tmp_path / "damaged")])


def test_bad_labels_in_the_folder_are_named_before_training(tmp_path, data, capsys):
    wrong = make_camvid(tmp_path / "wrong", (("train", 1),), seed=8)
    os.rename(wrong / "train/0001TP_train000.png", wrong / "train/x.png")
    os.rename(wrong / "trainannot/0001TP_train000.png", wrong / "trainannot/x.png")
    save(wrong / "trainannot/x.png", np.full((48, 64), 77, np.uint8))
    assert train(tmp_path / "r", data, "--epochs", 1, "--extra_data", wrong) == 2
    assert "x.png holds the value 77" in capsys.readouterr().err
    assert train(tmp_path / "r", data, "--overfit", 2, "--extra_data", wrong) == 2
    assert "leave out --extra_data" in capsys.readouterr().err


def test_validation_images_are_known_by_content_not_by_name(tmp_path):
    data = make_camvid(tmp_path / "data", (("train", 2), ("val", 2)))
    other = make_camvid(tmp_path / "other", (("train", 2),), seed=5)
    image, label = (next((other / folder).glob("*train000.png")) for folder in ("train", "trainannot"))
    for path in (image, label):  # another picture with the name of a validation image
        path.rename(path.with_name("0001TP_val000.png"))
    opened = open_dataset("camvid", data)
    assert len(add_training_images(opened, [str(other)]).split("train")) == 4
    copied = other / "train" / "0001TP_train001.png"
    copied.write_bytes((data / "val" / "0001TP_val001.png").read_bytes())
    with pytest.raises(InputError, match=r"train001\.png is the validation image .*val001\.png"):
        add_training_images(opened, [str(other)])
