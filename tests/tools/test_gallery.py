"""tools.gallery: the numbers in the page, escaping, overwriting, and the page in a real browser."""

import base64
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from commands import run_evaluate
from PIL import Image
from tiny import make_camvid, make_minicity

from helpers.errors import exit_status
from helpers.images import colorize, read_label
from helpers.labels import CAMVID, CITYSCAPES
from helpers.scoring import scores
from learning.data.datasets import open_dataset
from learning.data.datasets.base import Sample
from tools.gallery import __main__ as gallery
from tools.gallery import curves, page, sections, thumbnails

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


def run(*argv):
    return exit_status("python -m tools.gallery", gallery.main, list(map(str, argv)))


def predict(dataset, results, split="val", seed=0):
    """Write predictions: the truth with a block of another class in each image, larger from image to image."""
    rng = np.random.default_rng(seed)
    results.mkdir(parents=True, exist_ok=True)
    table = dataset.labels
    for index, sample in enumerate(dataset.split(split)):
        if sample.label:
            classes = dataset.decode[read_label(sample.label)].copy()
        else:
            classes = np.full(np.asarray(Image.open(sample.image)).shape[:2], 3, np.uint8)
        classes[classes == 255] = 0
        height = classes.shape[0] * (1 + index) // 8
        classes[:height] = rng.integers(len(table.classes))
        Image.fromarray(table.ids[classes]).save(results / f"{sample.name}.png")


def embedded(html, key):
    return json.loads(re.search(rf'<script type="application/json" id="{key}">(.*?)</script>', html, re.S)[1])


@pytest.fixture
def made(tmp_path):
    """(folder of a run, its data set): CamVid-like, predictions of all splits, options and a log."""
    root = make_camvid(tmp_path / "data")
    dataset, folder = open_dataset("camvid", root), tmp_path / "R"
    for split in ("train", "val", "test"):
        predict(dataset, folder / f"results_{split}", split)
    stored = {"dataset": "camvid", "dataset_path": str(root), "model": "UNet", "lr_init": 0.01}
    (folder / "options.json").write_text(json.dumps({"options": stored, "versions": {"torch": "2.15"}}))
    (folder / "log_epoch.csv").write_text("epoch,train loss,val loss,train miou,miou\n0,2,3,0.1,nan\n1,1,2,0.2,0.3\n")
    return folder, dataset


def test_scores_equal_those_of_evaluate(made):
    folder, _ = made
    assert run(folder) == 0
    assert run_evaluate("--results", folder / "results_val") == 0
    report = json.loads((folder / "results.json").read_text())
    data = embedded((folder / "gallery_val.html").read_text(), "data")
    assert {image["name"] for image in data["images"]} == set(report["images"])
    for image in data["images"]:
        for index, name in enumerate(data["classes"]):
            stored = report["images"][image["name"]][name]
            assert {part: image[part][index] for part in ("tp", "fp", "fn")} == stored
        ious = [
            tp / (tp + fp + fn)
            for tp, fp, fn in zip(image["tp"], image["fp"], image["fn"], strict=True)
            if tp + fp + fn
        ]
        assert image["miou"] == pytest.approx(np.mean(ious), rel=1e-12)
        missed = sum(pixels for _, _, pixels in image["pairs"])
        assert missed == sum(image["fn"])
    assert dict(zip(data["classes"], data["iou"], strict=True)) == report["scores"]["class_iou"]
    order = [image["miou"] for image in data["images"]]
    assert order == sorted(order)
    html = (folder / "gallery_val.html").read_text()
    assert f"<dd>{100 * report['scores']['mean_class_iou']:.1f}\u00a0%</dd>" in html


def test_training_on_the_validation_images_is_noted(made, capsys):
    folder, _ = made
    about = json.loads((folder / "options.json").read_text())
    about["options"]["train_on"] = "trainval"
    (folder / "options.json").write_text(json.dumps(about))
    for split, number in (("val", 1), ("test", 0)):
        assert run(folder, "--split", split) == 0
        note = "was trained on the validation images, too"
        assert capsys.readouterr().out.count(note) == number
        assert (note in (folder / f"gallery_{split}.html").read_text(encoding="utf-8")) == bool(number)


