"""Files of class probabilities."""

import numpy as np
import pytest

from helpers.errors import InputError
from helpers.probabilities import ProbabilityFile, num_bytes, read_probabilities, write_probabilities


def probabilities(seed=0, shape=(5, 7, 9)):
    values = np.random.default_rng(seed).random(shape)
    return (values / values.sum(0)).astype(np.float32)


@pytest.mark.parametrize(("dtype", "error"), [("uint8", 1 / 510 + 1e-7), ("float16", 2**-12)])
def test_reading_restores_the_probabilities_up_to_rounding(tmp_path, dtype, error):
    given = probabilities()
    write_probabilities(tmp_path / "a.npy", given, dtype)
    found = read_probabilities(tmp_path / "a.npy")
    assert found.dtype == np.float32
    assert np.abs(found - given).max() <= error
    assert np.load(tmp_path / "a.npy", mmap_mode="r").dtype == dtype
    assert num_bytes(given.shape, dtype) + 128 == (tmp_path / "a.npy").stat().st_size


def test_bytes_by_hand(tmp_path):
    write_probabilities(tmp_path / "a.npy", np.array([[[0, 0.25]], [[1, 0.75]]], np.float32), "uint8")
    assert np.load(tmp_path / "a.npy").tolist() == [[[0, 64]], [[255, 191]]]
    assert read_probabilities(tmp_path / "a.npy")[:, 0, 0].tolist() == [0.0, 1.0]


def test_a_file_can_be_filled_in_parts(tmp_path):
    given = probabilities()
    file = ProbabilityFile(tmp_path / "a.npy", given.shape, "uint8")
    for top in (0, 3, 6):
        file.write(top, given[:, top : top + 3])
    write_probabilities(tmp_path / "b.npy", given, "uint8")
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_other_files_are_refused(tmp_path):
    np.save(tmp_path / "flat.npy", np.zeros((3, 4), np.uint8))
    np.save(tmp_path / "double.npy", np.zeros((3, 4, 5)))
    (tmp_path / "noise.npy").write_bytes(b"noise")
    for name in ("absent", "flat", "double", "noise"):
        with pytest.raises(InputError, match=f"{name}.npy"):
            read_probabilities(tmp_path / f"{name}.npy")
