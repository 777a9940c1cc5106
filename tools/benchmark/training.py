"""Training: images per second of the real loop in several variants, its waiting times, and its time by kind of kernel."""

from collections.abc import Mapping
from pathlib import Path
from statistics import median

import torch

from learning.data.datasets.base import Dataset
from learning.device import pick_device
from tools.benchmark import flops, kernels
from tools.benchmark.drawn_data import open_workload_data
from tools.benchmark.measure import Deadline, Goal, JsonObject, format_table, one_line, progress
from tools.benchmark.memory import GIB, train_within
from tools.benchmark.mixing_time import time_mixing
from tools.benchmark.settings import Settings, Workload
from tools.benchmark.track import Track, measure_all
from tools.benchmark.variants import SPECS, build_variant, default_variants

_LIMIT = 11e9  # bytes of the small GPU that must fit a batch of 8
_PROFILED_STEPS = 5
_HEADER = [
    *("train", "images/s", "ms/step", "waiting %", "in next %", "x bare", "peak GiB", "TFLOP/s", "MFU %", "x tutorial"),
]


def run(settings: Settings, folder: Path, deadline: Deadline) -> tuple[JsonObject, list[Goal]]:
    """Measure and print tables."""
    workload = settings.workload
    device = pick_device(workload.device)
    names = chosen_variants(settings, device)
    data = open_workload_data(workload, folder, workload.num_images, 4)
    memory = None
    if device.type == "cuda" and "blocks" in names:
        memory = train_within(_LIMIT, lambda: build_variant("blocks", workload, folder, data))
        print(memory["words"], end="\n\n", flush=True)
    tracks = measure_all(names, workload, folder, data, settings.repeats, deadline)
    crop_size = workload.crop_size or data.spec.CROP_SIZE
    per_image = flops.flops_per_image(workload.model, len(data.labels.classes), crop_size)
    peak = flops.peak_tflops(settings.peak_tflops, device)
    variants = {name: track.figures(per_image, peak) for name, track in tracks.items()}
    figures: JsonObject = {
        "device": str(device),
        "gflops_an_image": per_image / 1e9,
        "peak_tflops": peak,
        "memory_limit": memory,
        "variants": variants,
    }
    figures |= ratios(tracks)
    print()
    print_variants(figures, workload, device)
    working = {name: track for name, track in tracks.items() if track.rounds and not track.error}
    if "ours" in working:
        figures |= mixing_figures(working["ours"], data, settings.repeats)
    if device.type == "cuda":
        figures["kernels"] = {
            name: profile(working[name], variants[name]["ready_step_ms"])
            for name in ("ours", "compile")
            if name in working
        }
    return figures, goals(figures, device, workload.is_full_size)


def chosen_variants(settings: Settings, device: torch.device) -> list[str]:
    """The variants to measure, without duplicates; the tutorial is the second, so that there is time for it."""
    names = list(settings.variants or default_variants(device))
    if settings.as_tutorial:
        names.insert(1, "tutorial")
    return list(dict.fromkeys(names))


def ratios(tracks: Mapping[str, Track]) -> dict[str, float]:
    """ "NAME_over_tutorial": images per second of a variant over the tutorial's, median over the rounds."""
    base = tracks.get("tutorial")
    if not base or not base.rounds:
        return {}
    return {
        f"{name}_over_tutorial": median(
            theirs.epoch / base.steps * track.steps / ours.epoch
            for theirs, ours in zip(base.rounds, track.rounds, strict=False)
        )
        for name, track in tracks.items()
        if track is not base and track.rounds
    }


def print_variants(figures: JsonObject, workload: Workload, device: torch.device) -> None:
    """Print the table of the variants."""
    rows = []
    notes = []
    for name, found in figures["variants"].items():
        if "error" in found:
            notes.append(f"{name}: skipped, {found['error']}")
            continue
        rows.append(_variant_row(name, found, figures.get(f"{name}_over_tutorial")))
        notes.append(_variant_note(name, found))
    crop = "x".join(map(str, workload.crop_size or ["data set's"]))
    print(f"{workload.model}, crop {crop}, batch {workload.batch_size}, on {device}")
    print(format_table(_HEADER, rows))
    print("\n".join(notes))
    print(
        "waiting: additional time of an epoch over the same steps on one ready batch; in next: the host's time in next();"
    )
    memory = "of this variant on the GPU"
    if device.type != "cuda":
        memory = "of the process so far, valid for the first variant only"
    print(f"x bare: epoch over forward, loss, backward, step; peak: peak memory {memory}", end="\n\n")


