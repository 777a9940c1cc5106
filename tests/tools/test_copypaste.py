"""tools.copypaste: a training split of pasted images, its record, and which folders it replaces."""

import json

import numpy as np
import pytest
from commands import snapshot
from tiny import make_camvid, make_minicity, save

from helpers.errors import InputError, exit_status
from helpers.images import read_image, read_instances, read_label
from helpers.labels import CAMVID
from learning.data.augmentation import copy_paste
from learning.data.datasets import add_training_images, open_dataset
from learning.data.datasets.splits import select_train_and_val
from learning.data.datasets.statistics import dataset_statistics
from tools.check import __main__ as check
from tools.copypaste import __main__ as program

BUILDING, ROAD, PAVEMENT, PEDESTRIAN = map(CAMVID.names.index, ("Building", "Road", "Pavement", "Pedestrian"))


def make(dataset, data, output, *words):
    words = ("--dataset", dataset, "--dataset_path", data, "--output", output, *words)
    return exit_status("tools.copypaste", program.main, list(map(str, words)))


def test_a_training_split_of_the_same_layout(tmp_path, capsys):
    data, output = make_camvid(tmp_path / "data", size=(64, 96), suffix=".jpg"), tmp_path / "new"
    before = snapshot(data)
    assert make("camvid", data, output, "--classes", "Car", "Pole", "--num", 3) == 0
    assert snapshot(data) == before
    made, source = open_dataset("camvid", output), open_dataset("camvid", data)
    assert list(made.splits) == ["train"]
    names = [sample.name for sample in made.split("train")]
    assert [name.split("_0001TP")[0] for name in names] == [
        f"copypaste_{name}_{number:04d}" for name in ("Car", "Pole") for number in range(3)
    ]
    canvases = {sample.name: sample for sample in source.split("train")}
    for sample in made.split("train"):
        name = sample.name.split("_")[1]
        changed = read_label(sample.label) != read_label(canvases["_".join(sample.name.split("_")[3:])].label)
        assert changed.any()
        assert (read_label(sample.label)[changed] == CAMVID.names.index(name)).all()
    lines = {line.split()[-5]: line for line in capsys.readouterr().out.splitlines() if line.count(".") == 2}
    old, new = dataset_statistics(source, "train").pixels.sum(0), dataset_statistics(made, "train").pixels.sum(0)
    for index, name in enumerate(CAMVID.names):
        assert lines[name].split()[-4::2] == [str(old[index]), str(old[index] + new[index])]
        assert lines[name].startswith("* ") == (name in ("Car", "Pole"))
    assert json.loads((output / "copypaste.json").read_text())["pixels"]["Car"] == [old[8], old[8] + new[8]]
    assert (output / "copypaste.png").stat().st_size > 10000


