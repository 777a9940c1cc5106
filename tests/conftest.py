"""Settings of the whole test run and tiny data sets made in tmp_path."""

import gc
import os
import time

import pytest
from tiny import make_camvid, make_minicity


@pytest.fixture(scope="session", autouse=True)
def _two_threads():
    import torch

    torch.set_num_threads(2)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory):
    """No test reads or fills the user's cache."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("user_cache"))


@pytest.fixture(autouse=True)
def _networks_leave_memory():
    """Parts of a run refer to each other: they stay until Python looks for such circles, and many tests make many runs."""
    began = time.monotonic()
    yield
    if time.monotonic() - began > 1:
        gc.collect()


@pytest.fixture
def camvid(tmp_path):
    """Folder of a CamVid-like data set: 5 train, 3 val, 2 test images of 48x64 pixels."""
    return make_camvid(tmp_path / "camvid")


@pytest.fixture
def minicity(tmp_path):
    """Folder of a MiniCity-like data set: 5 train, 3 val, 2 test images of 48x96 pixels."""
    return make_minicity(tmp_path / "minicity")
