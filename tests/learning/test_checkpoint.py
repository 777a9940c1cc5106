"""Checkpoint files: damage is detected. Saving and resuming runs is in tests/learning/run/test_resume.py."""

import random
import zipfile

import pytest
import torch

from helpers.errors import InputError
from learning import checkpoint

STATE = {
    "epoch": 3,
    "model_state_dict": {"weight": torch.arange(12.0).view(3, 4), "steps": torch.tensor([1, 2])},
    "history": [0.5, {"miou": 0.25}],
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "checkpoint.pth.tar"
    checkpoint.save(STATE, path)
    return path


def flip(path, position, mask):
    """Flip bits of one byte of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= mask
    path.write_bytes(content)


def central_directory(path):
    """Positions of the last part of a zip file, which lists its members."""
    with zipfile.ZipFile(path) as file:
        return range(file.start_dir, path.stat().st_size)


def content_of(state):
    return checkpoint.checksum({key: state[key] for key in STATE})


def is_detected_or_harmless(path, position, mask):
    """Flip bits, load, flip them back."""
    flip(path, position, mask)
    try:
        return content_of(checkpoint.load(path)) == content_of(STATE)
    except InputError:
        return True
    finally:
        flip(path, position, mask)


def test_a_saved_state_is_loaded(path):
    state = checkpoint.load(path)
    assert content_of(state) == content_of(STATE)
    assert state["checksum"] == checkpoint.checksum(state)


def test_flipped_bits_never_change_the_loaded_state(path):
    positions = random.Random(0).sample(range(path.stat().st_size), 300)
    assert all(is_detected_or_harmless(path, position, 1 << position % 8) for position in positions)


def test_flipped_bits_in_the_zip_directory_never_change_the_loaded_state(path):
    """One of them marks a tensor as a folder, for which torch would return uninitialized memory."""
    assert all(is_detected_or_harmless(path, position, 0x10) for position in central_directory(path))


@pytest.mark.parametrize("length", [0, 3, 400, -1, -100])
def test_a_truncated_file_is_refused(path, length):
    content = path.read_bytes()
    path.write_bytes(content[:length])
    with pytest.raises(InputError, match=r"checkpoint\.pth\.tar is not a checkpoint.*(damaged|not opened) \(.+\)"):
        checkpoint.load(path)


def test_a_checkpoint_without_a_checksum_is_loaded(path):
    """As the tutorial writes them."""
    torch.save(STATE, path)
    assert content_of(checkpoint.load(path)) == content_of(STATE)


def test_a_checkpoint_of_an_earlier_version_is_verified(path):
    """The checksum of these values must never change."""
    state = {"epoch": 1, "model_state_dict": {"weight": torch.ones(2, 3), "mean": torch.tensor(0.5)}, "lr": [0.1, None]}
    known = "bdffa84b34b0dc845f29df05c68b2f3bae193c29338c709402f56d38b385f6b9"
    torch.save(state | {"checksum": known}, path)
    assert checkpoint.load(path)["lr"] == [0.1, None]
    torch.save(state | {"checksum": known, "lr": [0.2, None]}, path)
    with pytest.raises(InputError, match="checksum"):
        checkpoint.load(path)
