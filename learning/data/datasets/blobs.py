"""Blob rules: which classes stand on which ground. No torch here.

A rule set is a dict of ground class name -> tuple of the names of the classes that stand on it, as the `BLOB_RULES` of a data
set; on a command line it is written "road: bus, train; sidewalk: wall".
"""

from helpers.errors import InputError


def parse_rules(text):
    """The rule set that a command line gives.

    Args:
        text: "GROUND: CLASS, CLASS; GROUND: CLASS".

    Returns:
        dict of ground class name -> tuple of class names

    Raises:
        InputError: a rule without colon, or an empty name.
    """
    rules = {}
    for rule in filter(str.strip, text.split(";")):
        ground, colon, blobs = rule.partition(":")
        names = [name.strip() for name in (ground, *blobs.split(","))]
        if not colon or not all(names):
            raise InputError(f'--blob_rules: {rule.strip()!r} is no rule; write "road: bus, train; sidewalk: wall"')
        rules[names[0]] = (*rules.get(names[0], ()), *names[1:])
    if not rules:
        raise InputError('--blob_rules is empty: write "road: bus, train; sidewalk: wall", or leave it out')
    return rules


def rule_ids(rules, labels):
    """A rule set by train id.

    Args:
        rules: dict of ground class name -> tuple of class names.
        labels: helpers.labels.LabelTable.

    Returns:
        list of (blob class, ground class), train ids

    Raises:
        InputError: names a class that the table lacks, and those that it has.
    """
    pairs = []
    for ground, blobs in rules.items():
        ground_id, *blob_ids = labels.train_ids((ground, *blobs), "--blob_rules")
        pairs += [(blob_id, ground_id) for blob_id in blob_ids]
    return pairs