def _variant_row(name: str, found: JsonObject, over_tutorial: float | None) -> list[float | str | None]:
    return [
        name,
        found["images_per_second"],
        found["step_ms"],
        100 * found["waiting_share"],
        100 * found["next_share"],
        found.get("epoch_over_bare"),
        found["peak_gib"],
        found["tflops"],
        100 * found["mfu"] if "mfu" in found else None,
        over_tutorial,
    ]


def _variant_note(name: str, found: JsonObject) -> str:
    on_gpu = f"; {found['data_gib']:.2f} GiB of the memory are the data" if found["data_gib"] else ""
    measured = f"ready after {found['prepare_s']:.1f} s, {found['rounds']} rounds of {found['steps']} steps"
    return f"{name}: {SPECS[name].description}{on_gpu}; {measured}"


def mixing_figures(track: Track, data: Dataset, repeats: int) -> dict[str, float]:
    """Time and print the mixing of a ready batch, in ms and as a share of a step."""
    milliseconds = time_mixing(*track.prepared.ready, data, 4 * repeats)
    if not milliseconds:
        return {}
    step = 1000 * median(found.epoch for found in track.rounds) / track.steps
    shares = {name.replace("_ms", "_share"): value / step for name, value in milliseconds.items()}
    rows = [[name.removesuffix("_ms"), value, 100 * value / step] for name, value in milliseconds.items()]
    print(format_table(["mixing a batch", "ms", "% of a step"], rows), end="\n\n")
    return milliseconds | shares


def profile(track: Track, step_ms: float) -> JsonObject:
    """Print and return the time of a step on a ready batch by group of kernels, idle time, and the longest kernels."""
    progress("profiling")
    variant, ready = track.prepared
    try:
        groups, longest = kernels.profile_steps(lambda: variant.loop([ready] * _PROFILED_STEPS), _PROFILED_STEPS)
    except Exception as error:
        print(f"profiling failed: {one_line(error)}")
        return {"error": one_line(error)}
    groups = groups | {"no kernel running": max(0.0, step_ms - sum(groups.values()))}
    rows = [[group, value, 100 * value / step_ms] for group, value in groups.items()]
    print(format_table([f"a step of {step_ms:.1f} ms on a ready batch", "ms", "%"], rows), end="\n\n")
    print(format_table(["longest kernels", "ms"], [[name[:90], value] for name, value in longest]), end="\n\n")
    return {"groups_ms": groups, "longest_ms": dict(longest)}


def goals(figures: JsonObject, device: torch.device, full_size: bool) -> list[Goal]:
    """The goals for which this device has figures; those of a GPU apply to the full size only."""
    found = figures["variants"]
    ours = found.get("ours", {})
    if device.type == "cpu":
        return _goal("epoch over the bare steps", ours.get("epoch_over_bare"), "<=", 1.03)
    if device.type != "cuda" or not full_size:
        return []
    peak_gib = found.get("blocks", {}).get("peak_gib")
    return [
        *_goal("training, ours over the tutorial's", figures.get("ours_over_tutorial"), ">=", 4),
        *_goal("share of the peak, eager", ours.get("mfu"), ">=", 0.3),
        *_goal("share of the peak, compiled", found.get("compile", {}).get("mfu"), ">=", 0.4),
        *_goal("share of the time waiting for data", ours.get("waiting_share"), "<", 0.02),
        *_goal("memory with --checkpoint_blocks", peak_gib, "<=", _LIMIT / GIB, "GiB"),
        *_goal("cutmix, share of a step", figures.get("cutmix_share"), "<", 0.02),
        *_goal("classmix, share of a step", figures.get("classmix_share"), "<", 0.02),
        *_goal("copyblob, share of a step", figures.get("copyblob_share"), "<", 0.02),
    ]


def _goal(what: str, value: float | None, relation: str, limit: float, unit: str = "") -> list[Goal]:
    """A list of the goal, empty if its figure was not measured."""
    return [] if value is None else [Goal(what, value, relation, limit, unit)]
