"""Length of a run: --steps, --time_budget with a clock of its own, --validate_every, averages; stopped and continued."""

import csv
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import run_baseline, small_run, stored_options, train
from runs import StopAt, resume, same_end
from tiny import make_camvid

import options
from helpers.errors import InputError
from learning import checkpoint
from learning.data.loaders import EvalBatches
from learning.run import build, setup, summary, time_budget
from learning.run.time_budget import Pace

ROOT = Path(options.__file__).parent
EVERYTHING = ("--optimizer", "adamw", "--ema", 0.9, "--no-decay_norms", "--schedule", "poly", "--seed", 4)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """4 steps an epoch, 2 validation batches."""
    return make_camvid(tmp_path_factory.mktemp("budget") / "data", (("train", 8), ("val", 3)))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run of 2 and a half epochs that nobody stopped."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert train(run, data, "--steps", 10, *EVERYTHING) == 0
    return run


def rows(run):
    with open(run / "log_epoch.csv") as file:
        return list(csv.DictReader(file))


def last(run):
    return checkpoint.load(run / "checkpoint.pth.tar")


def same_weights(one, other):
    return checkpoint.checksum(one) == checkpoint.checksum(other)


# ---------------------------------------------------------------------------------------------- steps


def test_a_run_of_steps_ends_within_an_epoch(whole):
    state = last(whole)
    assert len(rows(whole)) == 3
    assert (state["epoch"], state["step"]) == (1, 2), "the last whole epoch, and the steps of the cut one"
    assert all(float(values["step"]) == 10 for values in state["optimizer_state_dict"]["state"].values())
    assert int(state["average"]["updates"]) == 10
    assert (stored_options(whole)["steps"], stored_options(whole)["epochs"]) == (10, 3)
    assert float(rows(whole)[-1]["lr"]) == pytest.approx(1e-3 * 0.1**0.9), "9 of 10 steps of the schedule are behind"
    assert float(rows(whole)[0]["lr"]) == pytest.approx(1e-3 * 0.7**0.9)


def test_the_average_is_what_is_validated_and_kept(whole):
    state, best = last(whole), checkpoint.load(whole / "best_weights.pth.tar")
    assert not same_weights(state["model_state_dict"], state["average"]["model_state_dict"])
    names = list(state["model_state_dict"])
    assert list(state["average"]["model_state_dict"]) == names == list(best["model_state_dict"])


# 4 steps and 2 validation batches an epoch: in the first epoch and again after the last step; in the last validation
@pytest.mark.slow
@pytest.mark.parametrize("stops", [(2, 12), (13, 2)])
def test_stopped_and_continued_it_is_the_same_run(whole, data, tmp_path, monkeypatch, capsys, stops):
    run = tmp_path / "run"
    StopAt(monkeypatch, stops[0])
    assert train(run, data, "--steps", 10, *EVERYTHING) == 143
    StopAt(monkeypatch, stops[1])
    assert resume(run) == 143
    assert last(run)["step"] == 2
    assert resume(run) == 0
    assert same_end(run, whole)
    assert same_weights(last(run)["average"], last(whole)["average"])
    with open(run / "log_time.csv") as file:
        speeds = [row["images/s"] for row in csv.DictReader(file)]
    assert speeds[-1] == "nan", "no step was left for the last program"
    for length, answer in (("--steps", "--steps 9: the run has taken 10 already"), ("--epochs", "length is --steps")):
        assert resume(run, length, 9) == 2
        assert answer in capsys.readouterr().err


@pytest.mark.slow
def test_a_cut_epoch_is_finished_when_the_run_is_made_longer(whole, data, tmp_path):
    """Its row is replaced, no image is left out, and the whole epoch's counts are in it."""
    run = tmp_path / "run"
    run.mkdir()
    for path in whole.glob("*.*"):
        if path.is_file():
            (run / path.name).write_bytes(path.read_bytes())
    assert resume(run) == 0, "a finished run stays finished"
    assert same_end(run, whole)
    assert resume(run, "--steps", 13) == 0
    state = last(run)
    assert (state["epoch"], state["step"]) == (2, 1)
    assert int(state["average"]["updates"]) == 13
    assert len(rows(run)) == 4
    assert rows(run)[:2] == rows(whole)[:2]
    assert rows(run)[2] != rows(whole)[2]


@pytest.mark.slow
def test_steps_of_whole_epochs_are_those_epochs(data, tmp_path):
    assert train(tmp_path / "epochs", data, "--epochs", 1, "--seed", 2, "--nesterov") == 0
    assert train(tmp_path / "steps", data, "--steps", 4, "--seed", 2, "--nesterov") == 0
    assert same_end(tmp_path / "epochs", tmp_path / "steps")


# ---------------------------------------------------------------------------------------------- time budget


