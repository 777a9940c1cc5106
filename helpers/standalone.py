"""Formats of networks as files that stand alone, and what they need."""

import importlib.util
from pathlib import Path

from helpers.errors import InputError

FORMATS = {".pt2": (), ".onnx": ("onnx", "onnxscript", "onnxruntime")}  # suffix -> packages it takes beyond torch


def check_format(path):
    """Refuse a file name of no known format, or one for which a package is missing; nothing is imported.

    Raises:
        InputError: names what is known, or what to install.
    """
    suffix = Path(path).suffix
    if suffix not in FORMATS:
        raise InputError(f"--export {path}: expected a name that ends with {' or '.join(FORMATS)}")
    missing = [name for name in FORMATS[suffix] if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"--export {path} needs {', '.join(missing)}: pip install -r requirements-extra.txt, or name a .pt2 file"
        )
