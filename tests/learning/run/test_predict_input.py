"""--predict --input: any pictures, from the command line, without the data set; and what else --predict can be told."""

import shutil
import struct
import zlib

import numpy as np
import pytest
from commands import run_baseline, snapshot, train
from PIL import Image
from tiny import draw, make_camvid, save

from helpers.images import colorize, overlay, read_image
from helpers.labels import CAMVID
from helpers.probabilities import read_probabilities
from learning.inference.inputs import find_images, unique_names
from learning.inference.predictor import load_run
from tests.learning.run.test_bad_input import refused


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Run folder of a finished run, whose data set is gone."""
    folder = tmp_path_factory.mktemp("trained")
    data = make_camvid(folder / "data", (("train", 2), ("val", 1)))
    words = ("--epochs", 1, "--seed", 1, "--train_size", 64, 96, "--test_size", 64, 96)
    assert train(folder / "run", data, *words) == 0
    shutil.rmtree(data)
    return folder / "run"


def photo(seed, size):
    return draw(np.random.default_rng(seed), CAMVID, size)[0]


def predict(run, *words):
    return run_baseline("--save_path", run, "--predict", "--num_workers", 0, "--device", "cpu", *words)


def pixels(path):
    return np.asarray(Image.open(path))


def test_pictures_of_any_kind_and_size(tmp_path, trained, capsys):
    photos, output = tmp_path / "photos", tmp_path / "out"
    save(photos / "a.png", photo(1, (70, 101)))
    save(photos / "b.jpg", photo(2, (33, 90)))
    save(photos / "deep/c.webp", photo(3, (64, 96)))
    save(photos / "deep/d.bmp", photo(4, (200, 50)))
    save(photos / "e.tiff", np.full((3, 100, 3), 90, np.uint8))
    save(photos / ".hidden/f.png", photo(6, (20, 20)))
    assert predict(trained, "--input", photos, "--output", output, "--batch_size", 3) == 0
    assert "5 images predicted (single scale; " in capsys.readouterr().out
    ids = {row.id for row in CAMVID.classes}
    for name, size in (("a", (70, 101)), ("b", (33, 90)), ("c", (64, 96)), ("d", (200, 50)), ("e", (3, 100))):
        found = pixels(output / f"{name}.png")
        assert found.shape == size
        assert set(np.unique(found)) <= ids
        colors = pixels(output / f"{name}_color.png")
        assert np.array_equal(colors, colorize(found, CAMVID.palette))  # CamVid's ids are its train ids
        source = next(path for path in photos.rglob(f"{name}.*"))
        shown = overlay(read_image(source).transpose(1, 2, 0), colors)
        assert np.array_equal(pixels(output / f"{name}_overlay.png"), shown)
    assert len(list(output.iterdir())) == 5 * 3 + 1


def test_a_picture_of_the_test_shape_is_seen_as_in_validation(tmp_path, trained):
    save(tmp_path / "a.png", photo(1, (128, 192)))
    assert predict(trained, "--input", tmp_path / "a.png", "--output", tmp_path / "out") == 0
    expected = load_run(trained).predict(read_image(tmp_path / "a.png"))
    assert np.array_equal(pixels(tmp_path / "out/a.png"), expected)


def test_patterns_files_and_default_folder(tmp_path, trained, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x/a.png", "x/b.png", "y/z/c.png", "y/d.txt"):
        save(tmp_path / name, photo(1, (20, 30))) if name.endswith("png") else (tmp_path / name).write_text("no")
    found = find_images(["x/b.png", "x/*.png", "y/**/*.png", "x"])
    assert [str(picture.path) for picture in found] == ["x/b.png", "x/a.png", "y/z/c.png"]
    assert predict(trained, "--input", "x/*.png") == 0
    assert (trained / "results_input/a_overlay.png").exists()


def test_names_never_clash():
    def names(*paths):
        from pathlib import Path

        return unique_names([Path("/photos", path) for path in paths])

    assert names("a.png", "b.jpg") == ["a", "b"]
    assert names("x/a.png", "y/a.png", "y/b.png") == ["x_a", "y_a", "b"]
    assert names("a.png", "a.jpg") == ["a_png", "a_jpg"]
    assert names("a.jpg", "A.jpg") == ["a_jpg_2", "A_jpg"]
    assert names("a.jpg", "a_color.jpg") == ["a_jpg", "a_color_jpg"]
    found = names("x/y/a.png", "x_y/a.png", "x_y_a.png", "x/y_a.png", "x_y_a_png.png")
    files = [f"{name}{end}" for name in found for end in (".png", "_color.png", "_overlay.png")]
    assert len(set(files)) == len(files)


def test_pictures_of_the_same_name_from_two_folders(tmp_path, trained):
    for folder, seed in (("x", 1), ("y", 2)):
        save(tmp_path / folder / "a.png", photo(seed, (40 + seed, 60)))
    assert predict(trained, "--input", tmp_path / "x", tmp_path / "y", "--output", tmp_path / "out") == 0
    assert [pixels(tmp_path / f"out/{name}.png").shape for name in ("x_a", "y_a")] == [(41, 60), (42, 60)]


# ---------------------------------------------------------------------------------------------- what pixels are read


def test_the_prediction_of_a_rotated_photo_is_upright(tmp_path, trained):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo(1, (40, 60))).save(tmp_path / "a.jpg", exif=exif)
    assert predict(trained, "--input", tmp_path / "a.jpg", "--output", tmp_path / "out") == 0
    assert {pixels(path).shape[:2] for path in (tmp_path / "out").glob("*.png")} == {(60, 40)}


# ---------------------------------------------------------------------------------------------- what is overwritten


def test_files_of_others_stay_unless_forced_and_ours_are_replaced(tmp_path, trained, capsys):
    save(tmp_path / "a.png", photo(1, (30, 40)))
    save(tmp_path / "b.png", photo(2, (30, 40)))
    output = tmp_path / "out"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    (output / "b_color.png").write_text("mine")
    assert predict(trained, "--input", tmp_path / "a.png", "--output", output) == 0
    first = snapshot(output)
    assert predict(trained, "--input", tmp_path / "a.png", "--output", output) == 0
    assert snapshot(output) == first
    capsys.readouterr()
    refused(capsys, predict(trained, "--input", tmp_path / "b.png", "--output", output), "b_color.png", "--force")
    assert snapshot(output) == first
    assert predict(trained, "--input", tmp_path / "b.png", "--output", output, "--force") == 0
    assert (output / "notes.txt").read_text() == "mine"
    assert pixels(output / "b_color.png").shape == (30, 40, 3)
    assert find_images([str(tmp_path)])[0].path == tmp_path / "a.png"
    assert len(find_images([str(tmp_path)])) == 2  # and not the results


def test_results_beside_the_pictures_hide_themselves_only(tmp_path, trained, capsys):
    photos = tmp_path / "photos"
    for name in ("a.jpg", "deep/b.jpg"):
        save(photos / name, photo(1, (30, 40)))
    words = ("--input", photos, "--output", photos, "--save_scores", "uint8")
    for _ in range(2):
        assert predict(trained, *words) == 0
        assert "2 images predicted" in capsys.readouterr().out
    save(photos / "c.jpg", photo(2, (30, 40)))
    assert [picture.name for picture in find_images([str(photos)])] == ["a", "c", "b"]
    assert predict(trained, *words) == 0
    assert (photos / "c_overlay.png").exists()


def test_a_picture_is_never_replaced_by_its_result(tmp_path, trained, capsys):
    before = save(tmp_path / "a.png", photo(1, (30, 40))).read_bytes()
    status = predict(trained, "--input", tmp_path, "--output", tmp_path, "--force")
    refused(capsys, status, "a.png is one of the inputs", "--output")
    assert (tmp_path / "a.png").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--input", "no/such.jpg"), ("--input no/such.jpg", "pattern")),
        (("--input", "no/*.jpg"), ("--input no/*.jpg", "pattern")),
        (("--mst", "--scales", 0), ("--scales 0", "0.25")),
        (("--scales", 0.5), ("--scales", "--mst")),
        (("--no-flip",), ("--no-flip", "--mst")),
        (("--output", "x"), ("--output", "--input")),
        (("--force",), ("--force", "--input")),
        (("--tile", 64, "--overlap", 64), ("--overlap", "smaller than --tile")),
        (("--tile", 8), ("--tile 8", "64")),
        (("--tile", 64, "--overlap", -1), ("--overlap -1",)),
        (("--save_scores", "float64"), ("float64", "uint8")),
    ],
)
def test_mistakes(trained, capsys, words, expected):
    before = snapshot(trained)
    refused(capsys, predict(trained, *words), *expected)
    assert snapshot(trained) == before


def test_pictures_that_cannot_be_read_or_written(tmp_path, trained, capsys):
    (tmp_path / "empty").mkdir()
    refused(capsys, predict(trained, "--input", tmp_path / "empty"), "no image in this folder", ".webp")
    cut = save(tmp_path / "cut.png", photo(1, (30, 40)))
    cut.write_bytes(cut.read_bytes()[:-30])
    refused(capsys, predict(trained, "--input", cut), "cut.png", "cut off")
    damaged = save(tmp_path / "damaged.png", photo(1, (300, 400)))
    content = bytearray(damaged.read_bytes())
    content[41:43] = b"\xff\xff"  # where the compressed pixels begin
    damaged.write_bytes(content)
    refused(capsys, predict(trained, "--input", damaged, "--output", tmp_path / "out"), "damaged.png", "replace")
    late = save(tmp_path / "late.png", photo(1, (300, 400)))
    content[-12:-12] = struct.pack(">I", 2) + b"tEXta\0" + struct.pack(">I", zlib.crc32(b"tEXta\0"))
    late.write_bytes(content)
    refused(capsys, predict(trained, "--input", late, "--output", tmp_path / "other"), late.name, "replace")
    assert not (tmp_path / "other").exists()
    good = save(tmp_path / "good.png", photo(1, (30, 40)))
    refused(capsys, predict(trained, "--input", good, "--output", good), "is a file", "folder")
    refused(capsys, run_baseline("--save_path", trained, "--input", good), "--input", "--predict")


# ---------------------------------------------------------------------------------------------- windows, scales, probabilities


def test_floating_point_pixels_are_refused_before_anything_is_written(tmp_path, trained, capsys):
    save(tmp_path / "a.png", photo(1, (30, 40)))
    Image.fromarray(np.zeros((30, 40), np.float32)).save(tmp_path / "b.tif")
    words = ("--output", tmp_path / "out")
    refused(capsys, predict(trained, "--input", tmp_path, *words), "b.tif", "floating-point")
    assert not (tmp_path / "out").exists()


def test_windows_over_a_picture_keep_its_size(tmp_path, trained, capsys):
    save(tmp_path / "a.png", photo(1, (400, 560)))
    words = ("--tile", 64, "--overlap", 16, "--mst", "--scales", 0.5, 1, "--no-flip", "--save_scores", "float16")
    assert predict(trained, "--input", tmp_path / "a.png", "--output", tmp_path / "out", *words) == 0
    out = capsys.readouterr().out
    assert "2 scales, windows of 64x64" in out
    # The run saw images of 360x480 at 64x96: so does --tile.
    factor = (64 * 96 / (360 * 480)) ** 0.5
    kept = read_probabilities(tmp_path / "out/scores/a.npy")
    assert kept.shape == (11, round(400 * factor), round(560 * factor))
    assert np.allclose(kept.sum(0), 1, atol=2e-3)
    assert f"{kept.nbytes // 2 / 2**30:.2f} GiB" in out
    assert pixels(tmp_path / "out/a.png").shape == (400, 560)


def test_probabilities_of_a_data_set(tmp_path, capsys):
    data = make_camvid(tmp_path / "data", (("train", 2), ("val", 2), ("test", 1)))
    run = tmp_path / "run"
    assert train(run, data, "--epochs", 1) == 0
    assert run_baseline("--save_path", run, "--predict", "--save_scores", "uint8", "--device", "cpu") == 0
    assert "--save_scores uint8: 3 images take" in capsys.readouterr().out
    assert sorted(path.name for path in (run / "scores_val").iterdir()) == ["0001TP_val000.npy", "0001TP_val001.npy"]
    assert len(list((run / "scores_test").iterdir())) == 1
    expected = load_run(run).probabilities(read_image(data / "val/0001TP_val001.png"))
    found = read_probabilities(run / "scores_val/0001TP_val001.npy")
    assert found.shape == (11, 64, 74)
    assert np.abs(found - expected.numpy()).max() <= 1 / 510 + 1e-5
    assert run_baseline("--save_path", run, "--predict", "--tile", 64, "--mst", "--scales", 1.25, "--no-flip") == 0
    assert "scores_val holds probabilities of an earlier prediction" in capsys.readouterr().out
    assert not (run / "scores_val").exists(), "they would pass for those of the new results"
    assert len(list((run / "earlier_1_scores_val").iterdir())) == 2


def test_probabilities_that_do_not_fit_on_the_disk(tmp_path, trained, capsys, monkeypatch):
    save(tmp_path / "a.png", photo(1, (150, 210)))
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    output = tmp_path / "out"
    status = predict(trained, "--input", tmp_path / "a.png", "--output", output, "--save_scores", "uint8")
    refused(capsys, status, "--save_scores uint8 needs", "free")
    assert not output.exists()


def test_overlays_by_rows_are_the_whole():
    rng = np.random.default_rng(0)
    image, colors = (rng.integers(0, 256, (600, 7, 3), dtype=np.uint8) for _ in range(2))
    assert np.array_equal(overlay(image, colors), np.rint(image * 0.5 + colors * 0.5).astype(np.uint8))
