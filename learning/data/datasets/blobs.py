"""Blob rules: which classes stand on which ground. No torch here.

Rules map a ground class to the classes that stand on it, as the `BLOB_RULES` of a data set; on a command line they are
written "road: bus, train; sidewalk: wall".
"""

from collections.abc import Mapping, Sequence

from helpers.errors import InputError
from helpers.labels import LabelTable


def parse_rules(text: str) -> dict[str, tuple[str, ...]]:
    """Rules from "GROUND: CLASS, CLASS; GROUND: CLASS".

    Raises:
        InputError: a rule without colon, or an empty name.
    """
    rules: dict[str, tuple[str, ...]] = {}
    for rule in filter(str.strip, text.split(";")):
        ground, colon, blobs = rule.partition(":")
        names = [name.strip() for name in (ground, *blobs.split(","))]
        if not colon or not all(names):
            raise InputError(f'--blob_rules: {rule.strip()!r} is not a rule; write "road: bus, train; sidewalk: wall"')
        rules[names[0]] = (*rules.get(names[0], ()), *names[1:])
    if not rules:
        raise InputError('--blob_rules is empty: write "road: bus, train; sidewalk: wall", or leave it out')
    return rules


def rule_ids(rules: Mapping[str, Sequence[str]], labels: LabelTable) -> list[tuple[int, int]]:
    """Rules as pairs (blob class, ground class) of train ids.

    Raises:
        InputError: a class that is not in the table.
    """
    pairs = []
    for ground, blobs in rules.items():
        ground_id, *blob_ids = labels.train_ids((ground, *blobs), "--blob_rules")
        pairs += [(blob_id, ground_id) for blob_id in blob_ids]
    return pairs
