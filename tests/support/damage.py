"""Damages the content of files, reproducibly: bytes, text, and values of nested containers."""

import copy
import json
import math

import torch

CYCLE = []
CYCLE.append(CYCLE)
DEEP = []
for _ in range(100):
    DEEP = [DEEP]
VALUES = (
    None,
    True,
    -1,
    5,
    10**30,
    0.5,
    math.nan,
    math.inf,
    "x",
    "",
    "\ud800",
    "a\0b",
    [],
    [1, 2, 3],
    ["x"],
    {},
    {"x": 1},
)


def odd_tensors():
    """Tensors that weights are not."""
    dense = torch.ones(2, 3)
    return (
        dense,
        dense.to_sparse(),
        torch.ones(2, 3, device="meta"),
        torch.ones(1).expand(10**6, 10**6),
        torch.ones(2, dtype=torch.complex64),
        torch.quantize_per_tensor(dense, 0.1, 0, torch.quint8),
        torch.full((), math.nan),
        torch.zeros(0),
    )


def damaged_bytes(rng, content):
    """Some bytes changed, or the end cut off, or a part repeated."""
    content = bytearray(content)
    kind = rng.integers(3)
    if kind == 0 and content:
        for position in rng.integers(len(content), size=rng.integers(1, 9)):
            content[position] = rng.integers(256)
    elif kind == 1:
        del content[rng.integers(len(content) + 1) :]
    else:
        start, end = sorted(rng.integers(len(content) + 1, size=2))
        content[start:start] = content[start:end]
    return bytes(content)


def damaged_values(rng, value, values=VALUES):
    """A copy in which one value has another type, or is gone; mostly one near the top."""
    value = copy.copy(value)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    if not keys:
        return values[rng.integers(len(values))]
    key = keys[rng.integers(len(keys))]
    inside = value[key]
    if isinstance(inside, dict | list) and inside and rng.random() < 0.6:
        value[key] = damaged_values(rng, inside, values)
    elif rng.random() < 0.2:
        del value[key]
    else:
        value[key] = values[rng.integers(len(values))]
    return value


def damaged_json(rng, text):
    """JSON with another value somewhere, or damaged as text."""
    if rng.random() < 0.3:
        return damaged_bytes(rng, text.encode())
    if rng.random() < 0.1:
        return ('{"options": ' + "[" * 100_000 + "]" * 100_000 + "}").encode()
    return json.dumps(damaged_values(rng, json.loads(text))).encode()
