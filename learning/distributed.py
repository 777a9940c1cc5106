"""One run on several processes, as torchrun starts them; with one process the functions here do nothing.

Counts are summed exactly, and divided once. A second process group, on the CPU, carries the decisions about what to do next,
so that these do not wait for a GPU.
"""

import contextlib
import datetime
import os
from contextlib import AbstractContextManager

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from helpers.launch import is_first_here, is_launched

TIMEOUT = datetime.timedelta(minutes=30)  # a rank may decode the data set while the others wait
_control: dist.ProcessGroup | None = None
_store: dist.Store | None = None  # where the processes have met


def init_process_groups(device: torch.device) -> None:
    """Join the process groups, if there are several processes; `device` is that of this process."""
    global _control, _store
    if not is_launched():
        return
    if not dist.is_initialized():
        store, rank, world_size = next(rendezvous("env://", timeout=TIMEOUT))
        if os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]:
            # On one machine torchrun keeps the store over its restarts; a prefix separates the entries of each attempt.
            store = dist.PrefixStore(f"attempt_{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=TIMEOUT, store=store, rank=rank, world_size=world_size)
        group = dist.new_group(backend="gloo", timeout=TIMEOUT)
        assert isinstance(group, dist.ProcessGroup)
        _control = group
        _store = store


def destroy_process_groups() -> None:
    """Leave the process groups; to be called where nothing refers to the model of `wrap_ddp` any more.

    The threads of a group end with the last reference to it. A thread that still works when the interpreter shuts down aborts
    the process.
    """
    global _control, _store
    if dist.is_initialized():
        _control = _store = None
        dist.destroy_process_group()


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, 0 .. size - 1."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """Whether this is the process that prints and writes."""
    return rank() == 0


def is_first_to_fail() -> bool:
    """Whether this process says why the run fails, because no other has said so before. To be asked once."""
    if not _store:
        return is_first_here()
    try:
        return _store.add("failures", 1) == 1
    except RuntimeError:  # the process that kept the store is gone
        return False


def is_lost_connection(error: BaseException) -> bool:
    """Whether an error says that another process has ended or does not answer."""
    return world_size() > 1 and (isinstance(error, dist.DistError) or "gloo" in str(error))


def all_reduce_sum(tensor: torch.Tensor) -> torch.Tensor:
    """The sum over the processes, on every one of them; the argument is unchanged."""
    if world_size() == 1:
        return tensor
    total = tensor.clone()
    dist.all_reduce(total)
    return total


def all_reduce_max(number: int) -> int:
    """The largest number of all processes, on every one of them; does not wait for a GPU."""
    if world_size() == 1:
        return number
    largest = torch.tensor(number)
    dist.all_reduce(largest, dist.ReduceOp.MAX, group=_control)
    return int(largest)


def barrier() -> None:
    """Wait until every process is here; does not wait for a GPU."""
    if world_size() > 1:
        dist.barrier(group=_control)


def wrap_ddp(model: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """The model in DistributedDataParallel, if there are several processes; on GPUs with synchronized batch norms."""
    if world_size() == 1:
        return model
    if device.type == "cuda":
        model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    devices = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(model, devices, gradient_as_bucket_view=True)


def broadcast_buffers(model: torch.nn.Module) -> None:
    """Give every process the running statistics of the main process, whose weights are saved, so that all validate one model."""
    if world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def gradient_sync(model: torch.nn.Module, complete: bool) -> AbstractContextManager[None]:
    """Context of a forward and backward pass; gradients are averaged over the processes if they are `complete`."""
    original = getattr(model, "_orig_mod", model)  # torch.compile wraps the model
    if isinstance(original, DistributedDataParallel) and not complete:
        return original.no_sync()
    return contextlib.nullcontext()