@pytest.mark.slow
def test_a_budget_of_time_is_the_run_of_the_steps_it_fixed(whole, data, tmp_path, monkeypatch, capsys):
    """Bit for bit, although steps, validation, saving and drawing were really measured before."""
    monkeypatch.setattr(Pace, "steps_within", lambda *_: 10)
    run = tmp_path / "run"
    StopAt(monkeypatch, 3)
    assert train(run, data, "--time_budget", 5, *EVERYTHING) == 143
    assert (stored_options(run)["steps"], stored_options(run)["time_budget"]) == (10, 5.0)
    assert resume(run, "--time_budget", 5) == 0, "the line of a job script, a second time"
    assert same_end(run, whole)
    assert same_weights(last(run)["average"], last(whole)["average"])
    assert "of 5:00" in capsys.readouterr().out
    assert not [path for path in run.iterdir() if path.name.startswith(".")]
    assert last(run)["options"]["steps"] == 10


class FakeClock:
    """Stands still but for what the test says that things take."""

    def __init__(self):
        self.time = 1000.0

    def __call__(self):
        return self.time

    def takes(self, seconds, function):
        """The function, which takes so long from now on."""

        def slow(*args, **kwargs):
            self.time += seconds
            return function(*args, **kwargs)

        return slow


def test_the_number_of_steps_by_hand(data, tmp_path, monkeypatch):
    """Half a second a step, 2 s a validation batch, 3 s a checkpoint and 1 s to draw: 4 steps of an epoch take 2 s,
    its validation 4 + 3 + 1 s, and 3 s with the best weights. 60 s after 7 s of preparation and 100 s of other things."""
    words = small_run(tmp_path / "run", data, "--time_budget", 3, "--seed", 1)
    command, clock = setup.setup_run(words), FakeClock()
    run = build.build_run(command)
    run.training.mix = clock.takes(0.5, run.training.mix)
    batches = EvalBatches.__iter__
    monkeypatch.setattr(EvalBatches, "__iter__", lambda self: map(clock.takes(2.0, lambda batch: batch), batches(self)))
    monkeypatch.setattr(checkpoint, "save", clock.takes(3.0, checkpoint.save))
    before = checkpoint.checksum({"it": run.network.model.state_dict()})
    paces = []
    within = Pace.steps_within
    monkeypatch.setattr(
        Pace, "steps_within", lambda self, left, *rest: paces.append((self, left)) or within(self, left, *rest)
    )
    budget = time_budget.Budget(3.0, clock() - 50, 2.0, 0, clock)
    longer = time_budget.fix_steps(run, command.folder, budget, clock.takes(1.0, lambda *_: None))
    ((pace, left),) = paces
    assert pace == Pace(step=0.5, epoch=0.0, validation=11.0, saving=3.0, save_every=120.0)
    steps = 2 + 1 + budget_steps(0.03 * 180 / 0.5)
    assert left == 180 - 50 - steps * 0.5 - 4 * 2.0 - 2 * 3.0 - 2 * 1.0
    # An epoch is 2 + 11 = 13 s.
    expected = 4 * int(left // 13)
    rest = left % 13 - 11
    expected += max(0, int(rest // 0.5))
    assert longer.options["steps"] == expected == longer.length.total_steps
    assert longer.options["epochs"] == math.ceil(expected / 4)
    assert longer.training.rate_at(0, 0) == run.training.rate_at(0, 0)
    assert longer.training.rate_at.length == longer.length
    assert checkpoint.checksum({"it": run.network.model.state_dict()}) == before
    assert not any(value.any() for values in run.training.optimizer.state.values() for value in values.values())


def budget_steps(number):
    return max(time_budget.LEAST, min(time_budget.MOST, int(number)))


def test_a_budget_that_is_too_small_is_refused(data, tmp_path, capsys):
    assert train(tmp_path / "run", data, "--time_budget", 1e-6) == 2
    error = capsys.readouterr().err
    assert "--time_budget 1e-06 is too short" in error
    assert "a step takes" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("minutes", "workers"), [(1, 0), (1, 8), (4, 8)])
def test_measuring_takes_a_bounded_share_and_the_shortest_budget_is_named(
    data, tmp_path, monkeypatch, minutes, workers
):
    """6 s a step and 4 s a validation batch: the 23 steps that are measured at least would take 138 s."""
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    command = setup.setup_run(small_run(tmp_path / "run", data, "--time_budget", 1, "--seed", 1))
    clock, took = FakeClock(), []
    run = build.build_run(command)
    run.training.mix = clock.takes(6.0, run.training.mix)
    batches = EvalBatches.__iter__
    monkeypatch.setattr(EvalBatches, "__iter__", lambda self: map(clock.takes(4.0, lambda batch: batch), batches(self)))
    monkeypatch.setattr(checkpoint, "save", clock.takes(0.5, checkpoint.save))
    shown = clock.takes(0.25, lambda *_: None)

    def fixed(minutes, spent):
        began = clock()
        budget = time_budget.Budget(minutes, began - spent, 2.0, workers, clock)
        try:
            return time_budget.fix_steps(run, command.folder, budget, shown).options["steps"]
        finally:
            took.append((clock() - began) / 60 / minutes)

    assert fixed(minutes, 10) > 0, "there is still time"
    pieces = 6 + 4 + 2 * 0.5 + 2 * 0.25  # the one that is running at the limit, and what is measured once
    assert took[-1] <= time_budget.LIMIT + time_budget.VALIDATION_LIMIT + pieces / 60 / minutes
    with pytest.raises(InputError, match=r"too short .* about --time_budget [\d.]+$") as error:
        fixed(minutes, 60 * minutes - 20)
    named = float(str(error.value).split()[-1])
    startup = 60 * minutes - 20
    assert 60 * named > startup + 6 + 2 * 4
    assert 60 * named < 2 * (startup + 6 + 2 * 4)
    assert fixed(named, startup) > 0


def test_a_budget_that_is_far_too_short_is_refused_before_the_first_step(data, tmp_path, monkeypatch):
    """By a small image, which here takes a second for 128x128 pixels; the fastest of three counts."""
    command = setup.setup_run(small_run(tmp_path / "run", data, "--time_budget", 1))
    clock = FakeClock()
    run = build.build_run(command)
    waits = iter([60.0, 1.0, 7.0])
    run.network.model.register_forward_pre_hook(lambda *_: setattr(clock, "time", clock.time + next(waits)))
    monkeypatch.setattr(time_budget, "measure", lambda *_: pytest.fail("measured"))
    budget = time_budget.Budget(0.01, clock(), 2.0, 0, clock)
    with pytest.raises(InputError, match=r"a step takes about 1\.5 s, a validation about 0\.75 s"):
        time_budget.fix_steps(run, command.folder, budget)


def test_the_shortest_budget_is_rounded_up_to_two_digits():
    pace = Pace(1.0, 0.0, 10.0)
    exact = time_budget.MARGIN * (1000 + 11 + 11) / (1 - time_budget.LIMIT - time_budget.VALIDATION_LIMIT) / 60
    assert exact < time_budget._shortest(1000, pace) <= exact + 1
    assert f"{time_budget._shortest(1000, pace):g}" == str(math.ceil(exact))


# ---------------------------------------------------------------------------------------------- rarer validation


def test_epochs_without_validation(data, tmp_path, monkeypatch, capsys):
    words = ("--epochs", 4, "--validate_every", 3, "--seed", 2, "--lr_init", 0.001, "--save_minutes", 600)
    run, saved, save = tmp_path / "run", [], checkpoint.save
    monkeypatch.setattr(
        checkpoint,
        "save",
        lambda state, path, *rest: saved.append((path.name, state["epoch"])) or save(state, path, *rest),
    )
    assert train(run, data, *words) == 0
    assert [epoch for name, epoch in saved if name == "checkpoint.pth.tar"] == [2, 3], (
        "short epochs do not wait for a disk"
    )
    out = capsys.readouterr().out
    assert out.count("not validated") == 2
    table = rows(run)
    assert [row["miou"] == "nan" for row in table] == [True, True, False, False]
    assert all(math.isfinite(float(row["train miou"])) for row in table)
    assert len(list((run / "images").glob("*_epoch_*.png"))) == 2 * 2, "two images of two validations"
    best = checkpoint.load(run / "best_weights.pth.tar")
    assert best["miou"] == pytest.approx(max(float(row["miou"]) for row in table[2:]))


@pytest.mark.slow
def test_a_kill_between_two_validations(data, tmp_path, monkeypatch):
    """What was not saved is done again, and the log has no row twice."""
    words = ("--epochs", 4, "--validate_every", 2, "--seed", 2)
    run, killed, show = tmp_path / "run", tmp_path / "killed", summary.show_epoch
    assert train(run, data, *words) == 0

    def kill(data, run, history, shown):
        show(data, run, history, shown)
        assert len(history["miou"]) < 3, "killed"

    monkeypatch.setattr(summary, "show_epoch", kill)
    with pytest.raises(AssertionError, match="killed"):
        train(killed, data, *words)
    monkeypatch.undo()
    assert len(rows(killed)) == 3
    assert last(killed)["epoch"] == 1, "the last that was validated"
    assert resume(killed) == 0
    assert same_end(run, killed)


@pytest.mark.slow
def test_a_stop_before_the_first_validation(data, tmp_path, monkeypatch, capsys):
    words = ("--epochs", 4, "--validate_every", 3, "--seed", 2, "--lr_init", 0.001)
    run, stopped = tmp_path / "run", tmp_path / "stopped"
    assert train(run, data, *words) == 0
    StopAt(monkeypatch, 6)
    assert train(stopped, data, *words) == 143
    assert not (stopped / "best_weights.pth.tar").exists()
    assert resume(stopped) == 0
    assert "note:" not in capsys.readouterr().err
    assert same_end(run, stopped)


# ---------------------------------------------------------------------------------------------- command line


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--steps", "0"), ("--steps 0", "at least 1")),
        (("--time_budget", "0"), ("--time_budget", "minutes above 0")),
        (("--time_budget", "5", "--dry_run"), ("--dry_run", "leave out --time_budget")),
        (("--ema", "1"), ("--ema 1", "below 1")),
        (("--validate_every", "0"), ("--validate_every 0",)),
        (("--nesterov", "--optimizer", "adamw"), ("--nesterov", "--optimizer sgd")),
        (("--nesterov", "--lr_momentum", "0"), ("--nesterov", "--lr_momentum")),
        (("--lr_backbone", "0.1"), ("--lr_backbone", "no backbone")),
        (("--steps", "8", "--warmup_epochs", "2"), ("--warmup_epochs 2 takes 8 steps", "has 8")),
        (("--optimizer", "adam"), ("adam", "adamw")),
        (("--schedule", "step"), ("step", "poly")),
    ],
)
def test_what_cannot_work_is_refused(tmp_path, data, capsys, words, expected):
    assert train(tmp_path / "run", data, *words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in expected), error


