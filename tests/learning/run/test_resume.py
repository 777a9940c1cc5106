"""Stops and kills at any moment: the run that goes on is the run that never stopped."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from commands import SMALL, run_baseline, small_run, snapshot, train
from runs import StopAt, resume, same_end
from steps import CLASSES, batch, training_of
from tiny import make_camvid

import options
from helpers.errors import InputError
from helpers.signals import StopSignals
from learning import checkpoint
from learning.data.datasets import open_dataset
from learning.models import Architecture, build_model
from learning.rng import draw_order
from learning.run import summary
from learning.training import engine
from learning.training.metrics import EpochMetrics
from learning.training.nonfinite import NonFinite
from learning.training.optim import OptimizerSettings, build_optimizer, load_optimizer

ROOT = Path(options.__file__).parent
NUM_KILLS = 20


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard():
    """Also where the tests run in the background, for which shells ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_camvid(tmp_path_factory.mktemp("resume") / "data", (("train", 8), ("val", 3)))


WORDS = ("--epochs", 3, "--seed", 4, "--cutmix", "--copyblob")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run of 3 epochs of 4 steps that nobody stopped."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert train(run, data, *WORDS) == 0
    return run


# ---------------------------------------------------------------------------------------------- stopping


# 4 steps and 2 validation batches an epoch: the first step, within, the last step, in validation, in the second epoch
@pytest.mark.parametrize(
    "reports", [3, 5, *(pytest.param(reports, marks=pytest.mark.slow) for reports in (1, 4, 6, 9, 18))]
)
def test_a_run_that_was_stopped_goes_on_as_if_it_never_was(whole, data, tmp_path, monkeypatch, capsys, reports):
    StopAt(monkeypatch, reports)
    run = tmp_path / "run"
    assert train(run, data, *WORDS) == 143
    err = capsys.readouterr().err
    assert f"continue with: python baseline.py --save_path {run} --resume" in err
    assert resume(run) == 0
    assert same_end(run, whole)


def test_several_stops_in_one_epoch_and_other_workers(whole, data, tmp_path, monkeypatch):
    run = tmp_path / "run"
    StopAt(monkeypatch, 2)
    assert train(run, data, *WORDS) == 143
    StopAt(monkeypatch, 1)
    assert resume(run, "--num_workers", 2) == 143
    assert checkpoint.load(run / "checkpoint.pth.tar")["step"] == 3
    assert resume(run) == 0
    assert same_end(run, whole)


def test_ctrl_c_ends_with_130(data, tmp_path, monkeypatch, capsys):
    StopAt(monkeypatch, 2, signal.SIGINT)
    assert train(tmp_path / "run", data, *WORDS) == 130
    assert "SIGINT" in capsys.readouterr().err


def test_a_second_signal_acts_at_once():
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_long_epochs_are_saved_on_the_way(data, tmp_path, monkeypatch):
    saved = []
    original = checkpoint.save

    def save(state, path, previous=None):
        saved.append((state["epoch"], state.get("step")))
        original(state, path, previous)

    monkeypatch.setattr(checkpoint, "save", save)
    assert train(tmp_path / "run", data, "--epochs", 1, "--save_minutes", 1e-9) == 0
    assert [entry for entry in saved if entry[1]] == [(-1, 1), (-1, 2), (-1, 3), (-1, 4), (-1, 4), (-1, 4)]


