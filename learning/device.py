"""How a run computes: device, precision, determinism."""

import os

import torch

from helpers.errors import InputError
from helpers.launch import is_launched

AMP = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str) -> torch.device:
    """The device of that name; for "auto" the first of CUDA, Apple's mps and the CPU that there is.

    Under torchrun "cuda" is the GPU of this process.

    Raises:
        InputError: the device cannot be used.
    """
    if name == "auto":
        name = _best_device()
    if is_launched() and name.startswith("cuda"):
        if name != "cuda":
            raise InputError(f"--device {name}: torchrun gives each process its GPU; leave --device out")
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        torch.zeros(1, device=name)
    except Exception as error:  # what a missing device raises differs between devices and versions
        reason = str(error).splitlines()[0].split(". ")[0]  # torch lists all its backends behind it
        raise InputError(
            f"--device {name} cannot be used here ({reason}); use auto, cpu, cuda, cuda:N or mps"
        ) from None
    return torch.device(name)


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    return "cpu"


def set_determinism(on: bool) -> None:
    """Compute reproducibly, or as fast as possible; for the whole process, before a GPU is used.

    With determinism, operations use deterministic algorithms, or raise where there is none; without it cuDNN times its
    algorithms and keeps the fastest. TF32 is deterministic: as torch ships it, convolutions use it and matrix products do not.
    """
    if on:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when CUDA starts
    torch.use_deterministic_algorithms(on)
    # No operation here reads memory before it is written.
    # pyrefly: ignore [missing-attribute]  (a property that torch adds to this module when it is imported)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = not on


def choose_precision(name: str, device: torch.device) -> str:
    """The key of `AMP` that a run uses on a device.

    Args:
        name: a key of `AMP`, or "auto": bf16 on GPUs that compute with it, float32 ("off") elsewhere.

    Raises:
        InputError: fp16 on a device without a gradient scaler.
    """
    if name == "auto":
        has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16" if has_bf16 else "off"
    if name == "fp16" and device.type != "cuda":
        raise InputError(f"--amp fp16 needs a CUDA GPU, but the device is {device}; use --amp bf16, off or auto")
    return name


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """The tensor, converted to float32 if it has 16 bits; for logits, from which losses and predictions are computed."""
    return x.float() if x.dtype.itemsize < 4 else x


class Precision:
    """Automatic mixed precision: convolutions in 16 bits; weights, losses and the statistics of norms in float32.

    Args:
        name: a key of `AMP`; with "fp16" the gradients are scaled, so that small ones do not underflow.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.name = name
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    @property
    def scales_gradients(self) -> bool:
        """Whether gradients are scaled, so that steps are skipped whose scaled gradients overflow."""
        return self.scaler.is_enabled()

    def autocast(self) -> torch.autocast:
        """Context of a forward pass."""
        return torch.autocast(self.device.type, AMP[self.name], enabled=self.name != "off")

    def wrap_model(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model with autocast in its forward pass, for wrappers that run it in other threads."""
        return _Autocast(model, self)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss, scaled where that is needed."""
        self.scaler.scale(loss).backward()

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Update the weights; if scaled gradients overflowed, skip the step and lower the scale."""
        self.scaler.step(optimizer)
        self.scaler.update()


class _Autocast(torch.nn.Module):
    def __init__(self, model: torch.nn.Module, precision: Precision) -> None:
        super().__init__()
        self.model = model
        self.precision = precision

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        with self.precision.autocast():
            return self.model(x)
