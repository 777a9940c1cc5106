"""tools.check: each kind of finding is provoked and reported with its file; exit status; the hash; the report."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from tiny import draw, make_camvid, make_minicity, save

from helpers.errors import InputError, exit_status
from helpers.images import read_image, read_label
from helpers.labels import CAMVID, CITYSCAPES
from learning.data.datasets import camvid as camvid_spec
from learning.data.datasets import open_dataset
from learning.data.datasets.base import Finding, search
from tools.check import __main__ as check
from tools.check.masks import MISALIGNED, RAMP, misalignment, ramp_share
from tools.check.phash import NEAR, NUM_BITS, difference_hash, distances


def run(data, *options, name="camvid"):
    argv = ["--dataset", name, "--dataset_path", str(data), *map(str, options)]
    return exit_status("python -m tools.check", check.main, argv)


def findings_of(capsys, data, *options, name="camvid"):
    """(exit status, list of lines of findings)."""
    status = run(data, *options, name=name)
    out = capsys.readouterr().out.splitlines()
    return status, [line for line in out if line.startswith(("error ", "warning "))]


def assert_finds(capsys, data, severity, split, path, *expected, name="camvid"):
    """Check that exactly one line of `severity` names `path` and contains the `expected` texts, and the exit status."""
    status, lines = findings_of(capsys, data, "--all", name=name)
    found = [line for line in lines if line.startswith(severity) and f" {path}:" in line]
    assert len(found) == 1, lines
    assert found[0].split()[1] == split
    for text in expected:
        assert str(text) in found[0], found[0]
    assert status == any(line.startswith("error") for line in lines)
    return lines


def scene(seed, size=(96, 128)):
    """A drawn image and its label map, with enough edges to compare."""
    return draw(np.random.default_rng(seed), CAMVID, size, 30)


# ---------------------------------------------------------------------------------------------------------- clean data


@pytest.mark.parametrize(("name", "make"), [("camvid", make_camvid), ("minicity", make_minicity)])
def test_a_clean_data_set_has_no_errors(tmp_path, capsys, name, make):
    status, lines = findings_of(capsys, make(tmp_path / "data"), name=name)
    assert status == 0
    # So few small images do not contain every class; there is no other finding.
    assert {line.split()[0] for line in lines} <= {"warning"}
    assert all("has no pixel of" in line for line in lines), lines


def test_the_table_and_the_summary(tmp_path, capsys):
    data = tmp_path / "data"
    for split, road in (("train", 3), ("val", 1)):
        label = np.full((10, 20), 11, np.uint8)
        label[:road] = 3
        label[9] = 0
        save(data / split / "a_1.png", scene(road, (10, 20))[0])
        save(data / f"{split}annot" / "a_1.png", label)
    save(data / "test" / "a_1.png", scene(9, (10, 20))[0])
    assert run(data) == 0
    rows = {line[:16].strip(): line[16:].split() for line in capsys.readouterr().out.splitlines()}
    assert rows["images"] == ["1", "1", "1"]
    assert rows["size"] == ["10x20"] * 3
    assert rows["labelled"] == ["40.0", "%", "20.0", "%", "-"]
    assert rows["void"] == ["60.0", "%", "80.0", "%", "-"]
    assert rows["classes present"] == ["2", "of", "11", "2", "of", "11", "-"]
    assert rows["Road"] == ["1", "75.000", "1", "50.000"]
    assert rows["Pole"] == ["0", "0.000", "0", "0.000"]


def test_no_torch_is_imported(tmp_path):
    data = make_camvid(tmp_path / "data")
    code = (
        "import sys\nfrom tools.check import __main__ as check\n"
        f"check.main(['--dataset', 'camvid', '--dataset_path', {str(data)!r}])\n"
        "assert not {'torch', 'torchvision', 'matplotlib'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(check.__file__).parents[2]).returncode == 0


# --------------------------------------------------------------------------------------------------------- usage errors


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("--dataset", "ade"), "camvid"),
        (("--dataset", "camvid", "--dataset_path", "no/such"), "no/such"),
        (("--dataset", "camvid", "--dataset_path", "."), "no camvid data set"),
        (("--nonsense",), "--nonsense"),
    ],
)
def test_usage_errors_exit_with_status_2(tmp_path, capsys, monkeypatch, argv, expected):
    monkeypatch.chdir(tmp_path)
    assert exit_status("python -m tools.check", check.main, list(argv)) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


# -------------------------------------------------------------------------------------------------------------- errors


def test_all_pairing_errors_are_listed_not_only_the_first(camvid, capsys):
    for name in ("trainannot/0001TP_train001.png", "trainannot/0001TP_train003.png", "val/0001TP_val002.png"):
        (camvid / name).unlink()
    save(camvid / "train/0001TP_train004.jpg", np.zeros((48, 64, 3), np.uint8))
    status, lines = findings_of(capsys, camvid)
    assert status == 1
    errors = [line for line in lines if line.startswith("error")]
    assert len(errors) == 4
    assert f"{camvid}/train/0001TP_train001.png: has no label in {camvid}/trainannot; add" in errors[1]
    assert f"{camvid}/train/0001TP_train003.png: has no label" in errors[2]
    assert f"{camvid}/valannot/0001TP_val002.png: has no image" in errors[3]
    assert "0001TP_train004.jpg" in errors[0]
    assert "two files for the same image" in errors[0]


def test_training_reports_the_first_error_and_counts_the_others(camvid):
    (camvid / "trainannot/0001TP_train001.png").unlink()
    (camvid / "trainannot/0001TP_train003.png").unlink()
    with pytest.raises(InputError, match=r"train001\.png has no label in .*trainannot \(and 1 more images\); add"):
        open_dataset("camvid", camvid)


def test_equal_names_in_two_folders_are_two_files_of_one_image(minicity, capsys):
    image = scene(1, (48, 96))[0]
    for city in ("a", "b"):
        save(minicity / f"leftImg8bit/test/{city}/7.png", image)
    path = minicity / "leftImg8bit/test/a/7.png"
    assert_finds(capsys, minicity, "error", "test", path, "test/b/7.png", "two files", name="minicity")


def test_every_kind_of_unreadable_file_is_listed(minicity, capsys):
    (minicity / "leftImg8bit/train/tiny_000001_000019_leftImg8bit.png").write_text("no image")
    label = minicity / "gtFine/val/tiny_000000_000019_gtFine_labelIds.png"
    label.write_bytes(label.read_bytes()[:60])
    instances = minicity / "gtFine/train/tiny_000002_000019_gtFine_instanceIds.png"
    instances.write_bytes(instances.read_bytes()[:60])
    status, lines = findings_of(capsys, minicity, name="minicity")
    errors = "\n".join(line for line in lines if line.startswith("error"))
    assert status == 1
    assert errors.count("\n") == 2, errors
    for path in ("train/tiny_000001_000019_leftImg8bit.png", label, instances):
        assert f"{path}: cannot be read: " in errors
    assert errors.count("; replace or remove it") == 3


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_truncated_images(tmp_path, capsys, suffix):
    data = make_camvid(tmp_path / "data", suffix=suffix)
    path = data / f"train/0001TP_train003{suffix}"
    path.write_bytes(path.read_bytes()[:-200])
    assert_finds(capsys, data, "error", "train", path, "cannot be read")


def test_corruption_inside_an_image_is_found_before_training(camvid, capsys):
    path = camvid / "test/0001TP_test001.png"
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    path.write_bytes(content)
    assert_finds(capsys, camvid, "error", "test", path, "cannot be read")


def test_sizes_that_differ(camvid, capsys):
    save(camvid / "valannot/0001TP_val001.png", np.zeros((48, 60), np.uint8))
    assert_finds(capsys, camvid, "error", "val", camvid / "val/0001TP_val001.png", "48x64", "48x60", "must have")


def test_values_outside_the_table(camvid, capsys):
    for name in ("train001", "train002"):
        path = camvid / f"trainannot/0001TP_{name}.png"
        label = read_label(path).copy()
        label[:2, :3] = 19
        save(path, label)
    path = camvid / "trainannot/0001TP_train001.png"
    lines = assert_finds(capsys, camvid, "error", "train", path, "value 19", "6 pixels", "0 .. 11", "convert")
    assert sum("value 19" in line for line in lines) == 2


def test_black_and_white_masks(camvid, capsys):
    label = np.zeros((48, 64), np.uint8)
    label[:20] = 255
    for path in camvid.glob("*annot/*"):
        save(path, label)
    path = camvid / "trainannot/0001TP_train000.png"
    assert_finds(capsys, camvid, "error", "train", path, "0 and 255", "mask", "python -c")


def test_color_masks(camvid, capsys):
    path = save(camvid / "valannot/0001TP_val001.png", np.zeros((48, 64, 3), np.uint8))
    assert_finds(capsys, camvid, "error", "val", path, "color image", "convert the colors")


def test_missing_folders_and_empty_splits(tmp_path, capsys):
    data = make_camvid(tmp_path / "data", (("train", 2),))
    assert_finds(capsys, data, "error", "val", data, "no val images", "add them")
    (data / "val").mkdir()
    lines = assert_finds(capsys, data, "error", "val", data, "no images in its val split")
    assert any(f"{data}/valannot: is missing" in line for line in lines)


def test_instances_of_another_size(minicity, capsys):
    path = save(minicity / "gtFine/val/tiny_000001_000019_gtFine_instanceIds.png", np.zeros((9, 9), np.uint16))
    assert_finds(capsys, minicity, "error", "val", path, "9x9", "48x96", name="minicity")


# ------------------------------------------------------------------------------------------------------------ warnings


def test_absent_classes(camvid, capsys):
    for path in (camvid / "valannot").iterdir():
        label = read_label(path).copy()
        label[label == 8] = 3
        save(path, label)
    status, lines = findings_of(capsys, camvid)
    assert status == 0
    assert any(line.split()[1] == "val" and "no pixel of" in line and "Car" in line for line in lines)


def test_rare_classes(tmp_path, capsys):
    data = make_camvid(tmp_path / "data", (("train", 20), ("val", 1)))
    for index, path in enumerate(sorted((data / "trainannot").iterdir())):
        label = read_label(path).copy()
        label[label == 9] = 3
        label[0, 0] = 9 if index in (4, 7) else label[0, 0]
        save(path, label)
    path = data / "train/0001TP_train004.png"
    assert_finds(capsys, data, "warning", "train", path, "one of only 2 of 20", "Pedestrian")


def test_exact_duplicates_in_different_compression(camvid, capsys):
    image = read_image(camvid / "train/0001TP_train001.png").transpose(1, 2, 0)
    Image.fromarray(image).save(camvid / "train/0001TP_train003.png", compress_level=1)
    path = camvid / "train/0001TP_train001.png"
    assert_finds(capsys, camvid, "warning", "train", path, "same pixels", "train003.png", "another label")


def test_near_duplicates_across_splits_are_listed_up_to_the_limit(tmp_path, capsys):
    data = make_camvid(tmp_path / "data", (("train", 2), ("val", 12), ("test", 1)), (96, 128))
    source = data / "train/0001TP_train001.png"
    for index in range(11):
        with Image.open(source) as image:
            ImageEnhance.Brightness(image).enhance(0.6 + 0.05 * index).save(data / f"val/0001TP_val{index:03d}.png")
    status, lines = findings_of(capsys, data)
    near = [line for line in lines if "looks like" in line or "same pixels as" in line]
    assert status == 0
    assert len(near) == 8
    assert all(str(source) in line for line in near)
    assert any("and 3 more: near duplicate" in line for line in lines)
    _, lines = findings_of(capsys, data, "--all")
    assert sum("looks like" in line or "same pixels as" in line for line in lines) == 11


def test_the_same_image_in_train_and_test(camvid, capsys):
    path = camvid / "test/0001TP_test001.png"
    path.write_bytes((camvid / "train/0001TP_train002.png").read_bytes())
    assert_finds(capsys, camvid, "warning", "test", path, "same pixels", "train002.png")


def test_recordings_in_two_splits(tmp_path, capsys):
    data = make_camvid(tmp_path / "data")
    for split, start in (("train", 1), ("val", 6)):
        for folder in (split, f"{split}annot"):
            for index, path in enumerate(sorted((data / folder).iterdir())):
                path.rename(path.with_name(f"drive{min(index // 2, 1)}_{index + start:05d}.png"))
    # drive0 and drive1 are in both splits; test has other names.
    path = data / "val/drive0_00006.png"
    lines = assert_finds(
        capsys, data, "warning", "val", path, "recording drive0", "1 more of the 3 val", "train holds 2"
    )
    assert sum("frame of the recording" in line for line in lines) == 2


def test_a_common_name_prefix_is_not_a_recording(tmp_path, capsys):
    data = make_camvid(tmp_path / "data", (("train", 4), ("val", 3)))
    for split in ("train", "val"):
        for folder in (split, f"{split}annot"):
            for index, path in enumerate(sorted((data / folder).iterdir())):
                path.rename(path.with_name(f"image_{index:05d}.png"))
    assert not any("frame of the recording" in line for line in findings_of(capsys, data)[1])


@pytest.mark.parametrize(("void_rows", "expected"), [(48, "is all void"), (47, "void in 97.9 %")])
def test_void_labels(camvid, capsys, void_rows, expected):
    label = np.full((48, 64), 3, np.uint8)
    label[:void_rows] = 11
    path = save(camvid / "trainannot/0001TP_train001.png", label)
    assert_finds(capsys, camvid, "warning", "train", path, expected)


def test_labels_of_a_single_class(camvid, capsys):
    path = save(camvid / "trainannot/0001TP_train001.png", np.full((48, 64), 3, np.uint8))
    assert_finds(capsys, camvid, "warning", "train", path, "single class, Road")


def test_equal_label_maps_of_different_images(camvid, capsys):
    label = (camvid / "trainannot/0001TP_train001.png").read_bytes()
    (camvid / "valannot/0001TP_val002.png").write_bytes(label)
    path = camvid / "trainannot/0001TP_train001.png"
    assert_finds(capsys, camvid, "warning", "train", path, "equals the label map", "val002.png")


def test_black_images(camvid, capsys):
    path = save(camvid / "train/0001TP_train001.png", np.full((48, 64, 3), 2, np.uint8))
    assert_finds(capsys, camvid, "warning", "train", path, "nearly constant", "gray 2 .. 2")


def test_images_of_an_unusual_size(camvid, capsys):
    image, label = scene(5, (40, 50))
    path = save(camvid / "val/0001TP_val000.png", image)
    save(camvid / "valannot/0001TP_val000.png", label)
    assert_finds(capsys, camvid, "warning", "val", path, "is 40x50", "9 of 10", "48x64")


def test_many_different_sizes_are_not_a_finding(tmp_path, capsys):
    data = tmp_path / "data"
    for index in range(6):
        image, label = scene(index, (48 + 4 * index, 64))
        split = "train" if index < 3 else "val"
        save(data / split / f"a_{index}.png", image)
        save(data / f"{split}annot" / f"a_{index}.png", label)
    assert not any("x64" in line for line in findings_of(capsys, data)[1])


def test_instances_that_contradict_the_label_map(minicity, capsys):
    path = minicity / "gtFine/train/tiny_000003_000019_gtFine_instanceIds.png"
    label = read_label(path.with_name(path.name.replace("instance", "label")))
    instances = label.astype(np.uint16)
    instances[20, 30:32] = 24001 if label[20, 30] != 24 else 26001
    save(path, instances)
    assert_finds(
        capsys,
        minicity,
        "warning",
        "train",
        path,
        "2 pixels",
        "row 20, column 30",
        f"label {label[20, 30]}",
        name="minicity",
    )


def test_instances_agree_with_labels_stored_as_train_ids(minicity, capsys):
    train_ids = CITYSCAPES.decoder("ids", "train_ids")[0]
    for path in sorted((minicity / "gtFine").glob("*/*_labelIds.png")):
        save(path.with_name(path.name.replace("labelIds", "labelTrainIds")), train_ids[read_label(path)])
        path.unlink()
    status, lines = findings_of(capsys, minicity, name="minicity")
    assert status == 0
    assert not any("contradicts" in line for line in lines)


def test_interpolated_and_jpeg_labels(camvid, capsys):
    path = camvid / "trainannot/0001TP_train001.png"
    with Image.open(path) as label:
        label.resize((100, 75), Image.Resampling.BILINEAR).resize((64, 48), Image.Resampling.BILINEAR).save(path)
    assert_finds(capsys, camvid, "warning", "train", path, "interpolated", "nearest")
    jpeg = camvid / "valannot/0001TP_val001.png"
    with Image.open(jpeg) as label:
        label.load()
        label.save(jpeg.with_suffix(".jpg"), quality=100, subsampling=0)
    jpeg.unlink()
    _, lines = findings_of(capsys, camvid)
    assert any(f"{jpeg.with_suffix('.jpg')}: is a JPEG file" in line for line in lines)


def test_label_maps_that_do_not_fit_their_images(tmp_path, capsys):
    data = tmp_path / "data"
    for index, split in enumerate(("train", "train", "val")):
        image, label = scene(index, (180, 240))
        save(data / split / f"a_{index}.png", image)
        save(data / f"{split}annot" / f"a_{index}.png", np.roll(label, (0, 20), (0, 1)) if index == 1 else label)
    path = data / "trainannot/a_1.png"
    lines = assert_finds(
        capsys, data, "warning", "train", path, "does not fit its image", "moved 0 pixels down", "left"
    )
    assert sum("does not fit" in line for line in lines) == 1


def test_images_with_an_exif_orientation(tmp_path, capsys):
    data = make_camvid(tmp_path / "data", suffix=".jpg")
    path = data / "train/0001TP_train001.jpg"
    with Image.open(path) as image:
        tags = Image.Exif()
        tags[0x0112] = 3
        image.save(path, exif=tags)
    assert_finds(capsys, data, "warning", "train", path, "orientation 3")


def test_unused_image_files(camvid, capsys):
    path = save(camvid / "train/0001TP_train009.bmp", scene(1)[0])
    (camvid / "train/notes.txt").write_text("mine")
    assert_finds(capsys, camvid, "warning", "train", path, "not used;")


# ------------------------------------------------------------------------------------------------- single functions


def changed(image):
    """(name, image) for changes that leave an image visually the same."""
    width, height = image.size
    yield "half", image.resize((width // 2, height // 2), Image.Resampling.BICUBIC)
    yield "double", image.resize((width * 2, height * 2), Image.Resampling.BILINEAR)
    for quality in (60, 20):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        yield f"jpeg {quality}", Image.open(file)
    for factor in (0.6, 1.3):
        yield f"brightness {factor}", ImageEnhance.Brightness(image).enhance(factor)
    yield "contrast", ImageEnhance.Contrast(image).enhance(0.7)


def test_the_hash_is_robust_to_small_changes_and_distinguishes_images():
    images = [smooth(seed) for seed in range(12)]
    hashes = np.stack([difference_hash(image.convert("L")) for image in images])
    for image, own in zip(images, hashes, strict=True):
        for name, other in changed(image):
            assert distances(own[None], difference_hash(other.convert("L")))[0] <= NEAR, name
    apart = [distances(hashes, own) for own in hashes]
    assert np.min(apart + 999 * np.eye(len(images), dtype=int)) > NEAR
    assert np.diag(apart).tolist() == [0] * len(images)


def smooth(seed):
    """A smooth color image, as PIL image of 320x240."""
    cells = np.random.default_rng(seed).integers(0, 200, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((320, 240), Image.Resampling.BICUBIC)


def test_the_hash_computed_by_hand():
    ramp = Image.fromarray(np.tile(np.arange(17, dtype=np.uint8) * 10, (16, 1)))
    assert difference_hash(ramp).tolist() == [255] * 32
    flat = Image.new("L", (50, 40), 7)
    assert difference_hash(flat).tolist() == [0] * 32
    bits = distances(np.stack([difference_hash(ramp), difference_hash(flat)]), difference_hash(flat))
    assert bits.tolist() == [NUM_BITS, 0]


def test_ramps_computed_by_hand():
    label = np.zeros((60, 60), np.uint8)
    label[:, 30:] = 8
    assert ramp_share(label) == 0  # 60 borders are too few to judge
    label = np.repeat(np.repeat(np.array([[0, 8], [8, 0]], np.uint8), 60, 0), 60, 1)
    assert ramp_share(label) == 0  # all borders jump
    soft = np.zeros((200, 60), np.uint8)
    soft[:, 29], soft[:, 30:] = 4, 8
    assert ramp_share(soft) == 0.5  # 200 pixels of value 4, 400 borders
    assert ramp_share(soft[:, ::-1]) == ramp_share(soft.T) == 0.5
    assert ramp_share(soft) > RAMP


def test_misalignment_finds_the_offset():
    image, label = scene(3, (256, 256))
    gray = Image.fromarray(image).convert("L")
    gain, down, right = misalignment(gray, label)
    assert gain < MISALIGNED
    gain, down, right = misalignment(gray, np.roll(label, (12, -20), (0, 1)))
    assert gain > MISALIGNED
    assert (down, right) == (-12, 20)
    assert misalignment(Image.new("L", (64, 64)), np.zeros((64, 64), np.uint8))[0] == 0


def test_search_returns_the_paired_samples_and_the_findings(camvid):
    (camvid / "valannot/0001TP_val001.png").unlink()
    dataset, findings = search("camvid", camvid_spec, camvid)
    assert [len(dataset.splits[split]) for split in ("train", "val", "test")] == [5, 3, 2]
    assert dataset.splits["val"][1].label is None
    assert [type(finding) for finding in findings] == [Finding]
    assert findings[0].kind == "image without label"


# ---------------------------------------------------------------------------------------------------------- the report


def test_the_report_contains_every_finding(camvid, tmp_path, capsys):
    (camvid / "trainannot/0001TP_train001.png").unlink()
    output = tmp_path / "report.json"
    for _ in range(2):  # an earlier report is replaced
        assert run(camvid, "--output", output) == 1
    printed = capsys.readouterr().out
    report = json.loads(output.read_text())
    assert report["dataset"] == "camvid"
    assert report["splits"]["train"]["images"] == 5
    assert report["splits"]["train"]["labelled_images"] == 4
    error = next(finding for finding in report["findings"] if finding["severity"] == "error")
    assert error["kind"] == "image without label"
    assert error["path"] == str(camvid / "train/0001TP_train001.png")
    assert f"{error['path']}: {error['what']}; {error['advice']}" in printed
    assert f"{camvid}: 1 error, {len(report['findings']) - 1} warning" in printed


@pytest.mark.parametrize("content", ["mine", '{"program": "other"}', "[1]"])
def test_a_foreign_file_is_not_overwritten(camvid, tmp_path, capsys, content):
    output = tmp_path / "report.json"
    output.write_text(content)
    assert run(camvid, "--output", output) == 2
    assert "--force" in capsys.readouterr().err
    assert output.read_text() == content
    assert run(camvid, "--output", output, "--force") == 0
    assert json.loads(output.read_text())["dataset"] == "camvid"


def test_a_report_without_folder(camvid, tmp_path, capsys):
    assert run(camvid, "--output", tmp_path / "no/such/report.json") == 2
    assert "there is no folder" in capsys.readouterr().err
    assert run(camvid, "--output", tmp_path) == 2
    assert "is a folder" in capsys.readouterr().err
