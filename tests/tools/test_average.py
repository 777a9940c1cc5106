"""Averaged weights and reestimated statistics against plain references; the new run through the command line."""

import json

import pytest
import torch
from commands import copied_run, run_baseline, run_evaluate, snapshot, train
from tiny import make_camvid
from torch import nn

from helpers.errors import exit_status
from helpers.run_folder import RunFolder
from learning import checkpoint
from learning.data.datasets import open_dataset
from learning.data.datasets.statistics import dataset_statistics
from learning.data.hashes import hash_file
from learning.inference.predictor import Predictor, load_run
from learning.models import Architecture, build_model
from learning.models.norms import EvoNormB0, PooledBatchNorm
from learning.run.build import build_run
from learning.run.command_line import parse
from learning.run.setup import Setup
from tools import average, average_weights


def merge(*words):
    """Exit status of tools.average."""
    return exit_status("tools.average", average.main, list(map(str, words)))


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------------------------------- weights


def test_the_mean_by_hand():
    states = [
        {"w": torch.tensor([1.0, 2.0]), "h": torch.tensor([1.0], dtype=torch.bfloat16), "n": torch.tensor(7)},
        {"w": torch.tensor([3.0, 2.0]), "h": torch.tensor([2.0], dtype=torch.bfloat16), "n": torch.tensor(9)},
        {"w": torch.tensor([5.0, 8.0]), "h": torch.tensor([3.0], dtype=torch.bfloat16), "n": torch.tensor(9)},
    ]
    mean = average_weights.mean_weights(iter(states))
    assert mean["w"].tolist() == [3.0, 4.0]
    assert mean["h"].tolist() == [2.0]
    assert mean["h"].dtype == torch.bfloat16
    assert mean["n"] == 7
    assert states[0]["w"].tolist() == [1.0, 2.0]


def test_the_mean_of_one_is_itself():
    state = {"w": noise(3, 4), "n": torch.tensor(3)}
    mean = average_weights.mean_weights([state])
    assert all(torch.equal(mean[name], state[name]) for name in state)


# ---------------------------------------------------------------------------------------------- statistics


def plain_model(norm):
    return nn.Sequential(nn.Conv2d(3, 4, 1), norm(4), nn.Dropout(0.5), nn.Conv2d(4, 2, 1), norm(2))


def reference(model, batches):
    """Mean and unbiased variance of what each norm is given, one batch after another, dropout off: then their means."""
    conv, norm, _, second, _ = model
    seen = {1: [], 4: []}
    for images in batches:
        x = conv(images)
        seen[1].append(x)
        mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
        y = (x - mean) / torch.sqrt(variance + norm.eps) * norm.weight[:, None, None] + norm.bias[:, None, None]
        seen[4].append(second(y))
    return {
        index: (
            torch.stack([x.mean((0, 2, 3)) for x in values]).mean(0),
            torch.stack([x.var((0, 2, 3), unbiased=True) for x in values]).mean(0),
        )
        for index, values in seen.items()
    }


@torch.no_grad()
def test_statistics_are_the_means_over_the_batches():
    model = plain_model(PooledBatchNorm)
    for norm in (model[1], model[4]):
        norm.running_mean.fill_(100.0)  # what was there before does not count
        norm.running_var.fill_(1000.0)
    batches = [noise(4, 3, 8, 9, seed=seed) * (seed + 1) for seed in range(5)]
    assert average_weights.reestimate_statistics(model, batches) == 5
    for index, (mean, variance) in reference(model, batches).items():
        assert torch.allclose(model[index].running_mean, mean, atol=1e-5)
        assert torch.allclose(model[index].running_var, variance, rtol=1e-4)
        assert model[index].momentum == 0.1
    assert not any(module.training for module in model.modules())


