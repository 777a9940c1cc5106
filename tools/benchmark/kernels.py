"""The time of a step on a CUDA GPU by kind of kernel."""

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch

from tools.benchmark.measure import JsonObject

# The first pattern that is found in a kernel's name, in lower case, decides. Kernels of compiled code have the names of the
# operations that were fused into them.
GROUPS = {
    "copies, layout": r"memcpy|memset|n(chw|hwc)_?to_?n(chw|hwc)|converttensor|direct_copy|copy_kernel|catarray",
    "optimizer, norm of the gradient": r"multi_tensor|fused_?sgd|foreach",
    "loss": r"nll|softmax|cross_entropy",
    "resize": r"upsample|bilinear|interp",
    "norm": r"batch_?norm|bn_fw|bn_bw|bnfw|bnbw|welford|group_?norm|layer_?norm",
    "convolution": r"conv|fprop|dgrad|wgrad|xmma|gemm|cutlass|nvjet|cudnn|sm\d\d_",
    "metrics": r"sort|radix|searchsorted|bincount|histogram|argmax|minmax|max_values|maxops",
    "elementwise": r"elementwise|vectorized|relu|triton|reduce|fill",
}
OTHER = "other"


def profile_steps(work: Callable[[], object], steps: int) -> tuple[dict[str, float], list[tuple[str, float]]]:
    """Run `work()`, which takes `steps` steps on a CUDA GPU, under torch's profiler; results as `group_events`."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        work()
        torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8", errors="replace"))["traceEvents"]
    return group_events(events, steps)


def group_events(events: Iterable[JsonObject], steps: int) -> tuple[dict[str, float], list[tuple[str, float]]]:
    """Sum the GPU's events of a trace by group.

    Args:
        events: in Chrome's trace format, with "cat", "name" and "dur" in microseconds.

    Returns:
        group -> ms per step, the longest first; and the ten longest kernels, (name, ms per step).
    """
    groups: dict[str, float] = defaultdict(float)
    names: dict[str, float] = defaultdict(float)
    for event in events:
        if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset"):
            milliseconds = event.get("dur", 0) / 1000 / steps
            groups[group_of(event["name"])] += milliseconds
            names[event["name"]] += milliseconds
    return dict(_longest_first(groups)), _longest_first(names)[:10]


def _longest_first(sums: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(sums.items(), key=lambda item: -item[1])


def group_of(name: str) -> str:
    """The group of a kernel."""
    found = (group for group, pattern in GROUPS.items() if re.search(pattern, name.lower()))
    return next(found, OTHER)