def test_thumbnails_show_input_truth_prediction_and_errors(made):
    folder, dataset = made
    assert run(folder) == 0
    html = (folder / "gallery_val.html").read_text()
    data, shown = embedded(html, "data"), embedded(html, "thumbnails")
    assert not (folder / "gallery_val_full").exists()  # no image is larger than its thumbnail
    for sample in dataset.split("val"):
        image = next(image for image in data["images"] if image["name"] == sample.name)
        found = {kind: decode(uri) for kind, uri in shown[image["index"]].items()}
        truth = dataset.decode[read_label(sample.label)]
        prediction = read_label(folder / "results_val" / f"{sample.name}.png")
        np.testing.assert_array_equal(found["truth"].convert("RGB"), colorize(truth, CAMVID.palette))
        np.testing.assert_array_equal(found["prediction"].convert("RGB"), colorize(prediction, CAMVID.palette))
        opaque = np.asarray(found["errors"].convert("RGBA"))[..., 3] > 0
        np.testing.assert_array_equal(opaque, truth != prediction)  # void is shaded, too
        original = np.asarray(Image.open(sample.image).convert("RGB"), np.float64)
        assert np.abs(np.asarray(found["input"], np.float64) - original).mean() < 12  # JPEG of noise


def decode(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))


def test_large_images_are_downscaled_in_the_page_and_full_size_beside_it(tmp_path):
    root = make_camvid(tmp_path / "data", (("train", 1), ("val", 2)), size=(60, 100))
    dataset, folder = open_dataset("camvid", root), tmp_path / "R"
    predict(dataset, folder / "results_val")
    argv = (folder, "--dataset", "camvid", "--dataset_path", root)
    assert run(*argv, "--width", 70) == 0
    html = (folder / "gallery_val.html").read_text()
    assert {decode(uri).size for found in embedded(html, "thumbnails") for uri in found.values()} == {(70, 42)}
    beside = folder / "gallery_val_full"
    name = dataset.split("val")[0].name
    kinds = ("errors.png", "input.jpg", "prediction.png", "truth.png")
    assert {Image.open(beside / f"{name}_{kind}").size for kind in kinds} == {(100, 60)}
    assert all(image["full"] for image in embedded(html, "data")["images"])

    (beside / "mine.txt").write_text("mine")
    assert run(*argv, "--embed") == 0
    html = (folder / "gallery_val.html").read_text()
    assert {decode(uri).size for found in embedded(html, "thumbnails") for uri in found.values()} == {(100, 60)}
    assert not any(image["full"] for image in embedded(html, "data")["images"])
    assert [path.name for path in beside.iterdir()] == [
        "mine.txt"
    ]  # its own images are deleted, the user's file is kept
    assert sorted(path.name for path in folder.iterdir()) == ["gallery_val.html", "gallery_val_full", "results_val"]


def test_error_map_computed_by_hand():
    truth = np.array([[0, 1, 255, 2]], np.uint8)
    prediction = np.array([[0, 2, 1, 255]], np.uint8)
    expected = [thumbnails.CORRECT, thumbnails.WRONG, thumbnails.IGNORED, thumbnails.WRONG]
    assert thumbnails.error_map(truth, prediction).tolist() == [expected]


def test_confusions_computed_by_hand():
    """Sky 8 pixels (6 correct, 2 predicted as Building), Building 4 (1 void, 3 Sky), and void rows, which are not scored."""
    confusion = np.zeros((12, 12), np.int64)
    confusion[0, 0], confusion[0, 1], confusion[1, 11], confusion[1, 0], confusion[11, 0] = 6, 2, 1, 3, 50
    matrix = sections.over_classes(confusion, CAMVID)
    assert matrix.shape == (11, 12)
    assert matrix[0, :2].tolist() == [6, 2]
    assert matrix[1, [0, 11]].tolist() == [3, 1]
    assert matrix.sum() == 12
    assert sections.worst_pairs(matrix) == [(1, 0, 3, 0.75), (0, 1, 2, 0.25), (1, 11, 1, 0.25)]
    section = sections.confusion_section(confusion, [confusion], CAMVID)
    assert "Building predicted as Sky" in section
    assert 'title="Building predicted as void: 25.0\u00a0%"' in section
    assert "75.0" in section
    thumbs = thumbnails.Thumbnails({}, (2, 3), has_full=False)
    image = page.scored_entry(Sample("x", None), confusion, thumbs, 0, CAMVID)
    assert image["pairs"] == [[1, 0, 3], [0, 1, 2], [1, 11, 1]]
    assert image["present"] == [0, 1]
    assert image["miou"] == pytest.approx((6 / (6 + 3 + 2) + 0) / 2)
    assert image["accuracy"] == 0.5


