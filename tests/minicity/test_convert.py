"""Cityscapes to MiniCity: the published split, the checks before anything is written, links and copies."""

import json
import os
import re

import numpy as np
import pytest

from helpers.errors import InputError, exit_status
from helpers.images import write_png
from learning.data.datasets import open_dataset
from minicity import convert

SUFFIXES = ("gtFine_labelIds", "gtFine_instanceIds")


@pytest.fixture(scope="module")
def full_download(tmp_path_factory):
    """A tree with a tiny file for every name in the split; never changed by a test."""
    root = tmp_path_factory.mktemp("cityscapes")
    template = {name: root / f"{name}.png" for name in ("leftImg8bit", *SUFFIXES)}
    write_png(template["leftImg8bit"], np.full((4, 8, 3), 90, np.uint8))
    write_png(template["gtFine_labelIds"], np.full((4, 8), 7, np.uint8))
    write_png(template["gtFine_instanceIds"], np.full((4, 8), 7, np.uint16))
    data = {name: path.read_bytes() for name, path in template.items()}
    split = convert.read_split()
    for part, names in (("train", split["train"] + split["val"]), ("val", list(split["test"]))):
        for number, name in enumerate(names):
            city = name.split("_")[0]
            for kind, folder in (("leftImg8bit", "leftImg8bit"), *((suffix, "gtFine") for suffix in SUFFIXES)):
                path = root / folder / part / city / f"{name}_{kind}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                # Bytes after the end of a PNG make each file distinct.
                path.write_bytes(data[kind] + f"{part} {number} {kind}".encode())
    for path in template.values():
        path.unlink()
    return root


@pytest.fixture
def download(full_download, tmp_path):
    """A copy, by hard links, that a test may take files out of."""
    root = tmp_path / "cityscapes"
    for path in full_download.rglob("*.png"):
        target = root / path.relative_to(full_download)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, target)
    return root


def run_convert(source, output, *arguments):
    return exit_status("python -m minicity.convert", convert.main, [str(source), "--output", str(output), *arguments])


def test_split_is_the_published_one():
    split = convert.read_split()
    assert [len(split[name]) for name in ("train", "val", "test")] == [200, 100, 200]
    names = split["train"] + split["val"] + list(split["test"])
    assert len(set(names)) == 500
    assert all(re.fullmatch(r"[a-z]+_\d{6}_\d{6}", name) for name in names)
    assert len(set(split["test"].values())) == 200
    assert all(number.isdigit() for number in split["test"].values())
    assert {name.split("_")[0] for name in split["test"]} == {"frankfurt", "lindau", "munster"}
    assert split["test"]["frankfurt_000000_001751"] == "9678409848892349952"


def test_files_become_hard_links(full_download, tmp_path, capsys):
    output = tmp_path / "minicity"
    assert run_convert(full_download, output) == 0
    assert "hard links" in capsys.readouterr().out
    dataset = open_dataset("minicity", output)
    assert {name: len(samples) for name, samples in dataset.splits.items()} == {"train": 200, "val": 100, "test": 200}
    assert all(sample.label and sample.instances for name in ("train", "val") for sample in dataset.split(name))
    assert not any(sample.label for sample in dataset.split("test"))
    split = convert.read_split()
    name = split["val"][7]
    official = full_download / f"gtFine/train/{name.split('_')[0]}/{name}_gtFine_instanceIds.png"
    assert official.samefile(output / f"gtFine/val/{name}_gtFine_instanceIds.png")
    name, number = list(split["test"].items())[5]
    official = full_download / f"leftImg8bit/val/{name.split('_')[0]}/{name}_leftImg8bit.png"
    assert official.samefile(output / f"leftImg8bit/test/{number}_leftImg8bit.png")
    assert sorted(path.name for path in output.iterdir()) == ["gtFine", "leftImg8bit"]


def test_copies_on_request_and_where_links_are_impossible(full_download, tmp_path, monkeypatch):
    assert run_convert(full_download, tmp_path / "asked", "--copy") == 0

    def refuse(*arguments, **options):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    assert run_convert(full_download, tmp_path / "forced") == 0
    name = convert.read_split()["train"][0]
    official = full_download / f"leftImg8bit/train/{name.split('_')[0]}/{name}_leftImg8bit.png"
    for folder in ("asked", "forced"):
        made = tmp_path / folder / f"leftImg8bit/train/{name}_leftImg8bit.png"
        assert made.read_bytes() == official.read_bytes()
        assert not made.samefile(official)


@pytest.mark.parametrize(
    ("folder", "zip_file"),
    [("leftImg8bit", "leftImg8bit_trainvaltest.zip"), ("gtFine", "gtFine_trainvaltest.zip")],
)
def test_missing_folder_names_its_download(tmp_path, folder, zip_file):
    other = {"leftImg8bit": "gtFine", "gtFine": "leftImg8bit"}[folder]
    (tmp_path / "cityscapes" / other).mkdir(parents=True)
    with pytest.raises(InputError, match=zip_file) as caught:
        convert.main([str(tmp_path / "cityscapes"), "--output", str(tmp_path / "out")])
    assert str(tmp_path / "cityscapes" / folder) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_missing_files_are_named_and_counted(download, tmp_path, capsys):
    split = convert.read_split()
    instances = [f"gtFine/train/{name.split('_')[0]}/{name}_gtFine_instanceIds.png" for name in split["train"][3:5]]
    image = next(iter(split["test"]))
    for path in (*instances, f"leftImg8bit/val/frankfurt/{image}_leftImg8bit.png"):
        (download / path).unlink()
    assert run_convert(download, tmp_path / "out") == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert str(download / instances[0]) in message
    assert "3 of 1100 files" in message
    assert "gtFine_trainvaltest.zip and leftImg8bit_trainvaltest.zip" in message
    assert not (tmp_path / "out").exists()


def test_wrong_size_is_named(download, tmp_path):
    name = convert.read_split()["val"][-1]
    path = download / f"gtFine/train/{name.split('_')[0]}/{name}_gtFine_labelIds.png"
    path.unlink()
    write_png(path, np.zeros((4, 9), np.uint8))
    with pytest.raises(InputError, match=r"is 4x8 but .*_gtFine_labelIds.png is 4x9") as caught:
        convert.main([str(download), "--output", str(tmp_path / "out")])
    assert str(path) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_truncated_file_is_named(download, tmp_path):
    name = convert.read_split()["train"][0]
    path = download / f"leftImg8bit/train/{name.split('_')[0]}/{name}_leftImg8bit.png"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:45])
    with pytest.raises(InputError, match=path.name):
        convert.main([str(download), "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("taken", ["leftImg8bit", "gtFine"])
def test_refuses_to_overwrite(full_download, tmp_path, capsys, taken):
    (tmp_path / taken).mkdir()
    (tmp_path / taken / "mine.txt").write_text("precious")
    assert run_convert(full_download, tmp_path) == 2
    assert "--output" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == [taken, "mine.txt"]


def test_split_file_reads_back_in_order():
    text = (convert.Path(convert.__file__).parent / "split.json").read_text()
    assert json.loads(text) == convert.read_split()
    assert list(convert.read_split()) == ["train", "val", "test"]
