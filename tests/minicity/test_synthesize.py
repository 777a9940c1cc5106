"""The drawn data set: its contents, reproducibility, and that it never overwrites one."""

import shlex

import numpy as np
import pytest

from helpers.errors import InputError, exit_status
from helpers.images import read_image, read_instances, read_label
from helpers.labels import CITYSCAPES
from learning.data.datasets import open_dataset
from learning.data.datasets.statistics import dataset_statistics
from learning.run.setup import setup_run
from minicity import scenes, synthesize
from minicity.drawing.scene import draw_scene
from minicity.layout import new_data_set

SMALL = ("--size", "48", "96", "--num_workers", "1")


@pytest.fixture(scope="module")
def drawn():
    """150 drawn training scenes: (image, labels, instances)."""
    return [draw_scene(0, "train", index, (64, 128)) for index in range(150)]


def contents(folder):
    """Relative path -> bytes of every file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def draw(folder, *arguments):
    assert exit_status("synthesize", synthesize.main, ["--output", str(folder), *arguments]) == 0
    return contents(folder)


def test_same_arguments_draw_the_same_image():
    once, again = draw_scene(3, "val", 5, (64, 128)), draw_scene(3, "val", 5, (64, 128))
    for first, second in zip(once, again, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("other", [(4, "val", 5), (3, "train", 5), (3, "val", 6)], ids=["seed", "split", "index"])
def test_seed_split_and_index_each_change_the_image(other):
    assert (draw_scene(3, "val", 5, (64, 128))[1] != draw_scene(*other, (64, 128))[1]).mean() > 0.05


@pytest.mark.parametrize("size", [(32, 32), (33, 301), (200, 40)])
def test_sizes_types_and_ranges(size):
    for index in range(10):
        image, labels, instances = draw_scene(0, "train", index, size)
        assert (image.shape, labels.shape, instances.shape) == ((*size, 3), size, size)
        assert (image.dtype, labels.dtype, instances.dtype) == (np.uint8, np.uint8, np.uint16)
        assert labels.max() < len(CITYSCAPES.rows)


def test_instances_agree_with_labels(drawn):
    with_instances = [row.id for row in CITYSCAPES.rows if row.has_instances]
    groups = 0
    for _, labels, instances in drawn[:40]:
        single = instances >= 1000
        np.testing.assert_array_equal(instances[single] // 1000, labels[single])
        np.testing.assert_array_equal(instances[~single], labels[~single])
        assert np.isin(labels[single], with_instances).all()
        groups += np.isin(instances, with_instances).any()
    assert groups > 0  # crowds and racks of bicycles hold the bare label id


def test_all_classes_and_void_occur_in_the_order_of_frequency_in_real_streets(drawn):
    pixels = sum(np.bincount(labels.ravel(), minlength=34) for _, labels, _ in drawn)
    share = {row.name: pixels[row.id] / pixels.sum() for row in CITYSCAPES.rows}
    assert all(share[name] > 0 for name in CITYSCAPES.names)
    assert share["road"] > share["building"] > share["car"] > share["person"] > share["rider"]
    assert share["vegetation"] > share["sidewalk"] > share["pole"] > share["traffic light"]
    assert all(share[name] < 0.01 for name in ("truck", "bus", "train", "motorcycle", "bicycle", "rider"))
    assert all(share[name] > 0 for name in ("unlabeled", "ego vehicle", "out of roi", "static"))


def test_a_class_is_not_one_color(drawn):
    means = {"car": [], "building": []}
    for image, labels, _ in drawn[:20]:
        for name, found in means.items():
            mask = labels == next(row.id for row in CITYSCAPES.rows if row.name == name)
            if mask.sum() > 50:
                found.append(image[mask].mean(0))
    centers = {name: np.mean(found, 0) for name, found in means.items()}
    spread = {name: np.std(found, 0).mean() for name, found in means.items()}
    assert np.abs(centers["car"] - centers["building"]).mean() < 2 * min(spread.values())


def test_files_equal_the_drawn_scene(tmp_path):
    draw(tmp_path / "data", *SMALL, "--num_train", "2", "--num_val", "1", "--num_test", "1", "--seed", "9")
    image, labels, instances = draw_scene(9, "train", 1, (48, 96))
    name = "train/synth_000001_000019"
    gt_fine = tmp_path / "data/gtFine"
    written = read_image(tmp_path / f"data/leftImg8bit/{name}_leftImg8bit.png")
    np.testing.assert_array_equal(written.transpose(1, 2, 0), image)
    np.testing.assert_array_equal(read_label(gt_fine / f"{name}_gtFine_labelIds.png"), labels)
    np.testing.assert_array_equal(read_instances(gt_fine / f"{name}_gtFine_instanceIds.png"), instances)
    assert not (gt_fine / "test").exists()


def test_neither_counts_nor_processes_change_an_image(tmp_path):
    few = draw(tmp_path / "few", *SMALL, "--num_train", "3", "--num_val", "2", "--num_test", "1")
    options = ("--size", "48", "96", "--num_train", "5", "--num_val", "3", "--num_test", "1", "--num_workers", "2")
    many = draw(tmp_path / "many", *options)
    assert len(few) == 3 * 5 + 1
    assert len(many) == 3 * 8 + 1
    assert all(many[name] == data for name, data in few.items())


def test_data_set_opens_and_passes_all_checks(tmp_path):
    draw(tmp_path / "data", *SMALL, "--num_train", "4", "--num_val", "2", "--num_test", "1")
    dataset = open_dataset("minicity", tmp_path / "data")
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 4, "val": 2, "test": 1}
    assert all(sample.instances for sample in dataset.split("train"))
    found = dataset_statistics(dataset, "train")
    assert (found.sizes == (48, 96)).all()
    assert (found.pixels.sum(1) + found.void == 48 * 96).all()


def test_one_number_is_a_square_and_test_images_are_optional(tmp_path):
    draw(
        tmp_path / "data",
        "--size",
        "40",
        *("--num_train", "1", "--num_val", "1", "--num_test", "0"),
        "--num_workers",
        "1",
    )
    dataset = open_dataset("minicity", tmp_path / "data")
    assert list(dataset.splits) == ["train", "val"]
    assert dataset_statistics(dataset, "val").sizes.tolist() == [[40, 40]]


@pytest.mark.parametrize("taken", ["leftImg8bit", "gtFine"])
def test_refuses_to_overwrite(tmp_path, capsys, taken):
    (tmp_path / taken).mkdir()
    (tmp_path / taken / "mine.txt").write_text("precious")
    before = contents(tmp_path)
    assert exit_status("python -m minicity.synthesize", synthesize.main, ["--output", str(tmp_path), *SMALL]) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("python -m minicity.synthesize: error: ")
    assert "\n" not in message
    assert "--output" in message
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == [taken]


def test_other_files_in_the_output_folder_stay(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    found = draw(tmp_path, *SMALL, "--num_train", "1", "--num_val", "1", "--num_test", "0")
    assert found["notes.txt"] == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gtFine", "leftImg8bit", "notes.txt"]


def test_interrupted_run_leaves_no_partial_data_set(tmp_path, monkeypatch):
    calls = []

    def stop_at_the_third(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return draw_scene(*arguments)

    monkeypatch.setattr(scenes, "draw_scene", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        synthesize.main(["--output", str(tmp_path / "data"), *SMALL])
    assert not (tmp_path / "data").exists()


def test_full_disk_is_one_line(tmp_path, capsys):
    def main(_):
        with new_data_set(tmp_path / "data"):
            raise OSError(28, "No space left on device")

    assert exit_status("program", main, None) == 2
    err = capsys.readouterr().err
    assert f"{tmp_path / 'data'}: No space left" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("size", [(64, 128), (128, 64), (40, 300)], ids=str)
def test_the_suggested_training_is_a_valid_command_of_five_minutes(tmp_path, capsys, size):
    words = ["--num_train", "2", "--num_val", "1", "--num_test", "0", "--num_workers", "1"]
    synthesize.main(["--output", str(tmp_path / "data"), "--size", *map(str, size), *words])
    _, command = capsys.readouterr().out.split("python baseline.py")
    setup = setup_run([*shlex.split(command), "--save_path", str(tmp_path / "run")])
    assert setup.dataset.root == tmp_path / "data"
    assert setup.options.training.time_budget == 5
    assert max(setup.options.data.train_size) <= 192


@pytest.mark.parametrize(
    "arguments",
    [
        ("--size", "16", "64"),
        ("--size", "64", "64", "64"),
        ("--num_train", "0"),
        ("--num_test", "-1"),
        ("--num_workers", "0"),
        ("--seed", "-1"),
        ("--seed", str(2**63)),
    ],
    ids=" ".join,
)
def test_options_out_of_range_are_named(tmp_path, arguments):
    with pytest.raises(InputError, match=arguments[0]):
        synthesize.main(["--output", str(tmp_path / "data"), *arguments])
    assert not (tmp_path / "data").exists()


def test_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        synthesize.main(["--output", str(tmp_path / "file")])
    assert (tmp_path / "file").read_text() == "mine"
