"""The cache of decoded pixels: equal to the files, written once, valid until they change, optional."""

import os
import pickle
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import train
from tiny import make_camvid, save
from writers import held_by_another

from helpers.errors import InputError, exit_status
from learning.data import cache
from learning.data import pixels as pixels_module
from learning.data.augmentation.sampling import Augmentation
from learning.data.datasets import open_dataset
from learning.data.datasets.statistics import dataset_statistics
from learning.data.hashes import default_folder
from learning.data.loaders import EvalBatches, LoaderConfig, TrainBatches
from tools import cache as program

CPU = torch.device("cpu")
CONFIG = LoaderConfig((0.4, 0.5, 0.6), (0.2, 0.25, 0.3), CPU)


@pytest.fixture
def data(tmp_path):
    """A data set whose images have different sizes."""
    root = make_camvid(tmp_path / "data", size=(24, 32))
    rng = np.random.default_rng(5)
    save(root / "train" / "0001TP_train001.png", rng.integers(0, 256, (30, 17, 3), dtype=np.uint8))
    save(root / "trainannot" / "0001TP_train001.png", rng.integers(0, 12, (30, 17), dtype=np.uint8))
    return open_dataset("camvid", root)


def opened(data, folder, split="train"):
    return cache.open_on_disk(folder, data, split, dataset_statistics(data, split).sizes)


def files(folder):
    return sorted(folder.glob(f"*{cache.SUFFIX}"))


def same_pixels(some, others):
    return len(some) == len(others) and all(
        torch.equal(some.image(index), others.image(index)) and torch.equal(some.label(index), others.label(index))
        for index in range(len(some))
    )


def must_not_decode(*_):
    raise AssertionError("decoded again")


# ---------------------------------------------------------------------------------------------- content


@pytest.mark.parametrize("split", ["train", "val"])
def test_it_holds_the_content_of_the_files(data, tmp_path, split):
    decoded = opened(data, tmp_path / "cache", split)
    assert same_pixels(decoded, cache.FilePixels(data.split(split), data.decode))
    memory = cache.open_in_memory(data, split, dataset_statistics(data, split).sizes)
    assert same_pixels(decoded, memory)
    assert same_pixels(decoded, decoded.to(CPU))
    assert decoded.image(0).dtype == decoded.label(0).dtype == torch.uint8
    assert decoded.samples == data.split(split)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