def test_resume_starts_what_is_not_there(data, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(run, data, "--epochs", 1, "--seed", 1, "--resume") == 0
    assert "resumed" not in capsys.readouterr().out
    assert train(run, data, "--epochs", 2, "--seed", 1, "--resume") == 0
    assert "resumed   after 1 epochs and 0 steps" in capsys.readouterr().out
    assert resume(run) == 0, "a finished run stays finished"


def test_what_is_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
    assert signals.number == 0
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


# ---------------------------------------------------------------------------------------------- kills


def start(run, data, *words):
    line = [sys.executable, "baseline.py", *small_run(run, data, *words)]
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    return subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def wait_for(path, process, changed_since=None):
    """Wait until a file exists (and is another than at some time), or the process ends."""
    while process.poll() is None and not (path.exists() and path.stat().st_mtime_ns != changed_since):
        time.sleep(0.01)


@pytest.mark.slow
def test_killed_again_and_again_it_ends_as_the_run_that_nobody_killed(data, tmp_path):
    """SIGKILL at random moments, writes included: with --save_minutes near 0 there is one after every step."""
    words = ("--epochs", 30, "--seed", 4, "--cutmix", "--resume", "--save_minutes", 1e-9)
    untouched, run = tmp_path / "untouched", tmp_path / "run"
    assert start(untouched, data, *words).wait() == 0
    chance, kills = random.Random(0), 0
    while kills < NUM_KILLS:
        process = start(run, data, *words)
        last = run / "checkpoint.pth.tar"
        wait_for(last, process, last.stat().st_mtime_ns if last.exists() else None)  # it trains, and writes again
        time.sleep(chance.uniform(0, 0.6))
        process.kill()
        output = process.communicate()[0].decode()
        assert process.returncode == -signal.SIGKILL, f"it ended before the kill {kills}: {output}"
        kills += 1
    process = start(run, data, *words)
    output = process.communicate()[0].decode()
    assert process.returncode == 0, output
    assert same_end(run, untouched)


@pytest.mark.slow
def test_sigterm_to_the_whole_group_of_processes_is_polite(data, tmp_path, whole):
    """As a job scheduler sends it: the loader's workers get it as well."""
    run = tmp_path / "run"
    words = ("--epochs", 3, "--seed", 4, "--cutmix", "--copyblob", "--num_workers", 2, "--save_minutes", 1e-9)
    line = [sys.executable, "baseline.py", *small_run(run, data, *words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(line, cwd=ROOT, start_new_session=True, **pipes)
    wait_for(run / "checkpoint.pth.tar", process)
    os.killpg(process.pid, signal.SIGTERM)
    output = process.communicate()[0].decode()
    assert process.returncode == 143, output
    assert "saved; continue with" in output
    assert resume(run) == 0
    assert same_end(run, whole)


# ---------------------------------------------------------------------------------------------- faults in checkpoints


def test_a_truncated_checkpoint_gives_way_to_the_one_before(data, tmp_path, whole, monkeypatch, capsys):
    StopAt(monkeypatch, 9)
    run = tmp_path / "run"
    assert train(run, data, *WORDS) == 143
    path = run / "checkpoint.pth.tar"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert resume(run) == 0
    err = capsys.readouterr().err
    assert "warning" in err
    assert f"continuing from {run / 'checkpoint_previous.pth.tar'}" in err
    assert same_end(run, whole)


def test_a_flipped_bit_is_noticed(whole, tmp_path):
    path = tmp_path / "checkpoint.pth.tar"
    content = bytearray((whole / "checkpoint.pth.tar").read_bytes())
    content[len(content) // 2] ^= 1  # within the weights
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        checkpoint.load(path)


def test_without_both_checkpoints_nothing_goes_on(data, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(run, data, "--epochs", 2) == 0
    for name in ("checkpoint.pth.tar", "checkpoint_previous.pth.tar"):
        (run / name).write_bytes(b"no checkpoint")
    assert resume(run, "--epochs", 3) == 2
    assert "is not a checkpoint" in capsys.readouterr().err


@pytest.mark.slow
def test_a_full_disk_costs_nothing_that_was_saved(data, tmp_path):
    """A limit on the size of files stands for the disk: the write fails in the middle."""
    run = tmp_path / "run"
    assert train(run, data, "--epochs", 1, "--seed", 1) == 0
    before = {name: (run / name).read_bytes() for name in ("checkpoint.pth.tar", "best_weights.pth.tar")}
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000));"
        "import baseline; from helpers.errors import exit_status;"
        "sys.exit(exit_status('baseline.py', baseline.main, sys.argv[1:]))"
    )
    words = [
        "--save_path",
        str(run),
        "--resume",
        "--epochs",
        "2",
        "--device",
        "cpu",
        "--cache",
        "off",
        "--num_workers",
        "0",
    ]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "cannot write" in done.stderr
    assert "make room" in done.stderr
    assert {name: (run / name).read_bytes() for name in before} == before
    assert not list(run.glob("*.tmp"))
    assert resume(run, "--epochs", 2) == 0


@pytest.mark.parametrize("moment", ["open", "write", "flush", "rename"])
def test_a_write_that_fails_anywhere_leaves_what_was_there(tmp_path, monkeypatch, moment):
    path, previous = tmp_path / "checkpoint.pth.tar", tmp_path / "checkpoint_previous.pth.tar"
    for number in (1, 2):
        checkpoint.save({"model_state_dict": {"w": torch.full((3,), float(number))}}, path, previous)
    before = path.read_bytes(), previous.read_bytes()

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    target = {"open": ("builtins.open",), "write": (torch, "save"), "flush": (os, "fsync"), "rename": (os, "replace")}[
        moment
    ]
    with monkeypatch.context() as patch:
        patch.setattr(*target, fail)
        with pytest.raises(InputError, match="cannot write"):
            checkpoint.save({"model_state_dict": {"w": torch.zeros(3)}}, path, previous)
    assert path.read_bytes() == before[0]
    assert checkpoint.load(previous)["model_state_dict"]["w"][0] in (1, 2)
    assert not list(tmp_path.glob("checkpoint.pth.tar.tmp"))


# ---------------------------------------------------------------------------------------------- options


def test_what_may_change_on_the_way_and_what_may_not(data, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(run, data, "--epochs", 1, "--seed", 1) == 0
    assert resume(run, "--epochs", 2, "--lr_init", 0.5) == 2
    err = capsys.readouterr().err
    assert "--lr_init 0.5 differs from the run's 0.01" in err
    assert "--override" in err
    assert resume(run, "--epochs", 2, "--lr_init", 0.5, "--override") == 0
    assert "override: --lr_init 0.5, the run's was 0.01" in capsys.readouterr().err
    stored = json.loads((run / "options.json").read_text())
    assert stored["overrides"] == [{"epoch": 1, "step": 0, "option": "lr_init", "from": 0.01, "to": 0.5}]
    assert stored["options"]["lr_init"] == 0.5
    assert resume(run, "--epochs", 3) == 0
    assert len(checkpoint.load(run / "checkpoint.pth.tar")["overrides"]) == 1


@pytest.mark.slow
def test_what_only_decides_the_start_is_refused_on_a_resumed_run(data, tmp_path, capsys):
    """With and without --override, and before anything is written; the run's own value is no change."""
    run = tmp_path / "run"
    assert train(run, data, "--epochs", 1, "--seed", 1, "--model", "UNet_resnet34") == 0
    before = (run / "checkpoint.pth.tar").read_bytes(), (run / "options.json").read_bytes()
    for words in (("--pretrained", run / "best_weights.pth.tar"), ("--zero_init",)):
        for override in ((), ("--override",)):
            capsys.readouterr()
            assert resume(run, "--epochs", 2, *words, *override) == 2
            err = capsys.readouterr().err
            assert err.count("\n") == 1
            assert f"{words[0]} decides how a run starts" in err
    assert before == ((run / "checkpoint.pth.tar").read_bytes(), (run / "options.json").read_bytes())
    assert resume(run, "--override", "--no-zero_init") == 0


@pytest.mark.parametrize(("option", "value"), [("norm", "evo"), ("model", "UNet_resnet34")])
def test_an_override_that_changes_the_weights_names_its_option(data, tmp_path, capsys, option, value):
    run = tmp_path / "run"
    assert train(run, data, "--epochs", 1, "--seed", 1) == 0
    capsys.readouterr()
    assert resume(run, "--epochs", 2, "--override", f"--{option}", value) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"was trained with --{option} " in line
    assert f"--{option} is {value}" in line
    assert "fit :" not in line


def test_combinations_are_judged_by_all_options_of_the_run(data, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(run, data, "--epochs", 1, "--resume", "--compile", "--checkpoint_blocks") == 2
    assert "leave out --checkpoint_blocks" in capsys.readouterr().err
    assert not run.exists()
    assert train(run, data, "--epochs", 3, "--warmup_epochs", 2) == 0
    assert resume(run, "--warmup_epochs", 2) == 0, "and --epochs 3 is the run's"


def test_other_data_need_override(tmp_path, capsys):
    data, run = make_camvid(tmp_path / "data"), tmp_path / "run"
    assert train(run, data, "--epochs", 1) == 0
    make_camvid(data, seed=9)
    assert resume(run, "--epochs", 2) == 2
    assert "not those of the run" in capsys.readouterr().err
    assert resume(run, "--epochs", 2, "--override") == 0


# ---------------------------------------------------------------------------------------------- numbers that go wrong


def broken(images):
    """The batch with one value that is no number."""
    images = images.clone()
    images[0, 0, 0, 0] = float("nan")
    return images


def test_a_bad_step_is_left_out_and_stops_the_run(tmp_path):
    model = build_model(Architecture("UNet", CLASSES, "batch"), 0)
    batches = [batch(1), batch(2)]
    batches[1] = broken(batches[1][0]), batches[1][1]
    training = training_of(model)
    engine.train_epoch(training, batches[:1], EpochMetrics(CLASSES, "cpu"), 0, lambda *_: None)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    with pytest.raises(NonFinite) as caught:
        engine.train_epoch(training, batches[1:], EpochMetrics(CLASSES, "cpu"), 0, lambda *_: None, first_step=1)
    assert caught.value.step == 1
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())


def test_tolerated_steps_leave_no_trace():
    """Neither in the weights and the momentum nor in the running statistics."""
    good = [batch(1), batch(2)]
    bad = broken(good[0][0]), good[0][1]
    models = [build_model(Architecture("UNet", CLASSES, "batch"), 0) for _ in range(2)]
    for model, batches in zip(models, (good, [good[0], bad, bad, good[1]]), strict=True):
        engine.train_epoch(training_of(model, tolerated=2), batches, EpochMetrics(CLASSES, "cpu"), 0, lambda *_: None)
    states = [{k: v for k, v in model.state_dict().items() if "num_batches" not in k} for model in models]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    with pytest.raises(NonFinite):
        engine.train_epoch(
            training_of(models[0], tolerated=2), [bad] * 3, EpochMetrics(CLASSES, "cpu"), 0, lambda *_: None
        )


def test_an_infinite_gradient_of_a_finite_loss_is_noticed():
    model = build_model(Architecture("UNet", CLASSES, "group"), 0)
    model.classifier.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(NonFinite) as caught:
        engine.train_epoch(training_of(model), [batch(1)], EpochMetrics(CLASSES, "cpu"), 0, lambda *_: None)
    assert torch.tensor(caught.value.loss).isfinite()
    assert not torch.tensor(caught.value.gradient).isfinite()


def test_a_run_that_explodes_says_where_and_can_be_replayed(data, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(run, data, "--epochs", 5, "--seed", 1, "--lr_init", 1e30) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    for words in ("epoch 0, step 1", "0001TP_train", "lower --lr_init", f"--replay {run / 'nonfinite.pth.tar'}"):
        assert words in err
    stored = checkpoint.load(run / "nonfinite.pth.tar")
    assert len(stored["files"]) == 2
    weights = stored["model_state_dict"].items()
    assert all(value.isfinite().all() for name, value in weights if "running" not in name)
    assert run_baseline("--replay", run / "nonfinite.pth.tar", "--device", "cpu") == 1
    out = capsys.readouterr().out
    assert "it happened again" in out
    assert stored["files"][0] in out


def step_samples(data, step):
    """The images of a step of epoch 0 of a run with seed 1 and batch size 2."""
    samples = open_dataset("camvid", data).split("train")
    return [samples[draw] for draw in draw_order(1, 0, len(samples), 2)[step]]


def test_a_replay_of_other_images_is_refused(data, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(run, data, "--epochs", 1, "--seed", 1) == 0
    state = checkpoint.load(run / "checkpoint.pth.tar")
    checkpoint.save(state | {"epoch": 0, "step": 1, "files": ["a.png", "b.png"]}, run / "nonfinite.pth.tar")
    assert run_baseline("--replay", run / "nonfinite.pth.tar", "--device", "cpu") == 2
    assert "are not those of the data" in capsys.readouterr().err
    assert run_baseline("--replay", run / "nonfinite.pth.tar", "--predict") == 2


def test_a_first_step_that_is_left_out_leaves_no_trace():
    """torch makes the momentum in the first step, and leaves it undefined where that step is left out."""
    good = [batch(1), batch(2)]
    bad = broken(good[0][0]), good[0][1]
    models = [build_model(Architecture("UNet", CLASSES, "group"), 0) for _ in range(2)]
    for model, batches in zip(models, (good, [bad, *good]), strict=True):
        training, metrics = training_of(model, tolerated=2), EpochMetrics(CLASSES, "cpu")
        training.optimizer = build_optimizer(model, OptimizerSettings("sgd", 0.1, 0.9, 0.0))
        engine.train_epoch(training, batches, metrics, 0, lambda *_: None)
        assert metrics.mean_loss() > 0, "what was left out does not count"
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))


def test_momentum_follows_the_memory_format_of_its_weights():
    weight = torch.nn.Parameter(torch.randn(4, 3, 2, 2).contiguous(memory_format=torch.channels_last))
    model = torch.nn.ParameterList([weight])
    optimizer = build_optimizer(model, OptimizerSettings("sgd", 0.1, 0.9, 0.0))
    state = optimizer.state_dict()
    state["state"][0]["momentum_buffer"] = torch.randn(4, 3, 2, 2)
    load_optimizer(optimizer, state)
    buffer = optimizer.state[weight]["momentum_buffer"]
    assert buffer.stride() == weight.stride()
    assert torch.equal(buffer, state["state"][0]["momentum_buffer"])


@pytest.mark.slow
def test_an_unexpected_error_ends_the_program_although_workers_are_polite(data, tmp_path):
    code = (
        "import sys, baseline\n"
        "def fail(*_):\n    raise ValueError('unexpected')\n"
        "from learning.run import progress\n"
        "progress.make_report = lambda *_: fail\n"
        "baseline.main(sys.argv[1:])"
    )
    words = ["--save_path", tmp_path / "run", "--dataset", "camvid", "--dataset_path", data, *SMALL, "--num_workers", 2]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "ValueError: unexpected" in done.stderr


def test_a_stop_in_the_last_validation_is_heard(whole, data, tmp_path, monkeypatch):
    original = summary.diagnose

    def diagnose(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        original(*args)

    monkeypatch.setattr(summary, "diagnose", diagnose)
    assert train(tmp_path / "run", data, "--epochs", 1) == 143


def test_the_damaged_checkpoint_does_not_replace_the_good_one(data, tmp_path, monkeypatch):
    run = tmp_path / "run"
    assert train(run, data, "--epochs", 2, "--seed", 1) == 0
    path = run / "checkpoint.pth.tar"
    path.write_bytes(path.read_bytes()[:-5000])
    StopAt(monkeypatch, 1)
    assert resume(run) == 143
    for name in ("checkpoint.pth.tar", "checkpoint_previous.pth.tar"):
        checkpoint.load(run / name)
    assert (run / "checkpoint_damaged.pth.tar").exists()


def test_damaged_best_weights_are_as_good_as_none(data, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(run, data, "--epochs", 1) == 0
    (run / "best_weights.pth.tar").write_bytes(b"damaged")
    assert resume(run) == 2
    assert resume(run, "--epochs", 2) == 0
    assert "counts as the best so far" in capsys.readouterr().err


def test_a_log_that_was_lost_is_written_again(data, tmp_path):
    run = tmp_path / "run"
    assert train(run, data, "--epochs", 1) == 0
    log = (run / "log_epoch.csv").read_text()
    (run / "log_epoch.csv").unlink()
    assert resume(run) == 0
    assert (run / "log_epoch.csv").read_text() == log


def test_the_line_of_a_job_script_works_every_time(data, tmp_path, monkeypatch):
    """With a relative path to weights, and another checkpoint to begin with."""
    torch.save(build_model(Architecture("UNet", 11, "batch"), 5).state_dict(), tmp_path / "weights.pth")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert train(tmp_path / "run", data, "--epochs", 1, "--resume", "--pretrained", "weights.pth") == 0
    for epochs in (2, 3):
        words = ("--epochs", epochs, "--weights", tmp_path / "run" / "checkpoint.pth.tar", "--resume")
        assert run_baseline("--save_path", tmp_path / "other", "--device", "cpu", *words) == 0


def test_a_step_that_was_fine_replays_as_fine(data, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(run, data, "--epochs", 1, "--seed", 1) == 0
    state = checkpoint.load(run / "checkpoint.pth.tar")
    names = [sample.image.name for sample in step_samples(data, 1)]
    checkpoint.save(state | {"epoch": 0, "step": 1, "files": names}, run / "nonfinite.pth.tar")
    assert run_baseline("--replay", run / "nonfinite.pth.tar", "--device", "cpu") == 0
    assert "did not happen again" in capsys.readouterr().out
    assert run_baseline("--replay", run / "best_weights.pth.tar", "--device", "cpu") == 2
    assert "expected the nonfinite.pth.tar" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------- weights from elsewhere


def test_the_tutorials_twenty_outputs_lose_void(tmp_path):
    model = build_model(Architecture("UNet", 19, "batch"), 0)
    weights = {
        f"module.{name}": value
        for name, value in build_model(Architecture("UNet", 20, "batch"), 1).state_dict().items()
    }
    torch.save({"epoch": 3, "model_state_dict": weights, "best_miou": 0.5, "metrics": {}}, tmp_path / "old.pth.tar")
    state = checkpoint.load(tmp_path / "old.pth.tar")
    checkpoint.load_weights(model, state, "old", {})
    assert torch.equal(model.classifier.weight, weights["module.classifier.weight"][:19])
    loaded, skipped = checkpoint.load_pretrained(
        build_model(Architecture("UNet", 19, "batch"), 2), tmp_path / "old.pth.tar"
    )
    assert len(loaded) == len(weights)
    assert skipped == {}


def test_pretrained_says_what_was_left_out(data, tmp_path, capsys):
    other = build_model(Architecture("UNet", 7, "batch"), 0)
    torch.save(other.state_dict() | {"more": torch.zeros(2)}, tmp_path / "weights.pth")
    assert train(tmp_path / "run", data, "--epochs", 1, "--pretrained", tmp_path / "weights.pth") == 0
    out = capsys.readouterr().out
    assert "left out: classifier.weight (7 x 8 x 1 x 1 instead of 11 x 8 x 1 x 1)" in out
    assert "left out: more (the model has no such weight)" in out


@pytest.mark.slow
@pytest.mark.usefixtures("small_resnets")
def test_a_frozen_backbone_stays_as_it_is(data, tmp_path, capsys):
    torch.save(build_model(Architecture("DeepLabv3_resnet50", 11, "batch"), 5).state_dict(), tmp_path / "weights.pth")
    words = ("--model", "DeepLabv3_resnet50", "--pretrained", tmp_path / "weights.pth", "--freeze", "backbone")
    assert train(tmp_path / "run", data, "--epochs", 1, *words) == 0
    before, after = (
        checkpoint.load(path)["model_state_dict"]
        for path in (tmp_path / "weights.pth", tmp_path / "run" / "checkpoint.pth.tar")
    )
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("backbone"))
    assert not torch.equal(before["classifier.4.weight"], after["classifier.4.weight"])
    capsys.readouterr()
    assert train(tmp_path / "other", data, "--freeze", "backbone") == 2
    assert "--freeze keeps weights that --pretrained loads" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------- finished runs


def states(folder):
    """dict: path of every file -> its content and time stamp."""
    return {name: (content, (folder / name).stat().st_mtime_ns) for name, content in snapshot(folder).items()}


@pytest.mark.parametrize("words", [("--epochs", 1), ("--steps", 3), ("--overfit", 2, "--epochs", 1)])
def test_a_finished_run_is_left_alone_and_says_so(data, tmp_path, monkeypatch, capsys, words):
    run = tmp_path / "run"
    assert train(run, data, "--seed", 1, *words) == 0
    if "--overfit" not in words:
        assert run_baseline("--save_path", run, "--predict", "--mst", "--device", "cpu") == 0
    before = states(run)
    capsys.readouterr()
    monkeypatch.setattr("learning.run.build.build_run", lambda _: pytest.fail("nothing is built"))
    assert resume(run) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    option = "--steps" if "--steps" in words else "--epochs"
    assert all(word in out for word in (str(run), "finished", f"{option} N", "--predict"))
    assert states(run) == before


@pytest.mark.parametrize("what", ["missing", "incomplete", "of earlier weights"])
def test_a_finished_run_without_its_prediction_gets_only_that(whole, data, tmp_path, capsys, what):
    """As a kill in the last prediction leaves it."""
    run = tmp_path / "run"
    shutil.copytree(whole, run, copy_function=shutil.copy2)
    results = run / "results_val"
    if what == "missing":
        shutil.rmtree(results)
    elif what == "incomplete":
        next(results.iterdir()).unlink()
    else:
        for path in results.iterdir():
            os.utime(path, ns=(0, 0))
    kept = {name: state for name, state in states(run).items() if not name.startswith("results_")}
    capsys.readouterr()
    assert resume(run) == 0
    out = capsys.readouterr().out
    assert "is finished" in out
    assert "3 val images predicted" in out
    assert snapshot(results) == snapshot(whole / "results_val")
    assert {name: state for name, state in states(run).items() if not name.startswith("results_")} == kept


@pytest.mark.parametrize("entries", [{"epoch": "three"}, {"metrics": 5}, {"best_miou": [1]}])
def test_a_damaged_checkpoint_of_a_finished_run_is_refused_in_one_line(whole, tmp_path, capsys, entries):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / "checkpoint_previous.pth.tar").unlink()
    checkpoint.save(checkpoint.load(run / "checkpoint.pth.tar") | entries, run / "checkpoint.pth.tar")
    capsys.readouterr()
    assert resume(run) == 2
    assert capsys.readouterr().err.count("error: ") == 1