def test_the_length_of_a_run_keeps_its_kind(whole, tmp_path, data, capsys):
    assert resume(whole, "--epochs", 5) == 2
    assert "the run's length is --steps 10" in capsys.readouterr().err
    assert resume(whole, "--time_budget", 5, "--override") == 2
    assert "for the start of a run" in capsys.readouterr().err
    assert resume(whole, "--ema", 0.5) == 2
    assert "--ema 0.5 differs from the run's 0.9" in capsys.readouterr().err


@pytest.mark.slow
def test_what_override_adds_begins_anew(whole, tmp_path, data, capsys):
    """Another optimizer and no average any more; then an average again."""
    run = tmp_path / "run"
    words = ("--weights", whole / "checkpoint.pth.tar", "--override", "--device", "cpu", "--save_path", run)
    changes = ("--steps", 11, "--optimizer", "sgd", "--ema", 0.99, "--lr_weight_decay", 0)
    assert run_baseline(*words, *changes) == 0
    state = last(run)
    assert set(state["optimizer_state_dict"]["state"][0]) == {"momentum_buffer"}
    assert {group["weight_decay"] for group in state["optimizer_state_dict"]["param_groups"]} == {0}
    assert int(state["average"]["updates"]) == 11


@pytest.mark.slow
def test_predictions_of_a_checkpoint_are_those_of_its_average(whole, tmp_path):
    folders = tmp_path / "one", tmp_path / "other"
    state = last(whole)
    average = {"model_state_dict": state["average"]["model_state_dict"], "options": state["options"]}
    checkpoint.save(average, tmp_path / "average.pth.tar")
    for folder, weights in zip(folders, (whole / "checkpoint.pth.tar", tmp_path / "average.pth.tar"), strict=True):
        assert run_baseline("--predict", "--weights", weights, "--save_path", folder, "--device", "cpu") == 0
    one, other = ({p.name: p.read_bytes() for p in (folder / "results_val").iterdir()} for folder in folders)
    assert one == other


def test_defaults_of_rates_belong_to_the_optimizer(data, tmp_path):
    for words, expected in (
        ((), (1e-2, 1e-4)),
        (("--optimizer", "adamw"), (1e-3, 1e-2)),
        (("--lr_init", 0.3), (0.3, 1e-4)),
    ):
        training = setup.setup_run(small_run(tmp_path / "run", data, *words)).options.training
        assert (training.lr_init, training.lr_weight_decay) == expected


@pytest.mark.slow
def test_two_processes_agree_on_the_steps_and_keep_one_average(data, tmp_path):
    run = tmp_path / "run"
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "baseline.py"]
    words = ("--time_budget", 0.5, "--ema", 0.9, "--seed", 3, "--resume")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [*line, *small_run(run, data, *words)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    steps = stored_options(run)["steps"]
    assert int(last(run)["average"]["updates"]) == steps
    assert len(rows(run)) == math.ceil(steps / 4)
    again = tmp_path / "again"
    words = ("--steps", steps, "--ema", 0.9, "--seed", 3)
    done = subprocess.run(
        [*line, *small_run(again, data, *words)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert same_end(run, again)
    assert same_weights(last(run)["average"], last(again)["average"])
