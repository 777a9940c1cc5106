"""The one reader of images and label maps: orientation, transparency, modes, sizes that headers claim, damaged files."""

import io
import struct
import time
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from tiny import draw, save

from helpers.errors import InputError
from helpers.image_file import read_image_header
from helpers.images import read_image, read_label, read_size
from helpers.labels import CAMVID
from learning.data.datasets.base import Sample
from learning.data.loaders import LoaderConfig
from learning.data.pixels import FilePixels
from learning.inference.batches import InputBatches
from learning.inference.inputs import find_images


def photo(seed, size):
    return draw(np.random.default_rng(seed), CAMVID, size)[0]


def with_orientation(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


# ------------------------------------------------------------------------------------------------------- every kind of file

MODES = ("1", "L", "LA", "P", "P transparent", "RGB", "RGBA", "CMYK", "I;16")
WRITTEN = {
    "png": ("1", "L", "LA", "P", "P transparent", "RGB", "RGBA", "I;16"),
    "jpg": ("L", "RGB", "CMYK"),
    "tiff": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"),
    "webp": ("RGB", "RGBA"),
}


def image_of_mode(mode, size=(70, 300)):  # more rows than are converted at a time
    rgb = Image.fromarray(photo(1, size[::-1]))
    if mode == "I;16":
        return Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 251 + 7)
    if mode.startswith("P"):
        return rgb.quantize(64)
    image = rgb.convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(np.random.default_rng(2).integers(0, 256, size[::-1], dtype=np.uint8)))
    return image


def reference(path):
    """What Pillow's own functions make of a file: uint8 (H, W, 3)."""
    with Image.open(io.BytesIO(path.read_bytes())) as image:  # not by its path: see `open_image`
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        return np.repeat(np.rint(np.asarray(image) / 257).astype(np.uint8)[:, :, None], 3, 2)
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))


@pytest.mark.parametrize("suffix", WRITTEN)
@pytest.mark.parametrize("mode", MODES)
def test_every_path_reads_what_a_viewer_shows(tmp_path, suffix, mode):
    """Training, --input and the Python API, for each EXIF orientation."""
    if mode not in WRITTEN[suffix]:
        pytest.skip("the format has no such images")
    more = {"lossless": True, "method": 0, "quality": 0} if suffix == "webp" else {}
    more |= {"transparency": 3} if mode == "P transparent" else {}
    config = LoaderConfig((0.5,) * 3, (0.5,) * 3, torch.device("cpu"))
    for orientation in range(1, 9):
        path = tmp_path / f"{orientation}.{suffix}"
        image_of_mode(mode).save(path, exif=with_orientation(orientation), **more)
        expected = reference(path)
        assert expected.shape[:2] == ((70, 300) if orientation > 4 else (300, 70))
        header = read_image_header(path)
        assert header == (expected.shape[:2], orientation)
        assert header.stored_size == (300, 70)
        assert read_size(path) == expected.shape[:2]
        assert np.array_equal(read_image(path).transpose(1, 2, 0), expected)
        training = FilePixels([Sample("a", path)], np.arange(256, dtype=np.uint8)).image(0)
        assert np.array_equal(training.permute(1, 2, 0), expected)
        pictures = find_images([str(path)])
        assert pictures[0].size == expected.shape[:2]
        batch = next(iter(InputBatches(pictures, [expected.shape[:2]], 1, config)))
        assert np.array_equal(batch.images[0].permute(1, 2, 0), expected)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_rotation_is_respected(tmp_path, suffix):
    stored = photo(1, (40, 60))
    turns = {5: lambda x: np.rot90(x)[::-1], 7: lambda x: np.rot90(x)[:, ::-1]}
    turns |= {number: lambda x, k=k: np.rot90(x, k) for number, k in ((1, 0), (3, 2), (6, 3), (8, 1))}
    for orientation, turn in turns.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.{suffix}"
        kind = {"webp": {"lossless": True, "method": 0, "quality": 0}, "jpg": {"quality": 100, "subsampling": 0}}.get(
            suffix, {}
        )
        Image.fromarray(stored).save(path, exif=exif, **kind)
        upright = turn(stored)
        assert read_size(path) == upright.shape[:2]
        off = np.abs(read_image(path).transpose(1, 2, 0).astype(int) - upright)
        assert off.shape == upright.shape
        assert off.max() <= (4 if suffix == "jpg" else 0)