@pytest.mark.parametrize("workers", [0, 1, 4])
def test_batches_are_the_same_bits_from_files_cache_and_memory(data, tmp_path, workers, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    sources = [
        cache.FilePixels(data.split("train"), data.decode),
        opened(data, tmp_path / "cache"),
        cache.open_in_memory(data, "train", dataset_statistics(data, "train").sizes),
    ]
    config = replace(CONFIG, workers=workers)
    augmentation = Augmentation((24, 32), (16, 20))
    reference = TrainBatches(sources[0], CONFIG, 2, augmentation, seed=3)
    for source in sources:
        batches = TrainBatches(source, config, 2, augmentation, seed=3)
        for epoch in (0, 1):
            for found, expected in zip(batches.epoch(epoch), reference.epoch(epoch), strict=True):
                assert torch.equal(found[0], expected[0])
                assert torch.equal(found[1], expected[1])
        whole = [EvalBatches(some, config, 2, [(24, 32)] * len(some)) for some in (source, sources[0])]
        for found, expected in zip(*whole, strict=True):
            assert torch.equal(found.images, expected.images)
            assert found.sizes == expected.sizes
            assert all(map(torch.equal, found.labels, expected.labels))


def test_a_worker_does_not_send_the_memory_of_the_whole_file(data, tmp_path):
    decoded = opened(data, tmp_path / "cache")
    (item, *_) = EvalBatches(decoded, CONFIG, 8, [(24, 32)] * len(decoded))._loaded()
    images, labels, *_ = item
    assert images.untyped_storage().nbytes() == images.numel()
    assert all(label.untyped_storage().nbytes() == label.numel() for label in labels)


def test_another_process_maps_the_file_instead_of_copying_it(data, tmp_path):
    decoded = opened(data, tmp_path / "cache")
    pickled = pickle.dumps(replace_samples(decoded))
    assert len(pickled) < 2000
    again = pickle.loads(pickled)
    assert torch.equal(again.buffer, decoded.buffer)


def replace_samples(decoded):
    return cache.BufferPixels(cache.FilePixels((), decoded.files.decode), decoded.layout, decoded.path)


def test_changing_the_pixels_does_not_change_the_file(data, tmp_path):
    opened(data, tmp_path).image(0).zero_()
    assert same_pixels(opened(data, tmp_path), cache.FilePixels(data.split("train"), data.decode))


# ---------------------------------------------------------------------------------------------- writing


def test_it_is_written_once(data, tmp_path, monkeypatch):
    opened(data, tmp_path)
    monkeypatch.setattr(pixels_module, "read_image", must_not_decode)
    opened(data, tmp_path)
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_changed_source_is_read_again(data, tmp_path, change):
    before = opened(data, tmp_path).image(2).clone()
    path = data.split("train")[2].image
    state = path.stat()
    save(path, np.full((24, 32, 3), 77, np.uint8))
    if change == "size":
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    else:
        with open(path, "ab") as file:
            file.write(bytes(max(0, state.st_size - path.stat().st_size)))
    after = opened(data, tmp_path)
    assert not torch.equal(after.image(2), before)
    assert (after.image(2) == 77).all()
    assert len(files(tmp_path)) == 1


def test_an_unchanged_copy_under_another_root_is_another_file(data, tmp_path):
    other = open_dataset("camvid", make_camvid(tmp_path / "other", size=(24, 32)))
    opened(data, tmp_path / "cache")
    opened(other, tmp_path / "cache")
    assert len(files(tmp_path / "cache")) == 2


def test_a_truncated_file_is_written_again(data, tmp_path):
    opened(data, tmp_path)
    (path,) = files(tmp_path)
    os.truncate(path, path.stat().st_size - 1)
    assert same_pixels(opened(data, tmp_path), cache.FilePixels(data.split("train"), data.decode))


def test_the_remains_of_a_killed_run_are_not_a_cache(data, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            opened(data, tmp_path)
    assert files(tmp_path) == []
    assert same_pixels(opened(data, tmp_path), cache.FilePixels(data.split("train"), data.decode))


def test_a_damaged_source_is_named_and_nothing_is_kept(data, tmp_path):
    sizes = dataset_statistics(data, "train").sizes
    path = data.split("train")[3].image
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=path.name):
        cache.open_on_disk(tmp_path / "cache", data, "train", sizes)
    assert files(tmp_path / "cache") == []
    assert not list((tmp_path / "cache").glob("*.tmp"))


# ---------------------------------------------------------------------------------------------- damage


def flip(path, offset):
    """Change one byte of a file, without a trace in its size or time stamp."""
    state = path.stat()
    content = bytearray(path.read_bytes())
    content[offset] ^= 16
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


# The offsets are from the start of sample 1: the middle of its image, its label, and the checksum of sample 1.
@pytest.mark.parametrize("place", ["image", "label", "checksum"])
@pytest.mark.parametrize("reader", ["as it is", "in another process", "on a device"])
def test_a_flipped_byte_is_noticed_and_the_sample_decoded_again(data, tmp_path, capsys, place, reader):
    decoded = opened(data, tmp_path)
    (path,) = files(tmp_path)
    height, width = decoded.layout.sizes[1]
    start = decoded.layout.starts[1]
    offsets = {
        "image": start + height * width,
        "label": start + 3 * height * width + 7,
        "checksum": decoded.layout.num_bytes + 4,
    }
    flip(path, offsets[place])
    found = opened(data, tmp_path)
    if reader == "in another process":
        found = pickle.loads(pickle.dumps(found))
    elif reader == "on a device":
        found = found.to(CPU)
    expected = cache.FilePixels(data.split("train"), data.decode)
    assert same_pixels(found, expected)
    assert same_pixels(found, expected), "also when read again"
    error = capsys.readouterr().err
    assert error.count("\n") == 1, "said once"
    assert str(path) in error
    assert data.split("train")[1].name in error
    again = opened(data, tmp_path)
    assert same_pixels(again, expected)
    assert capsys.readouterr().err == "", "the next run has written the file anew"
    assert cache.is_intact(path, cache.read_header(path))


def test_a_sample_is_verified_once_in_a_process(data, tmp_path, monkeypatch):
    decoded = opened(data, tmp_path)
    counted = []
    original = pixels_module.sample_checksum
    monkeypatch.setattr(pixels_module, "sample_checksum", lambda *pixels: counted.append(1) or original(*pixels))
    for _ in range(2):
        for index in range(len(decoded)):
            decoded.label(index)
            decoded.image(index)
    assert len(counted) == len(decoded)


@pytest.mark.parametrize(("offset", "state"), [(3, "unknown"), (40, "unknown"), (-5000, "damaged"), (-1, "damaged")])
def test_the_program_finds_damaged_files(data, tmp_path, capsys, offset, state):
    opened(data, tmp_path)
    (path,) = files(tmp_path)
    where = ["--cache_path", str(tmp_path)]
    program.main(where)
    assert "valid" in capsys.readouterr().out
    flip(path, offset)
    program.main(where)
    assert state in capsys.readouterr().out
    program.main([*where, "--clear", "stale"])
    assert files(tmp_path) == []


# ---------------------------------------------------------------------------------------------- location


def disk_with(monkeypatch, free):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: type("usage", (), {"free": free}))


