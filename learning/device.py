"""How the arithmetic is done: precision, determinism, and what becomes of freed memory."""

import contextlib
import ctypes
import os

import torch

from helpers.errors import InputError

AMP = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def set_determinism(on):
    """Ask for the same result every time, or for the fastest way to it; for the whole process, before a GPU is used.

    With determinism, operations take algorithms without a race, or raise where there is none; without it cuDNN tries out its
    algorithms and keeps the fastest. TF32 is deterministic: as torch ships it, convolutions use it and matrix products do not.
    """
    if on:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when CUDA starts
    torch.use_deterministic_algorithms(on)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads memory that it has not written
    torch.backends.cudnn.benchmark = not on


def keep_freed_memory():
    """Have the C library keep freed memory for the next step, for the whole process.

    It would give large blocks back to the system and fetch them anew, page by page, in every step. The most memory in use stays
    what it was. Does nothing where the C library is not glibc.
    """
    mmap_threshold, trim_threshold = -3, -1  # names of mallopt(3)
    with contextlib.suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        if libc.mallopt(mmap_threshold, 1 << 30):
            libc.mallopt(trim_threshold, 2**31 - 1)


def choose_precision(name, device):
    """Precision of a run on a device.

    Args:
        name: a key of `AMP`, or "auto": bf16 on GPUs that calculate with it, float32 ("off") elsewhere.
        device: torch.device.

    Returns:
        a key of `AMP`

    Raises:
        InputError: fp16 on a device without a gradient scaler.
    """
    if name == "auto":
        has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16" if has_bf16 else "off"
    if name == "fp16" and device.type != "cuda":
        raise InputError(f"--amp fp16 needs a CUDA GPU, but the device is {device}; use --amp bf16, off or auto")
    return name


def at_least_float32(x):
    """A tensor as it is, but in float32 where it has 16 bits: what losses and classes are taken from."""
    return x.float() if x.dtype.itemsize < 4 else x


class Precision:
    """Automatic mixed precision: convolutions in 16 bits; weights, losses and the statistics of norms in float32.

    Args:
        name: a key of `AMP`; with "fp16" the gradients are scaled, so that small ones do not vanish.
        device: torch.device.
    """

    def __init__(self, name, device):
        self.name, self.device = name, device
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    @property
    def scales(self):
        """Whether gradients are scaled, so that some steps are left out because they overflowed."""
        return self.scaler.is_enabled()

    def autocast(self):
        """Context of a forward pass."""
        return torch.autocast(self.device.type, AMP[self.name], enabled=self.name != "off")

    def inside(self, model):
        """The model with its forward pass in this precision, for wrappers that run it in threads of their own."""
        return _InPrecision(model, self)

    def backward(self, loss):
        """Add the gradients of a loss, scaled where that is needed."""
        self.scaler.scale(loss).backward()

    def step(self, optimizer):
        """Update the weights; a step whose scaled gradients overflowed is left out, and the scale lowered."""
        self.scaler.step(optimizer)
        self.scaler.update()


class _InPrecision(torch.nn.Module):
    def __init__(self, model, precision):
        super().__init__()
        self.model, self.precision = model, precision

    def forward(self, x):
        with self.precision.autocast():
            return self.model(x)


def pick_device(name):
    """torch.device: the one that was named; for "auto" CUDA, Apple's mps or the CPU, the first there is."""
    import torch

    from learning import distributed

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if distributed.is_launched() and name.startswith("cuda"):
        if name != "cuda":
            raise InputError(f"--device {name}: torchrun gives each process its GPU; leave --device out")
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        torch.zeros(1, device=name)
    except Exception as error:  # what an absent device raises differs between kinds and versions
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--device {name} cannot be used here ({reason}); use auto, cpu, cuda, cuda:N or mps"
        ) from None
    return torch.device(name)
