"""Precision, determinism, accumulation, recomputation, resizing: the results stay the same."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from commands import run_baseline, train
from steps import CLASSES, CPU, batch, training_of, without_dropout

from helpers.errors import InputError
from helpers.labels import VOID
from learning import resize
from learning.device import Precision, choose_precision, set_determinism
from learning.losses import LOSSES, PIXELWISE, Criterion
from learning.models import Architecture, build_model
from learning.models.norms import NORMS
from learning.training import engine
from learning.training.metrics import EpochMetrics, count_sorted


@pytest.fixture(autouse=True)
def _reset_determinism():
    yield
    set_determinism(False)


EVERY_OTHER = "2*ce+" + "+".join(name for name in LOSSES if name not in PIXELWISE)


def steps(model, batches, accumulate=1, loss="ce", precision="off", lr=0.1):
    """Train on batches; returns the metrics."""
    training = training_of(model, accumulate, loss, precision, lr)
    metrics = EpochMetrics(CLASSES, CPU, len(training.criterion.names))
    engine.train_epoch(training, batches, metrics, 0, lambda *_: None)
    return metrics


# ---------------------------------------------------------------------------------------------- accumulation


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("UNet", EVERY_OTHER),
        *(pytest.param("UNet", loss, marks=pytest.mark.slow) for loss in PIXELWISE),
        pytest.param("DeepLabv3_resnet50", "ce", marks=pytest.mark.slow),
    ],
)
def test_accumulated_steps_equal_those_of_the_whole_batch(name, loss):
    """In float64 to 1e-10: weights after two steps, which depend on every gradient, and on the momentum of the first."""
    whole = without_dropout(build_model(Architecture(name, CLASSES, "group"), 0)).double()
    accumulated = copy.deepcopy(whole)
    batches = [batch(seed, dtype=torch.float64) for seed in (1, 2)]
    for _, labels in batches:  # blocks of one label, so that there are boundaries and pixels away from them
        labels[1:] = labels[1:, ::16, ::16].repeat_interleave(16, 1).repeat_interleave(16, 2)
    metrics = [steps(whole, batches, 1, loss), steps(accumulated, batches, 4, loss)]
    start = build_model(Architecture(name, CLASSES, "group"), 0).double()
    moved = 0
    for key, before, one, other in zip(
        start.state_dict(), *(m.state_dict().values() for m in (start, whole, accumulated)), strict=True
    ):
        assert (one - other).abs().max() <= 1e-10, key
        moved = max(moved, (one - before).abs().max())
    assert moved > 1e-3
    assert torch.equal(metrics[0].confusion, metrics[1].confusion)
    assert metrics[0].mean_loss() == pytest.approx(metrics[1].mean_loss(), rel=1e-12)


def test_a_micro_batch_without_labels_changes_nothing():
    images, labels = batch(1, dtype=torch.float64)
    labels[:2] = VOID
    whole = build_model(Architecture("UNet", CLASSES, "group"), 0).double()
    accumulated = copy.deepcopy(whole)
    steps(whole, [(images, labels)])
    steps(accumulated, [(images, labels)], accumulate=2)
    assert all((a - b).abs().max() <= 1e-10 for a, b in zip(whole.parameters(), accumulated.parameters(), strict=True))


@pytest.mark.parametrize("name", [*LOSSES, "ce+0.5*dice"])
def test_the_weight_does_not_depend_on_the_outputs(name):
    criterion = Criterion(name, {"weighted_ce": {"class_weights": torch.linspace(0.5, 1.5, CLASSES)}})
    _, labels = batch(3)
    outputs = {"out": torch.randn(4, CLASSES, 64, 64)}
    assert torch.equal(criterion.weight(labels), criterion(outputs, labels)[1])
    assert (criterion.weight(torch.full_like(labels, VOID)) == 0).all()


@pytest.mark.slow
def test_the_effective_batch_is_drawn_and_mixed_as_a_whole(camvid, tmp_path, capsys):
    """Two micro-batches of one image are a step of two: with group norm the same log up to rounding, CutMix included."""
    arguments = ("--epochs", 2, "--seed", 0, "--norm", "group", "--cutmix")
    assert train(tmp_path / "whole", camvid, *arguments) == 0
    assert train(tmp_path / "parts", camvid, *arguments, "--batch_size", 1, "--accumulate", 2) == 0
    assert "batch 2 (2 x 1) x 2 steps" in capsys.readouterr().out
    runs = [np.genfromtxt(tmp_path / run / "log_epoch.csv", delimiter=",", names=True) for run in ("whole", "parts")]
    for column in ("train_loss", "val_loss"):
        assert runs[0][column] == pytest.approx(runs[1][column], rel=1e-3)


def test_batch_norm_with_accumulation_is_mentioned(camvid, tmp_path, capsys):
    assert train(tmp_path / "run", camvid, "--dry_run", "--accumulate", 2) == 0
    assert "batch norm takes its statistics from a micro-batch" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------- recomputed blocks


@pytest.mark.slow
@pytest.mark.usefixtures("small_resnets")
@pytest.mark.parametrize(
    ("name", "norm"),
    [
        *(("UNet", norm) for norm in NORMS),
        *(("DeepLabv3_resnet50", norm) for norm in ("batch", "evo_b0")),
        *(("UNet_resnet34", norm) for norm in ("batch", "evo_b0")),
        ("DeepLabv3plus_resnet50", "batch"),
    ],
)
def test_recomputed_blocks_do_not_change_the_weights(name, norm):
    batches = [batch(seed, 2) for seed in (1, 2)]
    states = []
    for recompute in (False, True):
        model = build_model(Architecture(name, CLASSES, norm), 0, recompute=recompute)
        steps(model, batches)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_recomputed_blocks_store_fewer_activations():
    def num_stored(recompute):
        sizes = []
        model = build_model(Architecture("UNet", CLASSES, "batch"), 0, recompute=recompute)
        with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
            model(torch.randn(1, 3, 64, 64))
        return sum(sizes)

    assert num_stored(True) < 0.5 * num_stored(False)


# ---------------------------------------------------------------------------------------------- precision


def test_auto_is_float32_without_a_gpu():
    assert choose_precision("auto", CPU) == "off"
    assert choose_precision("bf16", CPU) == "bf16"
    with pytest.raises(InputError, match="--amp fp16 needs a CUDA GPU"):
        choose_precision("fp16", CPU)


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, "bf16"), (False, "off")])
def test_auto_is_bf16_on_gpus_that_have_it(monkeypatch, has_bf16, expected):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16 and not including_emulation
    )
    assert choose_precision("auto", torch.device("cuda")) == expected


@pytest.mark.parametrize("norm", NORMS)
def test_mixed_precision_keeps_weights_statistics_and_logits_in_float32(norm):
    model = build_model(Architecture("UNet", CLASSES, norm), 0)
    images, _ = batch(1, 2)
    dtypes = set()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _, __, out: dtypes.add(out.dtype))
    with Precision("bf16", CPU).autocast():
        out = model(images)["out"]
    assert dtypes == {torch.bfloat16}
    assert out.dtype == torch.float32
    assert all(value.dtype in (torch.float32, torch.int64) for value in model.state_dict().values())
    assert out.isfinite().all()


def test_bf16_reaches_the_loss_of_float32():
    batches = [batch(seed, 2) for seed in range(3)]
    losses = []
    for precision in ("off", "bf16"):
        losses.append(
            steps(build_model(Architecture("UNet", CLASSES, "batch"), 0), batches, precision=precision).mean_loss()
        )
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]


def test_a_step_with_overflowing_scaled_gradients_is_skipped():
    precision = Precision("off", CPU)
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    precision.backward((weight * 2).sum())
    precision.step(optimizer)
    assert weight.item() == pytest.approx(0.8), "the step uses unscaled gradients"
    precision.backward((weight * 1e35).sum())
    precision.step(optimizer)
    assert weight.item() == pytest.approx(0.8)
    assert precision.scaler.get_scale() == 2.0**15


# ---------------------------------------------------------------------------------------------- determinism


def test_determinism_is_switched_on_and_off():
    set_determinism(True)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark
    set_determinism(False)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "not deterministic"),
        (("--seed", 1), ", deterministic"),
        (("--seed", 1, "--no-deterministic"), "not deterministic"),
    ],
)
def test_a_seed_switches_determinism_on(camvid, tmp_path, capsys, arguments, expected):
    assert train(tmp_path / "run", camvid, "--dry_run", *arguments) == 0
    assert expected in capsys.readouterr().out
    assert torch.are_deterministic_algorithms_enabled() == (expected == ", deterministic")


def test_determinism_is_restored_when_a_run_is_continued(camvid, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(run, camvid, "--epochs", 1, "--seed", 1) == 0
    capsys.readouterr()
    arguments = ("--save_path", run, "--weights", run / "checkpoint.pth.tar", "--epochs", 2, "--device", "cpu")
    assert run_baseline(*arguments) == 0
    assert ", deterministic" in capsys.readouterr().out


@pytest.mark.parametrize(
    "sizes", [((3, 4), (24, 32)), ((9, 7), (5, 20)), ((1, 1), (6, 5)), ((8, 6), (8, 13)), ((40, 30), (7, 9))]
)
def test_resizing_by_matrices_equals_bilinear_and_so_does_its_gradient(sizes):
    old, new = sizes
    torch.manual_seed(0)
    x = torch.randn(2, 3, *old, dtype=torch.float64, requires_grad=True)
    other = x.detach().clone().requires_grad_()
    out, expected = resize.bilinear_by_matrices(x, new), F.interpolate(other, new, mode="bilinear", align_corners=False)
    assert (out - expected).abs().max() <= 1e-12
    gradient = torch.randn_like(out)
    out.backward(gradient), expected.backward(gradient)
    assert (x.grad - other.grad).abs().max() <= 1e-12
    single = resize.bilinear_by_matrices(x.detach().float(), new)
    assert (single - expected).abs().max() <= 1e-6 * x.abs().max()


def test_resizing_by_matrices_stays_precise_in_mixed_precision():
    x = torch.randn(1, 2, 9, 9)
    with torch.autocast("cpu", torch.bfloat16):
        out = resize.bilinear_by_matrices(x, (40, 40))
    assert (out - F.interpolate(x, (40, 40), mode="bilinear")).abs().max() <= 1e-5


def test_counting_by_sorting_equals_bincount():
    rng = np.random.default_rng(0)
    for most in (2, 362, 40000):
        values = torch.from_numpy(rng.integers(0, most, 5000))
        assert torch.equal(count_sorted(values, most), torch.bincount(values, minlength=most))
    assert count_sorted(torch.zeros(0, dtype=torch.int64), 3).tolist() == [0, 0, 0]


# ---------------------------------------------------------------------------------------------- the command line


@pytest.mark.slow
def test_every_switch_trains_resumes_and_predicts(camvid, tmp_path, capsys):
    run = tmp_path / "run"
    arguments = ("--epochs", 1, "--amp", "bf16", "--no-channels_last", "--checkpoint_blocks", "--norm", "evo")
    assert train(run, camvid, *arguments) == 0
    out = capsys.readouterr().out
    assert "compute   bf16 mixed precision, channels first, activations recomputed" in out
    again = ("--save_path", run, "--weights", run / "checkpoint.pth.tar", "--epochs", 2, "--device", "cpu")
    assert run_baseline(*again, "--no-checkpoint_blocks") == 0
    assert run_baseline("--save_path", run, "--predict", "--device", "cpu") == 0
    assert run_baseline("--save_path", run, "--predict", "--device", "cpu", "--dry_run") == 2


def test_impossible_options_are_refused(camvid, tmp_path, capsys):
    run = tmp_path / "run"
    for arguments, message in [
        (("--amp", "fp16"), "--amp fp16 needs a CUDA GPU"),
        (("--amp", "int8"), "invalid choice: 'int8'"),
        (("--accumulate", 0), "--accumulate 0: expected at least 1"),
        (("--compile", "--checkpoint_blocks"), "leave out --checkpoint_blocks"),
        (("--cache", "device"), "--cache device keeps the data on a GPU"),
        (("--cutmix", "--batch_size", 1), "raise --batch_size"),
    ]:
        assert train(run, camvid, *arguments) == 2
        err = capsys.readouterr().err
        assert message in err
        assert len(err.splitlines()) == 1
    assert not run.exists()


def test_the_error_of_a_failing_compiler_is_one_line(camvid, tmp_path, capsys, monkeypatch):
    def compiled(model):
        def fail(*_):
            raise torch._dynamo.exc.BackendCompilerFailed("inductor", RuntimeError("no C++ compiler"), None)

        fail.train = model.train
        return fail

    import torch._dynamo

    monkeypatch.setattr(torch, "compile", compiled)
    assert train(tmp_path / "run", camvid, "--epochs", 1, "--compile") == 2
    assert "--compile does not work here" in capsys.readouterr().err