def test_orientation_behind_the_pixels_of_a_png_is_found(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    plain, path = save(tmp_path / "a.png", photo(1, (40, 60))).read_bytes(), tmp_path / "late.png"
    chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    late = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(plain[:-12] + late + plain[-12:])
    assert read_size(path) == read_image(path).shape[1:] == (60, 40)


def test_the_size_of_a_png_is_read_without_its_pixels(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", photo(1, (40, 60)))
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda self: pytest.fail("decoded"))
    assert read_size(path) == (40, 60)


def test_modes_become_rgb(tmp_path):
    rgb = photo(1, (300, 40))  # more rows than are converted at a time
    image = Image.fromarray(rgb)
    image.save(tmp_path / "rgb.png")
    gray = np.asarray(image.convert("L"))
    for name, other in (
        ("gray.png", image.convert("L")),
        ("palette.png", image.quantize(256)),
        ("cmyk.tiff", image.convert("CMYK")),
        ("one.png", image.convert("1")),
        ("opaque.png", image.convert("RGBA")),
    ):
        other.save(tmp_path / name)
    assert np.array_equal(read_image(tmp_path / "rgb.png"), rgb.transpose(2, 0, 1))
    assert np.array_equal(read_image(tmp_path / "opaque.png"), rgb.transpose(2, 0, 1))
    assert np.array_equal(read_image(tmp_path / "gray.png"), np.stack([gray] * 3))
    palette = np.asarray(image.quantize(256).convert("RGB"))
    assert np.array_equal(read_image(tmp_path / "palette.png"), palette.transpose(2, 0, 1))
    assert np.abs(read_image(tmp_path / "cmyk.tiff").astype(int) - rgb.transpose(2, 0, 1)).max() <= 1
    assert set(np.unique(read_image(tmp_path / "one.png"))) == {0, 255}


def test_transparent_pixels_are_white(tmp_path):
    save(tmp_path / "a.png", np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], np.uint8))
    assert read_image(tmp_path / "a.png")[:, 0].T.tolist() == [[10, 20, 30], [255, 255, 255], [204, 204, 204]]


def test_16_bits_are_divided_by_257(tmp_path):
    values = np.array([[0, 128, 129, 257, 385, 386, 65406, 65407, 65535]], np.uint16)
    for name in ("a.png", "a.tiff"):
        save(tmp_path / name, values)
        assert read_image(tmp_path / name)[1, 0].tolist() == [0, 0, 1, 1, 1, 2, 254, 255, 255]


def test_pictures_of_more_pixels_than_pillow_allows_are_read(tmp_path):
    Image.new("1", (20000, 10000)).save(tmp_path / "large.png")
    assert read_size(tmp_path / "large.png") == (10000, 20000)


def test_a_transparent_value_of_a_16_bit_image_is_white(tmp_path):
    image = Image.fromarray(np.array([[257, 514, 771]], np.uint16))
    image.save(tmp_path / "a.png", transparency=514)
    assert read_image(tmp_path / "a.png")[0, 0].tolist() == [1, 255, 3]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_label_maps_are_upright_too(tmp_path, orientation):
    values = np.arange(6, dtype=np.uint8).reshape(2, 3)
    palette = Image.fromarray(values).convert("P")
    for name, image in (("gray", Image.fromarray(values)), ("palette", palette)):
        path = tmp_path / f"{name}.png"
        image.save(path, exif=with_orientation(orientation))
        assert np.array_equal(read_label(path), ImageOps.exif_transpose(Image.open(path)))


def test_damaged_exif_counts_as_upright_as_in_viewers(tmp_path):
    for name, exif in (("a.jpg", b"Exif\0\0II*\0\xff\xff\xff\x7f"), ("b.png", b"Exif\0\0no TIFF header")):
        Image.fromarray(photo(1, (40, 60))).save(tmp_path / name, exif=exif)
        assert read_image_header(tmp_path / name) == ((40, 60), 1)
        assert read_image(tmp_path / name).shape == (3, 40, 60)


# -------------------------------------------------------------------------------------------------- complete and cut off


@pytest.mark.parametrize(
    "behind", [b"\0" * 100, b"ftypmp42" * 20000, b"\xff\xd8\xff\xe1"], ids=["zeros", "film", "start"]
)
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tiff"])
def test_bytes_behind_the_end_do_no_harm(tmp_path, suffix, behind):
    path = save(tmp_path / f"a.{suffix}", photo(1, (40, 60)))
    expected = read_image(path)
    path.write_bytes(path.read_bytes() + behind)
    assert read_size(path) == (40, 60)
    assert np.array_equal(read_image(path), expected)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tiff"])
def test_files_that_are_cut_off_are_named_by_their_header_alone(tmp_path, suffix, share):
    path = save(tmp_path / f"a.{suffix}", photo(1, (40, 60)))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=f"^cannot read .*a.{suffix}: .*; replace or remove it$"):
        read_size(path)


