"""Predictions in the forms that challenges ask for; the same input gives the same bytes."""

import io
import zipfile

import numpy as np

from helpers.images import write_png


def add_to_zip(archive, name, label):
    """Put a label map into a zip as an 8-bit PNG; the time stamp and rights are always the same.

    Args:
        archive: zipfile.ZipFile, open for writing.
        name: file name inside.
        label: uint8 (H, W).
    """
    file, entry = io.BytesIO(), zipfile.ZipInfo(name)  # of 1980, the first year that a zip knows
    write_png(file, label)
    entry.create_system, entry.external_attr = 3, 0o644 << 16  # on every system
    archive.writestr(entry, file.getvalue())  # stored: a PNG is compressed already


def run_lengths(mask, row_major=False):
    """Run-length encoding of a mask: "start length start length ...".

    Pixels are counted from 1, down each column and column after column, as Kaggle does; with `row_major` along each row.

    Args:
        mask: bool (H, W).

    Returns:
        str: empty for an empty mask.
    """
    flat = mask.ravel(order="C" if row_major else "F")
    bounds = np.flatnonzero(np.diff(flat.astype(np.int8), prepend=0, append=0))
    starts, ends = bounds[::2], bounds[1::2]
    return " ".join(map(str, np.stack([starts + 1, ends - starts], 1).ravel().tolist()))
