"""One run on several processes, as torchrun starts them; with one process every function here is a no-op.

Numbers are added up exactly where they are counts, and divided once. A second group of processes, on the CPU, carries the
agreements on what to do next, so that they never wait for a GPU.
"""

import contextlib
import datetime
import os

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

TIMEOUT = datetime.timedelta(minutes=30)  # a rank may decode the data while the others wait
_control = None


def is_launched():
    """Whether torchrun, or something that sets its environment variables, has started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", 1)) > 1


def start(device):
    """Join the other processes, if there are any.

    Args:
        device: torch.device of this process.
    """
    global _control
    if not is_launched():
        return
    if not dist.is_initialized():
        store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
        if os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]:
            # What the processes of an attempt told each other must not be taken for the words of the next: on one machine
            # torchrun keeps their store from one restart to the other.
            store = dist.PrefixStore(f"attempt_{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=TIMEOUT, store=store, rank=rank, world_size=size)
        _control = dist.new_group(backend="gloo", timeout=TIMEOUT)


def stop():
    """Leave the other processes; to be called where nothing holds a `spread` model any more.

    The groups have threads, which end with the last reference to their group. One that is still at work when the interpreter
    shuts down aborts the process.
    """
    global _control
    if dist.is_initialized():
        _control = None
        dist.destroy_process_group()


def size():
    """int: number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank():
    """int: which of them this is, 0 .. size - 1."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_main():
    """Whether this is the process that prints and writes."""
    return rank() == 0


def all_reduce_sum(tensor):
    """A new tensor: the sum of what the processes hold, on every one of them."""
    if size() == 1:
        return tensor
    total = tensor.clone()
    dist.all_reduce(total)
    return total


def all_reduce_max(number):
    """int: the largest of the numbers that the processes bring, 0 or more; does not wait for a GPU."""
    if size() == 1:
        return number
    largest = torch.tensor(number)
    dist.all_reduce(largest, dist.ReduceOp.MAX, group=_control)
    return int(largest)


def wait():
    """Wait until every process is here."""
    if size() > 1:
        dist.barrier(group=_control)


def wrap_ddp(model, device):
    """A model whose gradients are the mean over the processes; on GPUs its batch norms take the whole batch's statistics."""
    if size() == 1:
        return model
    if device.type == "cuda":
        model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    devices = [device.index] if device.type == "cuda" else None
    return torch.nn.parallel.DistributedDataParallel(model, devices, gradient_as_bucket_view=True)


def broadcast_buffers(model):
    """Give every process the running statistics of the first, whose weights are saved: validation is of one model."""
    for buffer in model.buffers() if size() > 1 else ():
        dist.broadcast(buffer, 0)


def gradients(model, complete):
    """Context of a forward and backward pass; gradients are exchanged only where they are `complete`."""
    model = getattr(model, "_orig_mod", model)  # what torch.compile has compiled
    parallel = isinstance(model, torch.nn.parallel.DistributedDataParallel)
    return model.no_sync() if parallel and not complete else contextlib.nullcontext()
