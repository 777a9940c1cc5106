"""Where a step's time on a CUDA GPU goes: its kernels, by what they are for."""

import json
import re
import tempfile
from collections import defaultdict
from pathlib import Path

import torch

# The first pattern that is found in a kernel's name, in lower case, decides; kernels of compiled code carry the names of the
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


def step_groups(work, steps):
    """Run `work()` under torch's profiler and group its kernels.

    Args:
        work: function that runs `steps` steps on a CUDA GPU.
        steps: number of them.

    Returns:
        dict of group -> ms a step, the longest first; and a list of the ten longest kernels, (name, ms a step).
    """
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        work()
        torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8", errors="replace"))["traceEvents"]
    return group_events(events, steps)


def group_events(events, steps):
    """Sum the GPU's events of a trace by group.

    Args:
        events: list of dict in Chrome's trace format, with "cat", "name" and "dur" in microseconds.
        steps: number of steps they belong to.

    Returns:
        as `step_groups`
    """
    groups, names = defaultdict(float), defaultdict(float)
    for event in events:
        if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset"):
            milliseconds = event.get("dur", 0) / 1000 / steps
            groups[group_of(event["name"])] += milliseconds
            names[event["name"]] += milliseconds

    def longest(sums):
        return sorted(sums.items(), key=lambda item: -item[1])

    return dict(longest(groups)), longest(names)[:10]


def group_of(name):
    """str: the group of a kernel."""
    found = (group for group, pattern in GROUPS.items() if re.search(pattern, name.lower()))
    return next(found, OTHER)