def test_held_out_images_are_not_used(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name, hue in (("A_1", 0), ("A_2", 0), ("B_1", 255), ("B_2", 255)):
        label = np.full((64, 96), BUILDING, np.uint8)
        label[32:] = PAVEMENT
        label[48:] = ROAD
        label[20:36, 8:12] = label[20:36, 48:53] = PEDESTRIAN
        image = rng.integers(0, 200, (64, 96, 3), np.uint8)
        image[:, :, 0] = hue  # images of the held-out recording are red
        save(tmp_path / "data" / "train" / f"{name}.png", image)
        save(tmp_path / "data" / "trainannot" / f"{name}.png", label)
    output = tmp_path / "new"
    assert make("camvid", tmp_path / "data", output, "--classes", "Pedestrian", "--num", 6, "--holdout", "B") == 0
    made = open_dataset("camvid", output).split("train")
    assert len(made) == 6
    assert all(read_image(sample.image)[0].max() == 0 for sample in made)
    assert json.loads((output / "copypaste.json").read_text())["sources"] == ["A_1", "A_2"]
    held_out = select_train_and_val(open_dataset("camvid", tmp_path / "data"), "train", "B")
    assert len(add_training_images(held_out, [str(output)]).split("train")) == 2 + 6
    assert make("camvid", tmp_path / "data", tmp_path / "all", "--classes", "Pedestrian", "--num", 6) == 0
    with pytest.raises(InputError, match=r"may show parts of the validation image .*B_1\.png.*--holdout"):
        add_training_images(held_out, [str(tmp_path / "all")])
    # Pasting on pasted images keeps their sources.
    assert make("camvid", tmp_path / "all", tmp_path / "twice", "--classes", "Pedestrian", "--num", 1) == 0
    with pytest.raises(InputError, match=r"validation image .*B_1"):
        add_training_images(held_out, [str(tmp_path / "twice")])
    (output / "copypaste.json").write_text('{"canvases": {}}')
    with pytest.raises(InputError, match="make the folder anew"):
        add_training_images(held_out, [str(output)])
    assert any(read_image(one.image)[0].max() == 255 for one in open_dataset("camvid", tmp_path / "all").split("train"))


def test_new_instance_maps_agree_with_the_labels(tmp_path, capsys):
    data, output = make_minicity(tmp_path / "data", (("train", 12), ("val", 1)), (64, 128)), tmp_path / "new"
    assert make("minicity", data, output, "--classes", "car", "traffic sign", "--num", 3) == 0
    made = open_dataset("minicity", output)
    numbers = []
    for sample in made.split("train"):
        label, instances = read_label(sample.label), read_instances(sample.instances)
        np.testing.assert_array_equal(np.where(instances >= 1000, instances // 1000, instances), label)
        numbers += np.unique(instances[label == 26]).tolist()
    assert max(numbers) > 26001, "each pasted car is an instance of its own"
    status = exit_status("tools.check", check.main, ["--dataset_path", str(output), "--all"])
    errors = [line for line in capsys.readouterr().out.splitlines() if line.startswith("error")]
    assert status == 1
    assert len(errors) == 1, errors
    assert "has no val images" in errors[0]


def test_output_is_reproducible_and_replaced_only_with_force(tmp_path, capsys):
    data, output = make_camvid(tmp_path / "data", size=(64, 96)), tmp_path / "new"
    words = ("--classes", "Car", "--num", 2)
    assert make("camvid", data, output, *words) == 0
    first = snapshot(output)
    assert make("camvid", data, output, *words) == 2
    assert "--force" in capsys.readouterr().err
    assert snapshot(output) == first
    assert make("camvid", data, output, *words, "--force", "--seed", 1) == 0
    other = {name: pixels for name, pixels in snapshot(output).items() if name.startswith("train")}
    assert other != {name: pixels for name, pixels in first.items() if name.startswith("train")}
    assert make("camvid", data, tmp_path / "again", *words) == 0
    again = snapshot(tmp_path / "again")
    assert {name for name in first if first[name] != again.get(name)} == {"copypaste.json"}, "which names the folder"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "data", "new"]


def test_files_added_to_its_folder_are_refused_and_old_records_list_none(tmp_path, capsys):
    data, output = make_camvid(tmp_path / "data", size=(64, 96)), tmp_path / "new"
    words = ("--classes", "Car", "--num", 1)
    assert make("camvid", data, output, *words) == 0
    record = json.loads((output / "copypaste.json").read_text())
    assert record["made by"] == "python -m tools.copypaste"
    assert len(record["files"]) == 3
    save(output / "train" / "mine.png", np.zeros((4, 4), np.uint8))
    before = snapshot(output)
    assert make("camvid", data, output, *words, "--force") == 2
    assert "holds 1 files that were not made by" in capsys.readouterr().err
    assert snapshot(output) == before
    del record["made by"], record["files"]  # as earlier versions wrote it
    (output / "copypaste.json").write_text(json.dumps(record))
    assert make("camvid", data, output, *words, "--force") == 0


def test_foreign_folders_are_left_alone(tmp_path, capsys):
    data = make_camvid(tmp_path / "data", size=(64, 96))
    save(tmp_path / "mine" / "photo.png", np.zeros((4, 4), np.uint8))
    (tmp_path / "file").write_text("mine")
    before = snapshot(tmp_path)
    for output, word in (
        ("mine", "was not made by"),
        ("data", "data set itself"),
        (".", "data set itself"),
        ("file", "is a file"),
    ):
        assert make("camvid", data, tmp_path / output, "--classes", "Car", "--num", 1, "--force") == 2
        assert word in capsys.readouterr().err
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--classes", "Tram"), ("--classes", "'Tram'", "Sky, Building, Pole")),
        (("--classes", "Car", "--num", "0"), ("--num 0",)),
        (("--classes", "Car", "--objects", "0"), ("--objects 0",)),
        (("--classes", "Car", "--seed", "-1"), ("--seed -1",)),
        (("--classes", "Car", "--blob_rules", "Roof: Car"), ("'Roof'", "Sky, Building")),
        ((), ("--classes",)),
    ],
)
def test_mistakes_on_the_command_line(tmp_path, camvid, capsys, words, expected):
    assert make("camvid", camvid, tmp_path / "new", *words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in expected), error
    assert not (tmp_path / "new").exists()


def test_a_class_without_a_place_is_an_error(tmp_path, capsys, monkeypatch):
    data = make_camvid(tmp_path / "data", size=(64, 96))
    monkeypatch.setattr(copy_paste, "ROW_TOLERANCE", -1.0)
    assert make("camvid", data, tmp_path / "new", "--classes", "Car", "--num", 1) == 2
    assert "no image has a place for the objects of Car" in capsys.readouterr().err
    assert not list(tmp_path.glob("*new*"))