def test_a_full_disk_is_reported_before_anything_is_written(data, tmp_path, monkeypatch):
    disk_with(monkeypatch, 1000)
    with pytest.raises(cache.CacheError, match="GiB are free"):
        opened(data, tmp_path / "cache")


def test_auto_chooses_what_fits(tmp_path, monkeypatch):
    disk_with(monkeypatch, 2000)
    assert cache.choose_location("auto", CPU, 1000, tmp_path, 1000)[0] == "disk"
    assert cache.choose_location("auto", CPU, 1990, tmp_path, 1990)[0] == "off"
    assert cache.choose_location("auto", CPU, 1990, tmp_path, 0)[0] == "disk", "it is there already"
    assert cache.choose_location("off", CPU, 1, tmp_path, 1)[0] == "off"
    assert cache.choose_location("disk", CPU, 10**6, tmp_path, 10**6)[0] == "disk"
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (8000, 10000))
    gpu = torch.device("cuda")
    assert cache.choose_location("auto", gpu, 2000, tmp_path, 2000)[0] == "device"
    assert cache.choose_location("auto", gpu, 2001, tmp_path, 2001)[0] == "off"
    assert cache.choose_location("device", gpu, 7999, tmp_path, 7999)[0] == "device"
    with pytest.raises(InputError, match="GiB of the GPU are free"):
        cache.choose_location("device", gpu, 8001, tmp_path, 8001)
    with pytest.raises(InputError, match="--cache device keeps the data on a GPU"):
        cache.choose_location("device", CPU, 1, tmp_path, 1)


def test_an_existing_file_is_used_on_a_full_disk(data, tmp_path, monkeypatch):
    sizes = dataset_statistics(data, "train").sizes
    assert not cache.is_cached(tmp_path, data, "train", sizes)
    opened(data, tmp_path)
    assert cache.is_cached(tmp_path, data, "train", sizes)
    disk_with(monkeypatch, 0)
    monkeypatch.setattr(os, "utime", permission_denied)  # a read-only folder
    assert same_pixels(opened(data, tmp_path), cache.FilePixels(data.split("train"), data.decode))


def permission_denied(*_):
    raise PermissionError(13, "Permission denied")


