"""Trainings that are killed at moments spread over their whole duration end as if they had not been."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import small_run
from runs import same_end
from strangers import Strangers, left_behind
from tiny import make_camvid

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SEED = 11
NUM_KILLS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("kills")


@pytest.fixture(scope="module")
def data(folder):
    return make_camvid(folder / "data")


def training(folder, data, *words):
    """The command of a short training with a loader process, in a Python of its own."""
    words = small_run(folder / "run", data, "--epochs", 2, "--seed", 3, "--validate_every", 1, *words)
    words[words.index("--num_workers") + 1] = "1"
    return [sys.executable, str(ROOT / "baseline.py"), *words, "--cache_path", str(folder / "cache")]


def run_to_end(command):
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def uninterrupted(folder, data):
    """A training that was not killed, and how many seconds it took."""
    began = time.monotonic()
    run_to_end(training(folder / "whole", data))
    return folder / "whole" / "run", time.monotonic() - began


@pytest.mark.parametrize("number", range(NUM_KILLS))
def test_a_training_that_is_killed_at_any_moment_ends_as_if_it_had_not_been(number, uninterrupted, data, tmp_path):
    """Start-up, cache filling, training, validation and prediction: the moments are uniform over the measured duration."""
    whole, seconds = uninterrupted
    strangers = Strangers(tmp_path / "run", tmp_path / "run" / "results_val", tmp_path / "cache")
    strangers.watch(data)
    moment = (number + np.random.default_rng([SEED, number]).random()) / NUM_KILLS
    process = subprocess.Popen(
        training(tmp_path, data), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    time.sleep(moment * seconds)
    process.kill()
    _, err = process.communicate()
    assert "Traceback" not in err
    run_to_end(training(tmp_path, data, "--resume"))
    assert same_end(tmp_path / "run", whole)
    predictions = {path.name: path.read_bytes() for path in (whole / "results_val").glob("*.png")}
    assert predictions == {path.name: path.read_bytes() for path in (tmp_path / "run/results_val").glob("*.png")}
    strangers.assert_untouched()
    assert left_behind(tmp_path) == []


def test_training_processes_that_torchrun_started_end_when_one_is_killed(data, tmp_path):
    """No rank waits for ever for one that is gone."""
    command = training(tmp_path, data, "--batch_size", 2)[1:]
    launcher = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        for line in launcher.stdout:
            if line.startswith("epoch"):
                break
        children = subprocess.run(["pgrep", "-P", str(launcher.pid)], capture_output=True, text=True).stdout.split()
        os.kill(int(children[-1]), signal.SIGKILL)
        launcher.communicate(timeout=60)
    finally:
        if launcher.poll() is None:
            os.killpg(launcher.pid, signal.SIGKILL)
    assert launcher.returncode != 0