def test_worst_images_come_first_and_unscored_ones_last():
    confusions = np.zeros((3, 12, 12), np.int64)
    confusions[0, 3, 3] = 10  # all correct
    confusions[1, 11, 3] = 10  # void only
    confusions[2, 3, 4] = 10  # all wrong
    assert gallery.worst_first(confusions, CAMVID).tolist() == [2, 0, 1]


def test_max_shows_the_worst_images_and_the_scores_of_all(made, capsys):
    folder, _ = made
    assert run(folder) == 0
    everything = embedded((folder / "gallery_val.html").read_text(), "data")
    assert run(folder, "--max", 1) == 0
    assert "1 of 3 val images" in capsys.readouterr().out
    few = embedded((folder / "gallery_val.html").read_text(), "data")
    assert few["images"] == everything["images"][:1]
    assert few["iou"] == everything["iou"]
    assert few["num_images"] == 3


def test_images_without_labels(made):
    folder, _ = made
    assert run(folder, "--split", "test") == 0
    html = (folder / "gallery_test.html").read_text()
    data = embedded(html, "data")
    assert not data["scored"]
    assert [list(found) for found in embedded(html, "thumbnails")] == [["input", "prediction"]] * 2
    prediction = read_label(folder / "results_test" / f"{data['images'][0]['name']}.png")
    assert data["images"][0]["present"] == np.unique(prediction).tolist()
    assert "Confusions" not in html
    assert "no labels" in html


def test_minicity_predictions_with_labels_that_are_not_classes(tmp_path):
    root = make_minicity(tmp_path / "data")
    dataset, folder = open_dataset("minicity", root), tmp_path / "R"
    predict(dataset, folder / "results_val")
    path = folder / "results_val" / f"{dataset.split('val')[0].name}.png"
    ids = read_label(path).copy()
    ids[40:] = 9  # parking: a label that is not a class
    Image.fromarray(ids).save(path)
    assert run(folder, "--dataset_path", root, "--output", tmp_path / "out") == 0
    html = (tmp_path / "out/gallery_val.html").read_text()
    assert '<th scope="col"><span>void</span></th>' in html
    assert scores.scored_rows(CITYSCAPES).sum() == len(embedded(html, "data")["classes"])
    assert sorted(path.name for path in folder.iterdir()) == ["results_val"]


def test_the_page_is_self_contained_and_reproducible(made):
    folder, _ = made
    assert run(folder) == 0
    html = (folder / "gallery_val.html").read_text()
    assert not re.search(r"""(src|href)=["']?(https?:)?//|@import|url\(|fetch\(|XMLHttpRequest""", html)
    assert "default-src 'none'" in html
    assert "model</th><td>UNet" in html
    assert html.index("model</th>") < html.index("lr_init</th>")  # changed options come first
    assert '<svg class="curve"' in html
    assert run(folder, "--output", folder / "again") == 0
    assert (folder / "again/gallery_val.html").read_text() == html  # neither random nor dated