@torch.no_grad()
def test_one_batch_gives_its_own_statistics():
    model = nn.Sequential(PooledBatchNorm(3))
    images = noise(6, 3, 5, 5) * 3 + 2
    average_weights.reestimate_statistics(model, [images])
    assert torch.allclose(model[0].running_mean, images.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(model[0].running_var, images.var((0, 2, 3)), rtol=1e-5)


@torch.no_grad()
def test_evonorm_b0_has_a_running_variance_too():
    model = nn.Sequential(EvoNormB0(3))
    model[0].running_var.fill_(50.0)
    batches = [noise(2, 3, 6, 6, seed=seed) * (1 + seed) for seed in range(3)]
    average_weights.reestimate_statistics(model, batches)
    expected = torch.stack([images.var((0, 2, 3), unbiased=False) for images in batches]).mean(0)
    assert torch.allclose(model[0].running_var, expected, rtol=1e-5)
    assert model[0].momentum == 0.1


@torch.no_grad()
def test_a_norm_keeps_its_statistics_where_a_batch_has_none():
    model = nn.Sequential(PooledBatchNorm(3))
    model[0].running_mean.fill_(5.0)
    average_weights.reestimate_statistics(model, [noise(1, 3, 1, 1)])
    assert model[0].running_mean.tolist() == [5.0, 5.0, 5.0]


@pytest.mark.parametrize(("norm", "number"), [("batch", True), ("evo_b0", True), ("group", False), ("evo", False)])
def test_which_norms_have_statistics(norm, number):
    assert bool(average_weights.running_norms(build_model(Architecture("UNet", 3, norm), seed=0))) == number


def test_instance_norms_have_no_running_statistics_despite_a_momentum():
    assert average_weights.running_norms(nn.InstanceNorm2d(3, affine=True)) == []


# ---------------------------------------------------------------------------------------------- the program


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_camvid(tmp_path_factory.mktemp("average") / "data")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "a"
    assert train(folder, data, "--epochs", 2, "--seed", 1, "--lr_init", 0.1) == 0
    return folder


@pytest.fixture
def tiny_average(monkeypatch):
    """The averaged network is a tiny one, where only options are tested."""
    monkeypatch.setattr(average_weights, "average", lambda *_: (nn.Linear(1, 1), 0))


def files(run):
    return run / "checkpoint_previous.pth.tar", run / "checkpoint.pth.tar"


def test_the_average_is_a_run(tmp_path, run, data, capsys):
    output = tmp_path / "mean"
    assert merge(*files(run), "--output", output, "--batches", 3, "--device", "cpu", "--num_workers", 0) == 0
    assert "statistics of 3 batches of 2" in capsys.readouterr().out
    one, other = (checkpoint.load(path)["model_state_dict"] for path in files(run))
    mean = checkpoint.load(output / "best_weights.pth.tar")["model_state_dict"]
    for name, value in mean.items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(value, ((one[name].double() + other[name].double()) / 2).float()), name
    name = next(name for name in mean if name.endswith("running_mean"))
    assert not torch.allclose(mean[name], (one[name] + other[name]) / 2)
    about = json.loads((output / "options.json").read_text())
    assert about["external weights"] == "none"
    assert [part["sha256"] for part in about["average of"]] == [hash_file(path, "sha256") for path in files(run)]
    assert load_run(output).labels.names[0] == "Sky"
    assert run_baseline("--save_path", output, "--predict", "--device", "cpu") == 0
    assert run_evaluate("--results", output / "results_val") == 0
    # The program made it, so it may replace it.
    assert merge(run, "--output", output, "--batches", 0) == 0
    again = checkpoint.load(output / "best_weights.pth.tar")["model_state_dict"]
    best = checkpoint.load(run / "best_weights.pth.tar")["model_state_dict"]
    assert all(torch.equal(again[name], best[name]) for name in best)


def test_validated_weights_of_a_run_with_ema_are_averaged(tmp_path, run):
    """checkpoint.pth.tar of a run with --ema holds both, and every program takes the average."""
    other = copied_run(run, tmp_path / "ema", ema=0.9)
    state = checkpoint.load(run / "checkpoint.pth.tar")
    averaged = {
        name: value + 1 if value.is_floating_point() else value for name, value in state["model_state_dict"].items()
    }
    checkpoint.save(
        state | {"average": {"updates": torch.tensor(4), "model_state_dict": averaged}}, other / "checkpoint.pth.tar"
    )
    model = Predictor(other / "checkpoint.pth.tar", "cpu").model
    assert all(torch.equal(value, averaged[name]) for name, value in model.state_dict().items())
    assert merge(other / "checkpoint.pth.tar", "--output", tmp_path / "mean", "--batches", 0) == 0
    mean = checkpoint.load(tmp_path / "mean/best_weights.pth.tar")["model_state_dict"]
    assert all(torch.equal(value, averaged[name]) for name, value in mean.items())


def test_the_average_counts_as_trained_on_the_images_of_every_run(tmp_path, run, tiny_average, capsys):
    seen = copied_run(run, tmp_path / "seen", train_on="trainval")
    held = copied_run(run, tmp_path / "held", holdout="tail")

    def stored(*words):
        assert merge(*words, "--output", tmp_path / "mean", "--batches", 0) == 0
        found = json.loads((tmp_path / "mean/options.json").read_text())["options"]
        return found["train_on"], found["holdout"]

    assert stored(run, seen) == stored(seen, run) == ("trainval", None)
    out = capsys.readouterr().out
    line = f"note: {seen}/best_weights.pth.tar was trained on the validation images, too: a score on them says nothing"
    assert out.splitlines().count(line) == 2
    assert "hold out different images" not in out
    assert stored(held, held) == ("train", "tail")
    assert "note: " not in capsys.readouterr().out
    # The one has seen what the other holds out; neither has seen the data set's own validation images.
    assert stored(held, run) == ("train", None)
    assert "one may have been trained on what another holds out" in capsys.readouterr().out


def test_statistics_come_from_training_batches_of_the_first_run(tmp_path, run, data):
    """Two epochs of two batches: statistics of the first norm, by hand."""
    output = tmp_path / "mean"
    assert merge(run, "--output", output, "--batches", 4, "--device", "cpu", "--num_workers", 0) == 0
    stored = checkpoint.load(run / "best_weights.pth.tar")["options"]
    found, _ = parse(["--device", "cpu", "--num_workers", "0"], stored)
    dataset = open_dataset("camvid", data)
    statistics = {split: dataset_statistics(dataset, split) for split in ("train", "val")}
    built = build_run(Setup(found, frozenset(), dataset, statistics, RunFolder(tmp_path)))
    network = load_run(output).model
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    batches = [images for epoch in (0, 1) for images, _ in built.train_batches.epoch(epoch)]
    assert len(batches) == 4
    with torch.no_grad():
        expected = torch.stack([first(images).mean((0, 2, 3)) for images in batches]).mean(0)
    norm = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    assert torch.allclose(norm.running_mean, expected, atol=1e-5)


def test_no_run_starts_in_the_folder_of_an_average(tmp_path, run, data, capsys):
    output = tmp_path / "mean"
    assert merge(run, "--output", output, "--batches", 0) == 0
    before, weights = snapshot(output), output / "best_weights.pth.tar"
    capsys.readouterr()
    for words in ((), ("--resume",), ("--weights", run / "best_weights.pth.tar", "--predict")):
        assert run_baseline("--save_path", output, "--dataset", "camvid", "--dataset_path", data, *words) == 2
        err = capsys.readouterr().err
        assert f"{output} was made by tools.average" in err
        assert err.count("\n") == 1
    assert snapshot(output) == before
    words = ("--save_path", output, "--predict", "--weights", weights, "--device", "cpu")
    assert run_baseline(*words) == 0


def test_another_architecture_is_named(tmp_path, run, capsys):
    copied_run(run, tmp_path / "b", norm="group")
    assert merge(run, tmp_path / "b", "--output", tmp_path / "mean") == 2
    err = capsys.readouterr().err
    assert "its --norm is group, not batch" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "mean").exists()


