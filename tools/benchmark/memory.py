"""Peak memory, and whether a training fits into a limit."""

import gc
import resource
import sys
from collections.abc import Callable

import torch

from tools.benchmark.measure import JsonObject, one_line, progress
from tools.benchmark.variants import Variant

GIB = 2**30


def reset_peak() -> int:
    """Reset the peak of the GPU's memory; returns the bytes in use now, 0 without a CUDA GPU."""
    if not torch.cuda.is_available():
        return 0
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def peak_gib(device: torch.device, occupied: int = 0) -> float:
    """Peak memory in GiB: of a CUDA GPU since `reset_peak` without `occupied` bytes, else of the process since its start."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - occupied) / GIB
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB


def train_within(limit: float, make: Callable[[], Variant]) -> JsonObject:
    """Take the first training steps of a variant with at most `limit` bytes of the GPU for torch.

    To be called while the GPU's memory is empty, which it is again afterwards.

    Returns:
        "fits", "reserved_gib" (the memory that torch reserved), "limit_gib", and "words", the result as a sentence.
    """
    progress(f"training within {limit / GIB:.2f} GiB")
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit / torch.cuda.mem_get_info()[1]))
    error = None
    try:
        _take_steps(make())
    except Exception as failure:  # out of memory, in torch or with another message in cuDNN
        error = one_line(failure)
    reserved = torch.cuda.max_memory_reserved() / GIB
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1.0)
    outcome = f"fails: {error}" if error else f"trains; it took {reserved:.2f} GiB"
    words = f"with at most {limit / GIB:.2f} GiB of the GPU for torch, --checkpoint_blocks {outcome}"
    return {"fits": error is None, "reserved_gib": reserved, "limit_gib": limit / GIB, "words": words}


def _take_steps(variant: Variant) -> None:
    variant.loop([variant.ready_batch()] * 4)
    torch.cuda.synchronize()