def test_a_file_that_another_process_writes_is_not_cleared(data, tmp_path, capsys):
    opened(data, tmp_path)
    (path,) = files(tmp_path)
    path.with_name(path.name + ".tmp").write_bytes(b"half")
    with held_by_another(path):
        program.main(["--cache_path", str(tmp_path), "--clear", "all"])
    assert "in use" in capsys.readouterr().out
    assert path.exists()
    program.main(["--cache_path", str(tmp_path), "--clear", "all"])
    assert not list(tmp_path.glob("*.pixels")) + list(tmp_path.glob("*.tmp"))


def test_files_of_another_version_are_cleared_too(tmp_path, capsys):
    (tmp_path / "camvid-train-0.pixels").write_bytes(b"pixels00 and so on")
    program.main(["--cache_path", str(tmp_path)])
    assert "unknown" in capsys.readouterr().out
    program.main(["--cache_path", str(tmp_path), "--clear", "stale"])
    assert files(tmp_path) == []


def test_num_bytes_counts_three_colors_and_a_label():
    assert cache.num_bytes([(2, 3), (4, 5)]) == 4 * (6 + 20)


# ---------------------------------------------------------------------------------------------- the command line


def log(run):
    return (run / "log_epoch.csv").read_text()


def test_a_run_is_the_same_with_and_without_a_cache(camvid, tmp_path, capsys):
    arguments = ("--epochs", 1, "--seed", 0)
    assert train(tmp_path / "off", camvid, *arguments, "--cache", "off") == 0
    assert "cache     off" in capsys.readouterr().out
    folder = tmp_path / "cache"
    assert train(tmp_path / "disk", camvid, *arguments, "--cache", "disk", "--cache_path", folder) == 0
    assert f"cache     disk: 0.00 GiB in {folder}" in capsys.readouterr().out
    assert len(files(folder)) == 2
    assert log(tmp_path / "off") == log(tmp_path / "disk")


def test_auto_trains_without_a_cache_where_nothing_can_be_written(camvid, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    arguments = ("--epochs", 1, "--cache_path", tmp_path / "file" / "cache")
    assert train(tmp_path / "run", camvid, *arguments) == 0
    assert "cache     off: " in capsys.readouterr().out
    assert train(tmp_path / "other", camvid, *arguments, "--cache", "disk") == 2
    assert "--cache off" in capsys.readouterr().err


def test_the_program_lists_and_clears(data, tmp_path, capsys):
    folder = tmp_path / "cache"
    opened(data, folder)
    opened(data, folder, "val")
    (folder / "notes.txt").write_text("not ours")
    where = ["--cache_path", str(folder)]
    assert program.main(where) is None
    out = capsys.readouterr().out
    assert out.count("valid") == 2
    assert str(data.root) in out
    data.split("val")[0].image.unlink()
    program.main(where)
    assert "gone" in capsys.readouterr().out
    program.main([*where, "--clear", "stale"])
    assert "1 files removed" in capsys.readouterr().out
    assert [path.name.split("-")[1] for path in files(folder)] == ["train"]
    save(data.split("train")[0].image, np.zeros((24, 32, 3), np.uint8))
    program.main(where)
    assert "changed" in capsys.readouterr().out
    program.main([*where, "--clear", "all"])
    assert files(folder) == []
    assert (folder / "notes.txt").exists()
    program.main(where)
    assert "empty" in capsys.readouterr().out


def test_errors_of_the_program(tmp_path, capsys):
    assert exit_status("tools.cache", program.main, ["--cache_path", str(tmp_path / "none")]) == 2
    assert "there is no such folder" in capsys.readouterr().err
    assert exit_status("tools.cache", program.main, ["--clear", "some"]) == 2


def test_the_default_folder_belongs_to_the_user(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_folder() == Path("/somewhere/minicity-segmentation")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder() == Path.home() / ".cache" / "minicity-segmentation"
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # a user without a home
    assert default_folder().parent == Path(tempfile.gettempdir(), f"cache-{os.getuid()}")
