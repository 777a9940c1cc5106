"""Two processes on the CPU: the same weights and the same scores as one."""

import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from commands import run_baseline, small_run, train
from steps import CLASSES, batch, training_of, without_dropout
from tiny import make_camvid

import options
from learning import checkpoint, distributed
from learning.models import Architecture, build_model
from learning.models.norms import PooledBatchNorm
from learning.run import summary
from learning.training import engine
from learning.training.metrics import EpochMetrics

ROOT = Path(options.__file__).parent


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """9 training and 5 validation images: neither divides evenly."""
    return make_camvid(tmp_path_factory.mktemp("distributed") / "data", (("train", 9), ("val", 5)))


# ---------------------------------------------------------------------------------------------- one process


def test_one_process_needs_no_group():
    assert (distributed.world_size(), distributed.rank(), distributed.is_main()) == (1, 0, True)
    tensor, model = torch.ones(2), torch.nn.Linear(1, 1)
    assert distributed.all_reduce_sum(tensor) is tensor
    assert distributed.all_reduce_max(7) == 7
    assert distributed.wrap_ddp(model, torch.device("cpu")) is model
    distributed.barrier()
    distributed.destroy_process_groups()


def test_batch_norms_become_synchronized_ones():
    """As `distributed.wrap_ddp` converts them on GPUs; SyncBatchNorm itself does not run on a CPU."""
    model = build_model(Architecture("DeepLabv3_resnet50", CLASSES, "batch"), 0)
    names, parameters = list(model.state_dict()), {id(parameter) for parameter in model.parameters()}
    converted = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert converted is model
    assert not any(isinstance(module, PooledBatchNorm) for module in model.modules())
    assert list(model.state_dict()) == names
    assert {id(parameter) for parameter in model.parameters()} == parameters, "the optimizer's are the model's"


# ---------------------------------------------------------------------------------------------- threads at exit