def test_all_texts_are_escaped(tmp_path):
    evil = "</script><img src=x onerror=alert(1)>&'\"$title"
    root = make_camvid(tmp_path / "data", (("train", 1), ("val", 2)))
    for folder in ("val", "valannot"):
        path = sorted((root / folder).iterdir())[0]
        path.rename(path.with_name("<b>&'\"$x.png"))
    dataset, folder = open_dataset("camvid", root), tmp_path / "<i>R"
    predict(dataset, folder / "results_val")
    stored = {"dataset": "camvid", "dataset_path": str(root), evil: evil}
    (folder / "options.json").write_text(json.dumps({"options": stored, evil: {evil: evil}}))
    assert run(folder) == 0
    html = (folder / "gallery_val.html").read_text()
    assert "<img src=x" not in html
    assert "<b>&'" not in html
    assert "<i>R" not in html
    assert "&lt;/script&gt;&lt;img" in html
    assert "<b>&'\"$x" in [image["name"] for image in embedded(html, "data")["images"]]
    assert html.count("</script>") == 3


def test_only_own_files_are_replaced(made, capsys):
    folder, _ = made
    page_file, beside = folder / "gallery_val.html", folder / "gallery_val_full"
    page_file.write_text("<html>my notes</html>")
    assert run(folder) == 2
    assert "gallery_val.html was not made by python -m tools.gallery" in capsys.readouterr().err
    assert page_file.read_text() == "<html>my notes</html>"
    assert run(folder, "--force") == 0
    assert run(folder) == 0  # made by this program
    beside.mkdir()
    (beside / "mine.png").write_text("mine")
    assert run(folder, "--width", 64) == 2
    assert "add --force" in capsys.readouterr().err
    assert (beside / "mine.png").read_text() == "mine"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("nowhere",), "there is no run folder nowhere"),
        (("R", "--max", "0"), "--max 0: expected at least 1"),
        (("R", "--width", "3"), "--width 3: expected at least 64"),
        (("R", "--split", "train", "--dataset_path", "nowhere"), "no such folder"),
        (("R", "--split", "other"), "invalid choice"),
    ],
)
def test_usage_errors(made, monkeypatch, capsys, argv, message):
    monkeypatch.chdir(made[0].parent)
    assert run(*argv) == 2
    assert message in capsys.readouterr().err


def test_missing_and_damaged_files(made, capsys):
    folder, dataset = made
    name = dataset.split("val")[1].name
    (folder / "results_val" / f"{name}.png").unlink()
    assert run(folder) == 2
    assert name in capsys.readouterr().err
    predict(dataset, folder / "results_val")
    (folder / "log_epoch.csv").write_text("epoch,miou\n0,what\n")
    assert run(folder) == 2
    assert "log_epoch.csv is damaged" in capsys.readouterr().err
    (folder / "log_epoch.csv").unlink()
    (folder / "options.json").write_text("{")
    assert run(folder) == 2
    assert "options.json is damaged" in capsys.readouterr().err
    shutil.rmtree(folder / "results_val")
    (folder / "options.json").unlink()
    assert run(folder, "--dataset", "camvid", "--dataset_path", dataset.root) == 2
    assert "predict first" in capsys.readouterr().err
    assert not list(folder.glob("gallery*"))
    assert not list(folder.glob(".gallery*"))


def test_curves_have_gaps_and_round_ticks():
    drawn = curves.line_chart(
        "<loss>", [0.0, 1.0, 2.0, 3.0], {"a": [1.0, float("nan"), 3.0, 4.0], "b": [2.0, 2.0, 2.0, 2.0]}
    )
    first, second = re.findall(r'class="line line-\d" d="([^"]*)"', drawn)
    assert [first.count(letter) for letter in "ML"] == [2, 1]
    assert [second.count(letter) for letter in "ML"] == [1, 3]
    assert "<loss>" not in drawn
    assert re.findall(r'text-anchor="end">([^<]*)<', drawn) == ["0", "1", "2", "3", "4"]
    assert curves.line_chart("one", [0.0], {"a": [0.0], "b": [0.0]})
    assert curves.line_chart("many", [float(x) for x in range(200)], {"a": [0.5] * 200}, top=1.0).count(">200<") == 0


needs_browser = pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")


