"""Checkpoints: written whole or not at all, read without running code from them."""

import hashlib
import os
import pickle
import shutil
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from helpers.errors import InputError
from helpers.output import writing

# The tutorial's checkpoints hold its scores as numpy scalars; these types, and no others, may be built while reading.
# numpy 1 wrote its scalars under another module name.
_SCALAR = np.float64(0).__reduce__()[0]
_NUMPY_SCALARS = [_SCALAR, (_SCALAR, "numpy.core.multiarray.scalar"), np.dtype, np.float64, np.dtypes.Float64DType]


def save(state, path, previous=None):
    """Write a checkpoint atomically: a temporary file, flushed to disk, then renamed.

    Args:
        state: dict of tensors, plain values and containers of them.
        path: where it goes.
        previous: where the checkpoint that was at `path` goes, or None to drop it.

    Raises:
        InputError: the disk is full or the folder cannot be written; what was there before still is.
    """
    path = Path(path)
    state = _on_cpu(state)
    state["checksum"] = checksum(state)
    try:
        with writing(path) as fresh:
            with open(fresh, "wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            if previous is not None and path.exists():
                _keep(path, Path(previous))
        _flush_folder(path.parent)
    except (OSError, RuntimeError) as error:
        raise InputError(f"cannot write {path}: {error}; make room or name another --save_path") from error


def checksum(state):
    """str: SHA-256 over everything in a state but its own "checksum", in the order it is in.

    Args:
        state: dict of tensors on the CPU, plain values and containers of them.
    """
    digest = hashlib.sha256()

    def add(value):
        if isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
            # Any order of the pixels in memory will do, as long as it is the same when read: the logical one is.
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


def _on_cpu(value):
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {key: _on_cpu(part) for key, part in value.items()}
    return [_on_cpu(part) for part in value] if isinstance(value, list) else value


def _flush_folder(folder):
    """Have a renaming survive a power cut, where the system can do that."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _keep(path, previous):
    """Give a file a second name, in place of the file that has it, so that at no moment either name is without a file."""
    with writing(previous) as link:
        try:
            os.link(path, link)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, link)


def load(path):
    """Read a checkpoint on the CPU, tensors and plain values only.

    Returns:
        dict; "model_state_dict" has names without `module.`.

    Raises:
        InputError: missing, no checkpoint, or one that holds more than tensors and plain values.
    """
    if not Path(path).is_file():
        raise InputError(f"there is no checkpoint {path}")
    try:
        with torch.serialization.safe_globals(_NUMPY_SCALARS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's words on odd files; what is wrong with them is said below
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path} is no checkpoint of tensors and plain values, so it was not opened ({reason})"
        ) from None
    except Exception as error:  # a damaged file fails in torch's reader in many ways
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} is no checkpoint, or is damaged: {reason}") from None
    if isinstance(state, Mapping) and "checksum" in state and state["checksum"] != checksum(state):
        raise InputError(f"{path} is damaged: its content does not have the checksum that was written with it")
    weights = state.get("model_state_dict", state) if isinstance(state, Mapping) else None
    if not weights or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise InputError(f"{path} holds no model weights: expected a dict with model_state_dict")
    state = dict(state) if "model_state_dict" in state else {}
    state["model_state_dict"] = {name.removeprefix("module."): value for name, value in weights.items()}
    return state


def load_validated(path):
    """As `load`, with the weights that were validated: of a run with --ema the averaged ones, where both are in the file."""
    state = load(path)
    return state | {"model_state_dict": (state.get("average") or state)["model_state_dict"]}


def unwrap(model):
    """The model itself, without the wrapper that spreads it over GPUs; its weights carry no `module.`."""
    return model.module if isinstance(model, torch.nn.DataParallel) else model


def load_weights(model, state, path, architecture):
    """Load all weights of a checkpoint.

    Args:
        model: torch.nn.Module, not wrapped.
        state: what `load` returned.
        path: its file, for messages.
        architecture: dict of the options that decide the weights, such as {"model": ..., "norm": ..., "dataset": ...}.

    Raises:
        InputError: names the option that differs from the checkpoint's, or what does not fit.
    """
    stored = state.get("options") or {}
    state = state | {"model_state_dict": without_void(state["model_state_dict"], model.state_dict())}
    for name, value in architecture.items():
        if name in stored and stored[name] != value:
            raise InputError(f"{path} was trained with --{name} {stored[name]}, but --{name} is {value}")
    expected, weights = model.state_dict(), state["model_state_dict"]
    wrong = [name for name in expected if name in weights and weights[name].shape != expected[name].shape]
    absent = [name for name in expected if name not in weights]
    unknown = [name for name in weights if name not in expected]
    if not (wrong or absent or unknown):
        model.load_state_dict(weights)
        return
    options = " ".join(f"--{name} {value}" for name, value in architecture.items())
    if wrong and not absent and not unknown:
        shapes = [" x ".join(map(str, tensors[wrong[0]].shape)) for tensors in (weights, expected)]
        detail = f"{wrong[0]} is {shapes[0]}, expected {shapes[1]} (another --dataset, so another number of classes?)"
    else:
        example = (absent or unknown)[0]
        detail = f"{len(absent)} weights are missing and {len(unknown)} are unknown, such as {example}"
    raise InputError(f"{path} does not fit {options}: {detail}")


def load_pretrained(model, path):
    """Load those weights of a file whose names and shapes fit.

    Returns:
        (list of str, dict): names that were loaded; names of the file that were left out -> why.

    Raises:
        InputError: not one weight fits.
    """
    weights, expected = load(path)["model_state_dict"], model.state_dict()
    # A bare backbone, as torchvision publishes them, goes into the backbone.
    if not any(name in expected for name in weights):
        weights = {f"backbone.{name}": value for name, value in weights.items()}
    fits, skipped = {}, {}
    for name, value in without_void(weights, expected).items():
        if name not in expected:
            skipped[name] = "the model has no such weight"
        elif value.shape == expected[name].shape:
            fits[name] = value
        else:
            shapes = (" x ".join(map(str, tensor.shape)) for tensor in (value, expected[name]))
            skipped[name] = "{} instead of {}".format(*shapes)
    if not fits:
        raise InputError(f"--pretrained {path}: not one of its {len(weights)} weights fits the model")
    model.load_state_dict(fits, strict=False)
    return list(fits), skipped


def without_void(weights, expected):
    """Weights in which the tutorial's last layer has lost its output for void; others as they are."""
    return {
        name: value[:-1] if name in expected and is_tutorials_last_layer(value, expected[name]) else value
        for name, value in weights.items()
    }


def is_tutorials_last_layer(value, expected):
    """Whether a weight is that of the tutorial's last layer, which has void as a further class at the end: 20 outputs for 19."""
    return value.shape[:1] == (20,) and expected.shape[:1] == (19,) and value.shape[1:] == expected.shape[1:]


def file_hash(path):
    """str: SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
