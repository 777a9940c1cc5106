"""Settings of the whole test run and tiny data sets made in tmp_path."""

import gc
import importlib
import os
import shlex
import sys
import time
from pathlib import Path

import pytest
from tiny import make_camvid, make_minicity

# A small UNet, in this process and in those that tests start.
SITE = str(Path(__file__).parent / "support" / "site")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (SITE, os.environ.get("PYTHONPATH"))))
sys.path.insert(0, SITE)
sys.modules.pop("sitecustomize", None)  # one of the system's
importlib.import_module("sitecustomize")


@pytest.fixture(scope="session", autouse=True)
def _threads():
    """As many threads as the processes that tests start, so that their results are equal bit for bit."""
    import torch

    torch.set_num_threads(int(os.environ.setdefault("OMP_NUM_THREADS", "2")))


@pytest.fixture
def small_resnets(monkeypatch):
    """ResNets with one block a stage."""
    from learning.models import resnet

    for name, (block, _) in resnet._LAYERS.items():
        monkeypatch.setitem(resnet._LAYERS, name, (block, (1, 1, 1, 1)))


@pytest.fixture
def full_unet():
    """The UNet with all its channels."""
    from learning.models.unet import WIDTHS, UNet

    small = UNet.__init__.__defaults__
    UNet.__init__.__defaults__ = small[0], WIDTHS
    yield
    UNet.__init__.__defaults__ = small


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory):
    """No test reads or fills the user's cache."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("user_cache"))


@pytest.fixture(autouse=True)
def _networks_leave_memory():
    """Networks of earlier tests are in reference cycles, and many tests make many of them."""
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


def pytest_terminal_summary(terminalreporter):
    """After failures: the command that runs each failed test alone."""
    reports = [report for kind in ("failed", "error") for report in terminalreporter.stats.get(kind, ())]
    if reports:
        terminalreporter.section("to run a failed test alone")
        for report in reports[:10]:
            terminalreporter.write_line(f".venv/bin/python -m pytest {shlex.quote(report.nodeid)}")