def train_to_the_end(rank, port, arguments, stop):
    """One of two processes of a run; fails if a thread of their groups outlives the program.

    Args:
        stop: whether SIGTERM comes after the first epoch.
    """
    torch.set_num_threads(1)
    environment = {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "RANK": rank, "LOCAL_RANK": rank}
    os.environ.update({name: str(value) for name, value in environment.items()}, WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
    if stop:
        summary.show_epoch = lambda *_: signal.raise_signal(signal.SIGTERM)
    assert run_baseline(*arguments) == (143 if stop else 0)
    names = {path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")}
    assert "python" in "".join(names), names
    assert "gloo" not in "".join(names), names


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system has no /proc")
@pytest.mark.slow
@pytest.mark.parametrize("stop", [False, True])
def test_no_thread_outlives_a_run(data, tmp_path, stop):
    """A thread that still works when the interpreter shuts down aborts the process after a successful run."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    arguments = small_run(tmp_path / "run", data, "--epochs", 1 + stop, "--batch_size", 2)
    torch.multiprocessing.spawn(train_to_the_end, (port, arguments, stop), nprocs=2)
    assert (tmp_path / "run" / "results_val").is_dir() != stop


# ---------------------------------------------------------------------------------------------- the same weights


def train_on_share(rank, path, accumulate, name, loss="ce"):
    """One of two processes, on its share of every batch, as `TrainBatches` divides them."""
    torch.set_num_threads(1)
    rendezvous = f"file://{path}.rendezvous"
    dist.init_process_group("gloo", rendezvous, timeout=timedelta(seconds=90), rank=rank, world_size=2)
    distributed._control = dist.new_group(backend="gloo")
    model = without_dropout(build_model(Architecture(name, CLASSES, "group"), 0)).double()
    wrapped = distributed.wrap_ddp(model, torch.device("cpu"))
    training = training_of(wrapped, accumulate, loss, optimized=model)
    shares = [tuple(tensor[rank::2] for tensor in batch(seed, dtype=torch.float64)) for seed in (1, 2, 3)]
    metrics = EpochMetrics(CLASSES, "cpu", len(training.criterion.names))
    engine.train_epoch(training, shares, metrics, 0, lambda *_: None)
    metrics.all_reduce()
    agreed = distributed.all_reduce_max(10 * rank)
    if rank == 0:
        counts = {"confusion": metrics.confusion, "loss": metrics.loss, "agreed": agreed}
        torch.save({"weights": model.state_dict(), **counts}, path)
    distributed.barrier()
    distributed.destroy_process_groups()


@pytest.mark.slow
@pytest.mark.parametrize(("accumulate", "loss"), [(1, "ce"), (2, "2*ce+0.5*dice+lovasz+ohem")])
def test_two_processes_reach_the_weights_of_one(tmp_path, accumulate, loss):
    """In float64 to 1e-10 after three steps; the shares have different numbers of valid pixels."""
    torch.multiprocessing.spawn(train_on_share, (tmp_path / "two.pt", accumulate, "UNet", loss), nprocs=2)
    two = torch.load(tmp_path / "two.pt")
    model = build_model(Architecture("UNet", CLASSES, "group"), 0).double()
    start = {key: value.clone() for key, value in model.state_dict().items()}
    training = training_of(model, loss=loss)
    metrics = EpochMetrics(CLASSES, "cpu", len(training.criterion.names))
    batches = [batch(seed, dtype=torch.float64) for seed in (1, 2, 3)]
    engine.train_epoch(training, batches, metrics, 0, lambda *_: None)
    assert max((value - start[key]).abs().max() for key, value in model.state_dict().items()) > 1e-3
    for key, value in model.state_dict().items():
        assert (value - two["weights"][key]).abs().max() <= 1e-10, key
    assert torch.equal(metrics.confusion, two["confusion"])
    assert torch.allclose(metrics.loss, two["loss"], rtol=1e-12)
    assert two["agreed"] == 10


# ---------------------------------------------------------------------------------------------- the command line


def launch(run, data, *arguments, processes=2, restarts=0):
    """torchrun of baseline.py."""
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", processes]
    line += ["--max_restarts", restarts, "baseline.py", *small_run(run, data, *arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "GLOO_SOCKET_IFNAME": "lo"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(list(map(str, line)), cwd=ROOT, env=environment, **pipes)


def rows(run):
    with open(run / "log_epoch.csv") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_torchrun_trains_validates_and_predicts_as_one_process_does(data, tmp_path):
    """Group norm, no mixing, and no dropout in a UNet: the same batches, so the same log up to rounding."""
    arguments = ("--epochs", 2, "--norm", "group", "--lr_init", 0.001)
    process = launch(tmp_path / "two", data, *arguments)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    seed = json.loads((tmp_path / "two" / "options.json").read_text())["options"]["seed"]
    arguments += ("--seed", seed)  # none was typed: the processes agreed on one
    assert "2 processes" in output
    assert output.count("epoch 0: train loss") == 1, "only one process prints"
    assert train(tmp_path / "one", data, *arguments) == 0
    for two, one in zip(rows(tmp_path / "two"), rows(tmp_path / "one"), strict=True):
        assert float(two["train loss"]) == pytest.approx(float(one["train loss"]), rel=1e-3)
        assert float(two["val loss"]) == pytest.approx(float(one["val loss"]), rel=1e-3)
    assert len(list((tmp_path / "two" / "results_val").iterdir())) == 5


@pytest.mark.slow
def test_validation_counts_every_pixel_once_for_any_number_of_processes(data, tmp_path):
    """The same weights, since the learning rate is nearly 0, validated by one, two and three processes: exactly the same mIoU."""
    logs = []
    for processes in (2, 3):
        run = tmp_path / str(processes)
        arguments = ("--epochs", 1, "--seed", 3, "--lr_init", 1e-30, "--norm", "group", "--batch_size", 6)
        process = launch(run, data, *arguments, processes=processes)
        assert process.wait(300) == 0, process.stdout.read()
        logs.append(rows(run)[0])
    assert train(tmp_path / "1", data, *arguments) == 0
    logs.append(rows(tmp_path / "1")[0])
    assert len({log["miou"] for log in logs}) == 1
    assert len({log["val acc"] for log in logs}) == 1


@pytest.mark.slow
def test_a_batch_that_cannot_be_divided_is_refused(data, tmp_path):
    process = launch(tmp_path / "run", data, "--batch_size", 3, "--epochs", 1)
    output = process.communicate(timeout=120)[0]
    assert process.returncode != 0
    assert "--batch_size 3 is for all 2 processes together" in output


@pytest.mark.slow
def test_a_damaged_image_ends_every_process_with_its_name(tmp_path):
    """The check before training reads headers and ends only; damage in the middle is found in training, by one process."""
    root = make_camvid(tmp_path / "data", (("train", 8), ("val", 2)))
    path = root / "train" / "0001TP_train005.png"
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    path.write_bytes(content)
    began = time.monotonic()
    process = launch(tmp_path / "run", root, "--cache", "off", "--epochs", 1)
    output = process.communicate(timeout=120)[0]
    assert process.returncode != 0
    assert output.count(str(path)) == 1
    assert output.count("baseline.py: error") == 1
    assert output.count("Traceback (most recent call last)") == 1, "torchrun's own"
    assert time.monotonic() - began < 100


@pytest.mark.slow
def test_when_a_process_is_killed_another_says_so_once(data, tmp_path):
    run = tmp_path / "run"
    process = launch(run, data, "--epochs", 40, "--save_minutes", 1e-9)
    while process.poll() is None and not (run / "checkpoint_previous.pth.tar").exists():
        time.sleep(0.02)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(children[-1]), signal.SIGKILL)
    output = process.communicate(timeout=120)[0]
    assert process.returncode != 0
    assert output.count("baseline.py: error") <= 1, "none where torchrun ends the others first"
    assert "Connection closed" not in output
    assert output.count("Traceback (most recent call last)") == 1, "torchrun's own"


@pytest.mark.slow
def test_sigterm_to_torchrun_saves_a_checkpoint(data, tmp_path):
    run = tmp_path / "run"
    arguments = ("--epochs", 40, "--seed", 3, "--resume", "--save_minutes", 1e-9)
    process = launch(run, data, *arguments)
    while process.poll() is None and not (run / "checkpoint.pth.tar").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=120)[0]
    assert process.returncode != 0
    assert "saved; continue with" in output
    state = checkpoint.load(run / "checkpoint.pth.tar")
    assert (state["epoch"], state["step"]) != (39, 0)


@pytest.mark.slow
def test_a_job_with_a_killed_process_restarts_and_reaches_the_same_weights(data, tmp_path):
    arguments = ("--epochs", 8, "--batch_size", 4, "--seed", 3, "--cutmix", "--resume", "--save_minutes", 1e-9)
    untouched = launch(tmp_path / "untouched", data, *arguments)
    output = untouched.communicate(timeout=300)[0]
    assert untouched.returncode == 0, output
    run = tmp_path / "run"
    process = launch(run, data, *arguments, restarts=1)
    while process.poll() is None and not (run / "checkpoint_previous.pth.tar").exists():
        time.sleep(0.02)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(children[-1]), signal.SIGKILL)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    assert re.search(r"resumed   after \d+ epochs and \d+ steps", output)
    states = [checkpoint.load(folder / "checkpoint.pth.tar") for folder in (tmp_path / "untouched", run)]
    assert checkpoint.checksum(states[0]["model_state_dict"]) == checkpoint.checksum(states[1]["model_state_dict"])
    assert rows(run) == rows(tmp_path / "untouched")