def test_a_thumbnail_is_not_the_end_of_its_photo(tmp_path):
    exif = Image.Exif()
    thumbnail = io.BytesIO()
    Image.new("RGB", (8, 8)).save(thumbnail, "JPEG")
    exif[0x927C] = thumbnail.getvalue()  # with an end marker of its own
    path = tmp_path / "a.jpg"
    Image.fromarray(photo(1, (80, 60))).save(path, exif=exif)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(InputError, match="cut off"):
        read_size(path)


# ------------------------------------------------------------------------------------------------- what a header may claim


def false_header(kind, height, width):
    """A small file whose header claims another size."""
    file = io.BytesIO()
    image = Image.fromarray(photo(1, (96, 96)))
    if kind == "jpg":
        image.save(file, "JPEG")
        content = bytearray(file.getvalue())
        start = content.find(b"\xff\xc0") + 5
        content[start : start + 4] = struct.pack(">HH", height, width)
    elif kind == "png":
        image.save(file, "PNG")
        content = bytearray(file.getvalue())
        content[16:24] = struct.pack(">II", width, height)
        content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    else:
        image.save(file, "TIFF")
        content = bytearray(file.getvalue())
        start = struct.unpack("<I", content[4:8])[0] + 2
        for entry in range(start, start + 24, 12):
            tag = struct.unpack("<H", content[entry : entry + 2])[0]
            content[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, {256: width, 257: height}[tag])
    return bytes(content)


@pytest.mark.parametrize("kind", ["jpg", "png", "tiff"])
@pytest.mark.parametrize("read", [read_size, read_image, read_label])
def test_a_size_that_a_file_cannot_hold_is_refused_from_its_header(tmp_path, monkeypatch, kind, read):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(false_header(kind, 28000, 28000))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    with pytest.raises(InputError, match=r"claims 28000x28000 pixels, too many for a file of \d+ bytes; replace"):
        read(path)


def test_more_pixels_than_are_ever_read(tmp_path):
    (tmp_path / "a.png").write_bytes(false_header("png", 70000, 70000))
    with pytest.raises(InputError, match=r"70000x70000 pixels, and at most 2\*\*30"):
        read_size(tmp_path / "a.png")


def test_large_images_of_few_bytes_are_no_false_headers(tmp_path):
    """Single-colored images are the smallest that a size can have."""
    blank = Image.new("L", (9000, 8000), 128)
    for name in ("a.png", "a.jpg"):
        blank.save(tmp_path / name)
        assert read_size(tmp_path / name) == (8000, 9000)


# ----------------------------------------------------------------------------------------------------------- damaged files


def mutated(rng, content):
    """Bytes of a file after one to four changes: bits, bytes, blocks moved, removed or repeated."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        place = int(rng.integers(min(200, len(content)) if rng.random() < 0.5 else len(content)))
        length = int(rng.integers(1, 40))
        change = rng.integers(5)
        if change == 0:
            content[place] ^= 1 << int(rng.integers(8))
        elif change == 1:
            content[place] = int(rng.choice([0, 1, 127, 128, 255]))
        elif change == 2:
            del content[place : place + length]
        elif change == 3:
            content[place:place] = content[place : place + length]
        else:
            content[place : place + 4] = struct.pack("<I", int(rng.choice([0, 2**16, 2**31 - 1, 2**32 - 1])))
        if not content:
            return b""
    return bytes(content)


def outcome(read, path):
    """The message of the `InputError`, or None for pixels."""
    try:
        read(path)
    except InputError as error:
        return str(error)


@pytest.mark.filterwarnings("ignore")  # Pillow's, which programs do not print
@pytest.mark.parametrize("suffix", WRITTEN)
def test_damaged_files_give_pixels_or_one_line(tmp_path, suffix):
    rng = np.random.default_rng(11)
    sources = []
    for mode in WRITTEN[suffix]:
        file = io.BytesIO()
        more = {"transparency": 3} if mode == "P transparent" else {}
        image = image_of_mode(mode, (24, 32))
        image.save(file, {"jpg": "JPEG"}.get(suffix, suffix), exif=with_orientation(6), **more)
        sources.append(file.getvalue())
    path = tmp_path / f"a.{suffix}"
    outcomes = []
    for number in range(120):
        path.write_bytes(mutated(rng, sources[number % len(sources)]))
        began = time.process_time()
        for read in (read_image_header, read_image, read_label):
            outcomes.append(outcome(read, path))
        assert time.process_time() - began < 5
        assert all(message is None or (str(path) in message and message.count("\n") == 0) for message in outcomes)
    assert any(outcomes)
    assert not all(outcomes)
