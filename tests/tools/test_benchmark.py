"""tools.benchmark: every part runs, and its counts are correct. Speed itself is not tested."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from helpers.errors import exit_status
from helpers.labels import VOID
from learning.data.datasets import open_dataset
from learning.models import MODELS
from tools.benchmark import __main__ as benchmark
from tools.benchmark import all_parts, flops, kernels, settings, torch_parts, tutorial, variants
from tools.benchmark.evaluation import largest_difference, with_instances
from tools.benchmark.loading import one_thread
from tools.benchmark.measure import Deadline, Goal, format_table, interleave
from tools.benchmark.track import TimedBatches, Track

MAY_BE_0 = ("waiting_share", "data_gib")
SMALL = [
    *("--size", "64", "128", "--crop_size", "64", "--batch_size", "2", "--num_images", "2", "--num_pairs", "2"),
    *("--model", "UNet", "--repeats", "1", "--device", "cpu", "--num_workers", "0"),
]


class Convolutions(torch.nn.Module):
    """A network of 3x3 convolutions with the given numbers of channels."""

    def __init__(self, *channels):
        super().__init__()
        pairs = pairwise(channels)
        self.layers = torch.nn.Sequential(*(torch.nn.Conv2d(before, after, 3, padding=1) for before, after in pairs))

    def forward(self, x):
        return {"out": self.layers(x)}


@pytest.fixture
def _small_network(monkeypatch):
    """Three convolutions instead of UNet, whose steps take seconds."""
    monkeypatch.setitem(MODELS, "UNet", lambda num_classes, norm: Convolutions(3, 8, 8, num_classes))


@pytest.fixture(scope="module")
def work_path(tmp_path_factory):
    """A folder for the drawn images, which all tests share."""
    return ["--work_path", str(tmp_path_factory.mktemp("work"))]


def measured(capsys, *argv):
    """The JSON record that the benchmark prints last, and the text before it."""
    assert benchmark.main([*argv]) == 0
    *text, last = capsys.readouterr().out.splitlines()
    return json.loads(last), "\n".join(text)


def numbers(value):
    """All numbers in a nested dict, except for shares of waiting, which may be negative."""
    if isinstance(value, dict):
        return [number for key, part in value.items() if "waiting" not in key for number in numbers(part)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def check_environment(record):
    assert record["hardware"]["cpu"]
    assert record["hardware"]["cores"] >= 1
    assert {"python", "torch", "torchvision", "pillow"} <= set(record["versions"])


def test_data(capsys, work_path):
    threads = torch.get_num_threads()
    record, text = measured(capsys, "data", "--as_tutorial", *SMALL, *work_path)
    found = record["figures"]
    assert torch.get_num_threads() == threads
    assert all(math.isfinite(number) and number > 0 for number in numbers(found))
    assert {"cached_ms", "cached_single_ms", "png_ms", "decode_ms", "tutorial_ms", "cutmix_ms", "copyblob_ms"} <= set(
        found
    )
    assert found["png_over_decode"] == pytest.approx(found["png_ms"] / found["decode_ms"])
    assert found["tutorial_over_cached"] == pytest.approx(found["tutorial_ms"] / found["cached_ms"])
    assert "color, normalize" in text
    assert record["goals"] == []  # they apply to the full size only
    check_environment(record)


@pytest.mark.usefixtures("_small_network")
def test_train(capsys, work_path):
    argv = ["--variants", "ours", "cache_off", "--as_tutorial", "--peak_tflops", "0.5"]
    record, text = measured(capsys, "train", *argv, *SMALL, *work_path)
    found = record["figures"]
    assert list(found["variants"]) == ["ours", "tutorial", "cache_off"]
    for name, figures in found["variants"].items():
        assert "error" not in figures, (name, figures)
        assert all(math.isfinite(number) and number > 0 for key, number in figures.items() if key not in MAY_BE_0)
        assert figures["images_per_second"] == pytest.approx(2000 / figures["step_ms"])
        assert figures["mfu"] == pytest.approx(figures["images_per_second"] * found["gflops_an_image"] / 500)
        assert ("epoch_over_bare" in figures) == (name != "tutorial")
        assert name in text
    assert found["ours_over_tutorial"] > 0
    assert [goal["what"] for goal in record["goals"]] == ["epoch over the bare steps"]
    check_environment(record)


@pytest.mark.usefixtures("_small_network")
def test_a_failed_variant_is_one_line_and_the_others_continue(capsys, work_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no such luck\nat all")

    monkeypatch.setattr(variants.Tutorial, "loop", fail)
    record, text = measured(capsys, "train", "--as_tutorial", *SMALL, *work_path)
    assert "tutorial failed: RuntimeError: no such luck\n" in text
    assert record["figures"]["variants"]["tutorial"] == {"error": "RuntimeError: no such luck"}
    assert record["figures"]["variants"]["ours"]["images_per_second"] > 0


@pytest.mark.usefixtures("_small_network")
def test_predict(capsys, work_path):
    record, _ = measured(capsys, "predict", *SMALL, *work_path)
    found = record["figures"]
    assert all(math.isfinite(number) and number > 0 for number in numbers(found))
    # With the same weights both implementations must agree.
    assert found["single_same_pixels"] > 0.999
    assert found["mst_same_pixels"] > 0.999


def test_evaluate(capsys, work_path):
    record, text = measured(capsys, "evaluate", *SMALL, *work_path)
    found = record["figures"]
    assert found["pairs"] == 2
    assert found["instances"] == 60
    assert found["ours_ms"] > 0
    if "official_ms" in found:
        assert found["largest_difference"] <= 1e-12
        assert found["official_over_ours"] == pytest.approx(found["official_ms"] / found["ours_ms"])
    else:
        assert "cityscapesScripts is not installed" in text
    check_environment(record)


def test_all_runs_each_part_in_a_process_and_survives_a_failure(capsys, work_path, monkeypatch):
    run_process = all_parts.run_process

    def run(argv, limit):
        if argv[0] == "data":
            return {"error": "an error"}
        return run_process(argv, limit)

    monkeypatch.setattr(all_parts, "run_process", run)
    assert benchmark.main(["all", "--parts", "data", "evaluate", "--minutes", "1", *SMALL, *work_path]) == 1
    *text, last = capsys.readouterr().out.splitlines()
    record = json.loads(last)
    assert "data failed: an error" in text
    assert record["parts"]["evaluate"]["figures"]["ours_ms"] > 0
    assert record["parts"]["evaluate"]["settings"]["as_tutorial"]
    assert sum(line.startswith("{") for line in text) == 0
    check_environment(record)


def test_a_process_without_a_record_reports_its_last_output():
    assert "--size 1" in all_parts.run_process(["data", "--size", "1"], 60)["error"]
    assert "ended after 0 s" in all_parts.run_process(["data"], 0.01)["error"]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["nothing"], "invalid choice: 'nothing'"),
        ([], "required: part"),
        (["data", "--size", "32", "64"], "--size 32 64: expected 64 .. 16384 pixels"),
        (["data", "--crop_size", "1", "2", "3"], "got 3 numbers"),
        (["train", "--repeats", "0"], "--repeats 0: expected at least 1"),
        (["train", "--device", "gpu"], "--device gpu: expected auto"),
        (["train", "--variants", "best"], "invalid choice: 'best'"),
        (["train", "--peak_tflops", "0"], "--peak_tflops 0.0: expected a number above 0"),
        (["train", "--num_images", "7"], "--num_images 7: expected at least one batch of --batch_size 8"),
        (["all", "--minutes", "nan"], "--minutes nan: expected a number above 0"),
        (["data", "--dataset", "camvid"], "only minicity can be drawn"),
        (["data", "--dataset_path", "nowhere"], "no minicity data set in nowhere"),
    ],
)
def test_usage_errors_are_one_line_and_status_2(argv, expected, capsys):
    assert exit_status("benchmark", benchmark.main, argv) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("benchmark: error: ")
    assert expected in error


def test_options_reach_the_parts_of_all_unchanged():
    argv = ["--size", "64", "128", "--crop_size", "64", "--variants", "ours", "compile", "--dataset_path", "some where"]
    given = settings.parse(["all", *argv], "")
    again = settings.parse(["data", *given.argv_of_part()], "")
    assert again == replace(given, part="data", as_tutorial=True)


def test_names_in_the_options_are_the_keys_of_the_tables():
    assert tuple(variants.SPECS) == settings.VARIANTS
    assert {*torch_parts.PARTS, "evaluate"} == set(settings.PARTS)


def test_a_real_data_set(capsys, minicity):
    argv = ["data", "--dataset_path", str(minicity), "--crop_size", "64", "--batch_size", "2", "--repeats", "1"]
    record, _ = measured(capsys, *argv)
    assert record["figures"]["cached_ms"] > 0


def test_flops_of_known_convolutions():
    pixels = 2 * 16 * 24
    first = 2 * 9 * 3 * 8 * pixels
    second = 2 * 9 * 8 * 5 * pixels
    # Images have no gradient: the first layer has two products, forward and weight gradient, the others have three.
    assert flops.training_flops(Convolutions(3, 8), (2, 3, 16, 24)) == 2 * first
    assert flops.training_flops(Convolutions(3, 8, 5), (2, 3, 16, 24)) == 2 * first + 3 * second


def test_flops_of_the_network_are_the_published_ones():
    # 414 GMAC forward for 576x1152, three times that with the backward pass; convolutions grow with the pixels.
    found = flops.flops_per_image("DeepLabv3_resnet50", 19, (144, 288))
    assert 16 * found == pytest.approx(2 * 3 * 414e9, rel=0.01)


def test_peaks_are_those_of_known_gpus(monkeypatch):
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H200")
    assert flops.peak_tflops(None, gpu) == 790
    assert flops.peak_tflops(100.0, gpu) == 100
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA GeForce GTX 1080 Ti")
    assert flops.peak_tflops(None, gpu) is None
    assert flops.peak_tflops(None, torch.device("cpu")) is None


def test_kernels_are_grouped():
    names = {
        "sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc": "convolution",
        "void at::native::batch_norm_transform_input_channels_last_kernel<c10::BFloat16, float>": "norm",
        "void at::native::elementwise_kernel<128, 4, direct_copy_kernel_cuda>": "copies, layout",
        "void at::native::vectorized_elementwise_kernel<8, CUDAFunctor_add<c10::BFloat16>>": "elementwise",
        "void at::native::upsample_bilinear2d_backward_nhwc_out_frame": "resize",
        "void at::native::nll_loss2d_forward_no_reduce_kernel<float>": "loss",
        "void multi_tensor_apply_kernel<FusedSgdMathFunctor<float, 3>>": "optimizer, norm of the gradient",
        "triton_red_fused__native_batch_norm_legit_functional_relu_3": "norm",
        "triton_poi_fused_add_relu_17": "elementwise",
        "void at_cuda_detail::cub::DeviceRadixSortOnesweepKernel": "metrics",
        "something_else": "other",
    }
    assert {name: kernels.group_of(name) for name in names} == names
    events = [
        {"cat": "kernel", "name": "sm90_xmma_fprop", "dur": 3000},
        {"cat": "kernel", "name": "sm90_xmma_fprop", "dur": 1000},
        {"cat": "gpu_memcpy", "name": "Memcpy HtoD (Pinned -> Device)", "dur": 500},
        {"cat": "cpu_op", "name": "aten::conv2d", "dur": 9000},
        {"ph": "M", "name": "process_name"},
    ]
    groups, longest = kernels.group_events(events, 2)
    assert groups == {"convolution": 2.0, "copies, layout": 0.25}
    assert longest == [("sm90_xmma_fprop", 2.0), ("Memcpy HtoD (Pinned -> Device)", 0.25)]


def test_timed_batches_yield_the_first_batches_and_count_the_time_in_next():
    batches = TimedBatches(iter(range(10)), 3)
    assert list(batches) == [0, 1, 2]
    assert 0 < batches.seconds < 1


def test_a_round_is_shortened_to_the_time_left():
    track = Track(8)
    track.steps = 25
    track.step_seconds = 2.0
    track.shorten(math.inf)
    assert track.steps == 25
    track.shorten(60.0)
    assert track.steps == 10
    track.shorten(0.0)
    assert track.steps == 2


def test_interleave_alternates_and_stops_after_the_deadline():
    calls = []
    works = {name: lambda name=name: calls.append(name) for name in "ab"}
    assert {name: len(taken) for name, taken in interleave(works, 3, Deadline()).items()} == {"a": 3, "b": 3}
    assert "".join(calls) == "abababab"
    assert len(interleave(works, 3, Deadline(0))["a"]) == 1


def test_goals_and_tables():
    goal = Goal("memory", 10.5, "<=", 10.24, "GiB")
    assert not goal.met
    assert goal.row() == ["memory", "10.5 GiB", "goal <= 10.24: missed"]
    assert Goal.of(json.loads(json.dumps(goal.record()))) == goal
    assert Goal("ratio", 4.0, ">=", 4).met
    assert not Goal("share", 0.02, "<", 0.02).met
    assert format_table(["a", "ms"], [["one", 1.23456], ["two", None]]) == "a      ms\n---------\none  1.23\ntwo     -"


def test_the_tutorials_samples(minicity):
    data = open_dataset("minicity", minicity)
    mean, std = data.spec.MEAN, data.spec.STD
    views = tutorial.Views(data.split("train"), data.decode, (48, 96), (64, 40), mean, std)
    image, label = views[0]  # scaled to at most 96x192, so that some crops exceed the image
    assert (image.shape, image.dtype) == ((3, 64, 40), torch.float32)
    assert (label.shape, label.dtype) == ((64, 40), torch.int64)
    assert set(label.unique().tolist()) <= {*range(19), VOID}
    batches = list(tutorial.loader(views, 2, 0, False))
    assert [tuple(images.shape) for images, _ in batches] == [(2, 3, 64, 40)] * 2


def test_the_tutorials_training_and_prediction():
    torch.manual_seed(0)
    model = tutorial.build_network("UNet", 20, "cpu")
    before = [parameter.clone() for parameter in model.parameters()]
    batch = torch.randn(2, 3, 32, 48), torch.randint(0, 19, (2, 32, 48))
    loss, accuracy = tutorial.train_epoch(model, [batch] * 2, torch.optim.SGD(model.parameters(), 0.1), "cpu")
    assert math.isfinite(loss)
    assert 0 <= accuracy <= 1
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    found = tutorial.predict_classes(model.eval(), batch[0][:1], (0.5, 1.0), True)
    assert (found.shape, found.dtype) == ((32, 48), np.int64)


def test_the_tutorials_network_is_that_of_torchvision():
    with torch.device("meta"):
        model = tutorial.build_network("DeepLabv3_resnet50", 20, "meta")
    assert type(model).__module__.startswith("torchvision")
    assert model(torch.empty(2, 3, 64, 64, device="meta"))["out"].shape == (2, 20, 64, 64)


def test_the_number_of_instances_is_exact():
    instances = np.zeros((20, 20), np.uint16)
    instances[:10] = 26001
    instances[10:12] = 24001
    instances[12:, :3] = 26002
    instances[0, 0] = 29001  # a caravan: not scored, not changed
    for count in (1, 2, 3, 9):
        found = np.unique(with_instances(instances, count))
        assert sum(value // 1000 in (24, 26) for value in found) == count
        assert 29001 in found
    assert np.array_equal(
        np.where(with_instances(instances, 1) == 24, 24001, 0), np.where(instances == 24001, 24001, 0)
    )


def test_largest_difference_includes_missing_scores():
    keys = ("classScores", "classInstScores", "categoryScores", "categoryInstScores")
    ours = {name: {"road": 0.5} for name in ("class_iou", "class_niou", "category_iou", "category_niou")}
    theirs = {key: {"road": 0.5} for key in keys} | {"confMatrix": [[1]]}
    confusion = np.ones((1, 1), np.int64)
    assert largest_difference(ours, confusion, theirs) == 0
    assert largest_difference(ours, confusion, theirs | {"categoryScores": {"road": 0.25}}) == 0.25
    assert largest_difference(ours, confusion, theirs | {"classScores": {"road": math.nan}}) == math.inf
    assert largest_difference(ours, 2 * confusion, theirs) == math.inf


def test_the_number_of_threads_is_restored():
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