def test_options_missing_in_old_runs_have_their_defaults(tmp_path, run, tiny_average, capsys):
    old = copied_run(run, tmp_path / "old")
    about = json.loads((old / "options.json").read_text())
    del about["options"]["norm"]
    (old / "options.json").write_text(json.dumps(about))
    assert merge(run, old, "--output", tmp_path / "mean", "--batches", 0) == 0
    copied_run(run, tmp_path / "group", norm="group")
    assert merge(old, tmp_path / "group", "--output", tmp_path / "mean") == 2
    assert "its --norm is group, not batch" in capsys.readouterr().err


def test_different_seeds_are_reported(tmp_path, run, tiny_average, capsys):
    copied_run(run, tmp_path / "b", seed=2, epochs=9, save_path="b")
    assert merge(run, tmp_path / "b", "--output", tmp_path / "mean", "--batches", 0) == 0
    out = capsys.readouterr().out
    assert "different seeds start from different weights" in out
    assert "differ in --epochs, --seed; the new run has the first's" in out


def test_runs_are_never_overwritten(tmp_path, run, capsys):
    before = snapshot(run)
    for force in ((), ("--force",)):
        assert merge(run, "--output", run, *force) == 2
        assert "holds a run" in capsys.readouterr().err
    assert snapshot(run) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    assert merge(run, "--output", tmp_path / "mine") == 2
    assert "was not made by" in capsys.readouterr().err
    assert merge(tmp_path / "nothing", "--output", tmp_path / "mean") == 2
    assert merge(run, "--output", tmp_path / "mean", "--batches", -1) == 2