def browse(address, folder, *options):
    """The output of Chromium for a page, after its scripts, without network."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1200,900"]
    command += [
        f"--user-data-dir={folder / 'browser'}",
        "--virtual-time-budget=3000",
        "--host-resolver-rules=MAP * ~NOTFOUND",
    ]
    done = subprocess.run([*command, *options, address], capture_output=True, text=True, timeout=120)
    return re.sub(r"<script.*?</script>", "", done.stdout, flags=re.S)


def cards(dom):
    return re.findall(r'<h3>([^<]*)</h3><span class="score">([^<]*)<', dom)


@needs_browser
def test_a_browser_shows_the_state_in_the_url(made, tmp_path):
    folder, _ = made
    assert run(folder) == 0
    address = (folder / "gallery_val.html").resolve().as_uri()
    data = embedded((folder / "gallery_val.html").read_text(), "data")

    dom = browse(address, tmp_path, "--dump-dom")
    assert cards(dom) == [(image["name"], f"mIoU {100 * image['miou']:.1f} %") for image in data["images"]]
    assert "3 of 3 images" in dom
    assert 'alt="Truth of ' not in dom  # below the visible part of the page

    rare = min(range(len(data["classes"])), key=lambda c: sum(c in image["present"] for image in data["images"]) or 99)
    kept = [image for image in data["images"] if rare in image["present"]]

    def iou(image):
        return image["tp"][rare] / (image["tp"][rare] + image["fp"][rare] + image["fn"][rare])

    name = data["classes"][rare]
    dom = browse(f"{address}#class={name}&sort=best&left=errors&cut=20", tmp_path, "--dump-dom")
    expected = [
        (image["name"], f"IoU {100 * iou(image):.1f} %") for image in sorted(kept, key=lambda i: (-iou(i), i["name"]))
    ]
    assert cards(dom) == expected
    assert dom.count("--cut: 20%") == dom.count('aria-valuetext="20 % Errors, the rest Prediction"') == len(kept)

    truth, other, pixels = data["images"][0]["pairs"][0]
    state = f"truth={data['classes'][truth]}&predicted={data['columns'][other]}"
    dom = browse(f"{address}#{state}&image={data['images'][1]['name']}", tmp_path, "--dump-dom")
    assert (data["images"][0]["name"], f"{pixels:,} pixels") in cards(dom)
    assert re.search(r'<dialog id="viewer"[^>]* open', dom)
    assert f'id="viewer-title">{data["images"][1]["name"]}<' in dom

    dom = browse(f"{address}#class=nonsense&sort=&cut=x&image=no", tmp_path, "--dump-dom")
    assert len(cards(dom)) == 3


@needs_browser
@pytest.mark.parametrize("place", ["card", "viewer"])
def test_a_browser_renders_the_slider(tmp_path, place):
    """A gray image and a prediction of one class: gray left of the edge, the color of the class right of it."""
    root = make_camvid(tmp_path / "data", (("train", 1), ("val", 1)))
    sample = open_dataset("camvid", root).split("val")[0]
    Image.fromarray(np.full((48, 64, 3), 200, np.uint8)).save(sample.image)
    results = tmp_path / "R/results_val"
    results.mkdir(parents=True)
    Image.fromarray(np.full((48, 64), 8, np.uint8)).save(results / f"{sample.name}.png")  # Car
    assert run(tmp_path / "R", "--dataset", "camvid", "--dataset_path", root) == 0
    address = f"{(tmp_path / 'R/gallery_val.html').resolve().as_uri()}#left=input&cut=25"
    screenshot = tmp_path / "screenshot.png"
    options = ("--window-size=1200,3000", f"--screenshot={screenshot}")  # the whole page, so that all cards are filled
    browse(address + (f"&image={sample.name}" if place == "viewer" else ""), tmp_path, *options)
    pixels = np.asarray(Image.open(screenshot).convert("RGB")).astype(int)
    car, gray = (np.abs(pixels - color).max(2) < 6 for color in (CAMVID.palette[8], 200))
    row = np.argmax(car.sum(1))
    right, left = np.flatnonzero(car[row]), np.flatnonzero(gray[row])
    assert left.max() < right.min()
    assert len(right) > 200
    assert len(left) / (len(left) + len(right)) == pytest.approx(0.25, abs=0.03)
