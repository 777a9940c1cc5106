"""The most memory that something takes, and whether it runs within a limit."""

import gc
import resource
import sys

import torch

from tools.benchmark.measure import one_line, progress

_GIB = 2**30


def reset_peak():
    """Begin a new measurement of the GPU's memory.

    Returns:
        int: bytes in use now; 0 without a CUDA GPU.
    """
    if not torch.cuda.is_available():
        return 0
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def peak_gib(device, occupied=0):
    """float: the most memory in use, in GiB: of a CUDA GPU since `reset_peak`, else of the process since it began.

    Args:
        device: torch.device.
        occupied: bytes on the GPU that belong to something else.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - occupied) / _GIB
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _GIB


def fits(make, limit):
    """Whether a variant trains from its first step on where torch may take no more than `limit` bytes of the GPU.

    To be asked before anything else lies on the GPU; nothing of it stays there.

    Args:
        make: function that builds the variant.
        limit: bytes.

    Returns:
        dict: "fits", "reserved_gib" (what torch took of the GPU), "limit_gib", and "words" for people.
    """
    progress(f"training within {limit / _GIB:.2f} GiB")
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit / torch.cuda.mem_get_info()[1]))
    try:
        variant = make()
        variant.loop([variant.ready_batch()] * 4)
        torch.cuda.synchronize()
        error = None
    except Exception as failure:  # out of memory is the answer, and so is whatever cuDNN says instead
        error = one_line(failure)
    reserved = torch.cuda.max_memory_reserved() / _GIB
    variant = None
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1.0)
    words = f"where torch may take {limit / _GIB:.2f} GiB of the GPU, --checkpoint_blocks " + (
        f"fails: {error}" if error else f"trains; it took {reserved:.2f} GiB"
    )
    return {"fits": error is None, "reserved_gib": reserved, "limit_gib": limit / _GIB, "words": words}
