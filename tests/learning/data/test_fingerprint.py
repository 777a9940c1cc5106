"""The fingerprint of a data set: what counts as changed data, and what does not."""

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from commands import train
from PIL import Image
from runs import resume
from tiny import make_camvid, save

from learning import checkpoint
from learning.data import fingerprint as fingerprint_module
from learning.data.datasets import open_dataset
from learning.data.datasets.statistics import dataset_statistics
from learning.data.fingerprint import difference, fingerprint


def found(root, splits=("train", "val")):
    """(data set, its fingerprint)."""
    dataset = open_dataset("camvid", root)
    return dataset, fingerprint(dataset, {split: dataset_statistics(dataset, split) for split in splits})


def in_place(path, change):
    """Change a file and keep its size and time stamp; only for files without compression."""
    state = path.stat()
    change(path)
    assert path.stat().st_size == state.st_size
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def swap_classes(path):
    """Exchange two rows of a label map that is stored without compression."""
    label = np.asarray(Image.open(path)).copy()
    label[[20, 40]] = label[[40, 20]]
    Image.fromarray(label).save(path, compress_level=0)


@pytest.fixture
def data(tmp_path):
    """A data set whose label maps are stored without compression, so that a change keeps their size."""
    root = make_camvid(tmp_path / "data", (("train", 3), ("val", 2), ("test", 1)))
    for path in root.glob("*annot/*.png"):
        Image.open(path).save(path, compress_level=0)
    return root


def test_labels_that_were_changed_in_place(data):
    _, before = found(data)
    in_place(sorted((data / "trainannot").iterdir())[1], swap_classes)
    dataset, after = found(data)
    assert difference(before, dataset, after) == "label maps were changed"


def test_images_that_were_changed_in_place(data):
    _, before = found(data)

    def darken(path):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    in_place(sorted((data / "val").iterdir())[0], darken)
    dataset, after = found(data)
    assert difference(before, dataset, after) == "images were changed"
    in_place(sorted((data / "valannot").iterdir())[0], swap_classes)
    dataset, after = found(data)
    assert difference(before, dataset, after) == "label maps were changed and images were changed"


@pytest.mark.parametrize("split", ["train", "val"])
def test_files_that_were_removed(data, split):
    _, before = found(data)
    for folder in (split, f"{split}annot"):
        sorted((data / folder).iterdir())[0].unlink()
    dataset, after = found(data)
    assert difference(before, dataset, after) == "files were added, removed or renamed"


def test_a_copy_touched_files_and_recompressed_labels_are_the_same_data(data, tmp_path):
    _, before = found(data)
    copy = shutil.copytree(data, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    for path in copy.rglob("*.png"):
        os.utime(path, (1, 1))
    for path in copy.glob("*annot/*.png"):
        Image.open(path).save(path, compress_level=9)
    dataset, after = found(copy)
    assert after == before
    assert difference(before, dataset, after) == ""


def test_names_in_the_other_unicode_form_are_the_same(tmp_path):
    """A copy on another system; the order of the files differs, too."""
    fingerprints = []
    for form in ("NFC", "NFD"):
        root = make_camvid(tmp_path / form, (("train", 3), ("val", 1)))
        for folder in ("train", "trainannot"):
            for number, name in enumerate(("Zürich", "Zuz", "Zzz")):
                old = root / folder / f"0001TP_train{number:03d}.png"
                old.rename(root / folder / f"{unicodedata.normalize(form, name)}.png")
        fingerprints.append(found(root)[1])
    assert fingerprints[0] == fingerprints[1]


def test_names_that_are_not_utf_8(tmp_path):
    root = make_camvid(tmp_path / "data", (("train", 2), ("val", 1)))
    for folder in ("train", "trainannot"):
        os.rename(os.fsencode(root / folder / "0001TP_train000.png"), os.fsencode(root / folder) + b"/0001TP_\xff.png")
    dataset, before = found(root)
    assert difference(before, dataset, before) == ""
    assert difference("0123456789abcdef", dataset, before) == "files were added, removed or changed"


def test_many_images_are_read_once(data, monkeypatch):
    """Above the limit, a hash is kept by size and time stamp; it is the same as without."""
    _, before = found(data)
    monkeypatch.setattr(fingerprint_module, "MOST_READ", 1000)
    read = []
    original = fingerprint_module.hash_file

    def hash_file(path):
        read.append(path.name)
        return original(path)

    monkeypatch.setattr(fingerprint_module, "hash_file", hash_file)
    assert found(data)[1] == before
    assert len(read) == 5
    assert found(data)[1] == before
    assert len(read) == 5
    image = data / "train" / "0001TP_train001.png"
    save(image, np.zeros((48, 64, 3), np.uint8))
    dataset, after = found(data)
    assert read[5:] == [image.name]
    assert difference(before, dataset, after) == "images were changed"


@pytest.mark.parametrize("damage", [b"", b"[1]", b"{", b'{"a": 1}', b"\xff"])
def test_damaged_hashes_are_computed_again(data, monkeypatch, tmp_path, damage):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(fingerprint_module, "MOST_READ", 0)
    _, before = found(data)
    (store,) = Path(tmp_path / "user").rglob("*.hashes")
    store.write_bytes(damage)
    assert found(data)[1] == before
    store.unlink()
    store.mkdir()
    assert found(data)[1] == before, "where nothing can be kept"


def test_a_fingerprint_of_version_1_compares_names_and_sizes(data):
    import hashlib

    names = [
        (split, path)
        for split, folders in (("test", ["test"]), ("train", ["train"]), ("val", ["val"]))
        for folder in folders
        for path in sorted((data / folder).iterdir())
    ]
    text = ""
    for split, path in names:
        label = data / f"{split}annot" / path.name
        text += "".join(f"{split} {file.name} {file.stat().st_size}\n" for file in (path, label) if file.exists())
    stored = hashlib.sha256(text.encode()).hexdigest()[:16]
    dataset, now = found(data)
    assert difference(stored, dataset, now) == ""
    assert difference(stored[:-1], dataset, now) == "files were added, removed or changed"
    assert difference(None, dataset, now) == "files were added, removed or changed"


def test_a_run_is_not_resumed_with_other_labels(data, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(run, data, "--epochs", 1) == 0
    for path in data.rglob("*.png"):
        os.utime(path, (1, 1))
    assert resume(run, "--epochs", 2) == 0
    in_place(sorted((data / "trainannot").iterdir())[0], swap_classes)
    capsys.readouterr()
    assert resume(run, "--epochs", 3) == 2
    error = capsys.readouterr().err
    assert "not those of the run: label maps were changed; --override continues" in error
    assert error.count("\n") == 1
    assert resume(run, "--epochs", 3, "--override") == 0
    assert checkpoint.load(run / "checkpoint.pth.tar")["data_fingerprint"] == found(data)[1]
