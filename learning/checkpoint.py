"""Checkpoints: written atomically, verified by a checksum, read without executing code from them."""

import hashlib
import os
import pickle
import shutil
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from helpers.errors import InputError, error_line
from helpers.forms import leaves, misfit
from helpers.output import writing

# The tutorial's checkpoints hold its scores as numpy scalars; no other types than these are allowed besides torch's own.
# numpy 1 wrote its scalars under another module name.
_SCALAR: Any = np.float64(0).__reduce__()[0]
_NUMPY_SCALARS = [_SCALAR, (_SCALAR, "numpy.core.multiarray.scalar"), np.dtype, np.float64, np.dtypes.Float64DType]

State = dict[str, Any]  # tensors, plain values and containers of them; each reader knows the types of its own entries
Weights = Mapping[str, torch.Tensor]


def save(state: Mapping[str, object], path: str | Path, previous: str | Path | None = None) -> None:
    """Write a checkpoint atomically: a temporary file, flushed to disk, then renamed.

    Args:
        state: tensors, plain values and containers of them.
        previous: where an existing file `path` is moved; None replaces it.

    Raises:
        InputError: the disk is full or the folder cannot be written; existing files are unchanged.
    """
    path = Path(path)
    state = {key: _to_cpu(value) for key, value in state.items()}
    state["checksum"] = checksum(state)
    try:
        with writing(path) as fresh:
            with open(fresh, "wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            if previous is not None and path.exists():
                _link(path, Path(previous))
        _sync_folder(path.parent)
    except OSError as error:
        raise InputError(error_line(error)) from error


# The CRC-32 of the zip file would not do: torch does not verify it, and `ZipFile.testzip` does not cover the attributes of its
# members. Where a flipped bit marks a tensor as a folder, testzip finds no fault and torch returns uninitialized memory.
def checksum(state: Mapping[str, object]) -> str:
    """SHA-256 over everything in a state but its entry "checksum", in its order.

    Args:
        state: tensors on the CPU, plain values and containers of them.
    """
    digest = hashlib.sha256()

    def add(value: object) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
            # Elements in logical order, since strides may change between writing and reading.
            digest.update(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        elif isinstance(value, Mapping):
            for key, part in value.items():
                digest.update(repr(key).encode())
                add(part)
        elif isinstance(value, (list, tuple)):
            digest.update(str(len(value)).encode())
            for part in value:
                add(part)
        else:
            digest.update(repr(value).encode())

    add({key: value for key, value in state.items() if key != "checksum"})
    return digest.hexdigest()


def _to_cpu(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {key: _to_cpu(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_to_cpu(part) for part in value]
    return value


def _sync_folder(folder: Path) -> None:
    """Flush a renaming to disk, where the system can do that."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _link(path: Path, previous: Path) -> None:
    """Give a file a second name, replacing the file of that name; both names exist at every moment."""
    with writing(previous) as link:
        try:
            os.link(path, link)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, link)


def load(path: str | Path) -> State:
    """Read a checkpoint to the CPU, tensors and plain values only.

    Returns:
        The state; names in its "model_state_dict" are without `module.`.

    Raises:
        InputError: missing, not a checkpoint, damaged, or with more than tensors and plain values.
    """
    if not Path(path).is_file():
        raise InputError(f"there is no checkpoint {path}")
    try:
        state = _read(path)
        _check_content(state)
        is_damaged = isinstance(state, dict) and "checksum" in state and state["checksum"] != checksum(state)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path} is not a checkpoint of tensors and plain values, so it was not opened ({reason})"
        ) from None
    except Exception as error:  # torch raises many kinds of errors for damaged files
        reason = (str(error).splitlines() or ["the file ends too early"])[0]
        raise InputError(f"{path} is not a checkpoint, or is damaged ({reason}); restore it, or name another") from None
    if is_damaged:
        raise InputError(
            f"{path} is damaged: its content does not have the checksum that was written with it; restore it"
        )
    state = state if isinstance(state, dict) else {}
    whole = state if "model_state_dict" in state else {}
    return {**whole, "model_state_dict": _weights(state.get("model_state_dict", state), path)}


def _read(path: str | Path) -> Any:
    with torch.serialization.safe_globals(_NUMPY_SCALARS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd files, which raise
        return torch.load(path, map_location="cpu", weights_only=True)


def _check_content(state: object) -> None:
    """Raise `ValueError` for content that no program here saves and that cannot be used as usual tensors and values can."""
    for leaf in leaves(state):
        if not isinstance(leaf, torch.Tensor):
            continue
        if leaf.layout != torch.strided or leaf.is_quantized or leaf.is_complex() or leaf.device.type != "cpu":
            raise ValueError(
                f"a tensor that is not dense, real and stored in the file: {leaf.layout}, {leaf.dtype}, {leaf.device}"
            )
        if leaf.numel() * leaf.element_size() > leaf.untyped_storage().nbytes():
            raise ValueError(f"a tensor of {leaf.numel()} values, which the file does not hold")


def _weights(weights: object, path: str | Path) -> dict[str, torch.Tensor]:
    """Weights by name, without `module.`; raises `InputError` for anything else."""
    if not weights or misfit(weights, dict[str, torch.Tensor], "model_state_dict"):
        raise InputError(f"{path} holds no model weights: expected a dict with model_state_dict")
    return {name.removeprefix("module."): value for name, value in cast("Weights", weights).items()}


def check_form(state: State, form: type, path: str | Path) -> None:
    """Raise `InputError` where the entries of a checkpoint do not have the types of a TypedDict."""
    if reason := misfit(state, form, "the checkpoint"):
        raise InputError(f"{path} is damaged ({reason}); name another checkpoint")


def stored_options(state: State) -> dict[str, Any]:
    """The options of the run that a checkpoint was saved with; {} where it holds none, as the tutorial's."""
    found = state.get("options")
    return found if isinstance(found, dict) else {}


def load_validated(path: str | Path) -> State:
    """As `load`, with the weights that were validated: the averaged ones of a run with --ema, where the file holds both."""
    state = load(path)
    average = state.get("average")
    if not isinstance(average, dict) or "model_state_dict" not in average:
        return state
    return state | {"model_state_dict": _weights(average["model_state_dict"], path)}


def load_weights(
    model: torch.nn.Module,
    state: State,
    path: str | Path,
    architecture: Mapping[str, object],
    may_differ: bool = False,
) -> None:
    """Load all weights of a checkpoint.

    Args:
        model: not wrapped.
        state: from `load`.
        path: its file, for messages.
        architecture: the options that decide the weights, such as {"model": ..., "norm": ..., "dataset": ...}.
        may_differ: accept other options than the checkpoint's where its weights fit all the same.

    Raises:
        InputError: names the option that differs from the checkpoint's, or the weights that do not fit.
    """
    stored = stored_options(state)
    expected = model.state_dict()
    weights = without_void(state["model_state_dict"], expected)
    mismatch = _mismatch(weights, expected)
    for name, value in architecture.items():
        if name in stored and stored[name] != value and (mismatch or not may_differ):
            raise InputError(f"{path} was trained with --{name} {stored[name]}, but --{name} is {value}")
    if mismatch:
        options = " ".join(f"--{name} {value}" for name, value in architecture.items())
        raise InputError(f"{path} does not fit {options or 'the options of its run'}: {mismatch}")
    model.load_state_dict(weights)


def _mismatch(weights: Weights, expected: Weights) -> str | None:
    """How the names and shapes of weights differ from the expected ones; None if they do not."""
    wrong = [name for name in expected if name in weights and weights[name].shape != expected[name].shape]
    missing = [name for name in expected if name not in weights]
    unknown = [name for name in weights if name not in expected]
    if missing or unknown:
        example = (missing or unknown)[0]
        return f"{len(missing)} weights are missing and {len(unknown)} are unknown, such as {example}"
    if wrong:
        name = wrong[0]
        shapes = f"{name} is {_shape(weights[name])}, expected {_shape(expected[name])}"
        return f"{shapes} (another --dataset, so another number of classes?)"
    return None


def _shape(tensor: torch.Tensor) -> str:
    return " x ".join(map(str, tensor.shape))


def load_pretrained(model: torch.nn.Module, path: str | Path) -> tuple[list[str], dict[str, str]]:
    """Load those weights of a file whose names and shapes fit.

    Returns:
        Names that were loaded, and why each other weight of the file was not.

    Raises:
        InputError: no weight fits.
    """
    weights = load(path)["model_state_dict"]
    expected = model.state_dict()
    # A bare backbone, as torchvision publishes them, goes into the backbone.
    if not any(name in expected for name in weights):
        weights = {f"backbone.{name}": value for name, value in weights.items()}
    fitting = {}
    skipped = {}
    for name, value in without_void(weights, expected).items():
        if name not in expected:
            skipped[name] = "the model has no such weight"
        elif value.shape == expected[name].shape:
            fitting[name] = value
        else:
            skipped[name] = f"{_shape(value)} instead of {_shape(expected[name])}"
    if not fitting:
        raise InputError(f"--pretrained {path}: not one of its {len(weights)} weights fits the model")
    model.load_state_dict(fitting, strict=False)
    return list(fitting), skipped


def without_void(weights: Weights, expected: Weights) -> dict[str, torch.Tensor]:
    """The weights, with the output for void removed from the tutorial's last layer."""
    return {
        name: value[:-1] if name in expected and is_tutorials_last_layer(value, expected[name]) else value
        for name, value in weights.items()
    }


def is_tutorials_last_layer(value: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether a weight belongs to the tutorial's last layer, which has 20 outputs for 19 classes: void is the last."""
    return value.shape[:1] == (20,) and expected.shape[:1] == (19,) and value.shape[1:] == expected.shape[1:]
