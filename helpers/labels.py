"""Class tables: names, label ids, train ids, colors, categories, instances.

A *label id* is the value in a data set's label files. A *train id* is 0 .. C-1 for the C classes that are learned and scored,
and `VOID` for all others. A *file value* is a label id or a train id, depending on how a label file is encoded.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from helpers.errors import InputError

VOID = 255  # the ignore index everywhere in this program


class Label(NamedTuple):
    """One row of a class table; `ignored` rows are neither learned nor scored. `color` is RGB, 0 .. 255."""

    name: str
    id: int
    train_id: int
    category: str
    has_instances: bool
    ignored: bool
    color: tuple[int, int, int]


@dataclass(frozen=True)
class LabelTable:
    """All labels of a data set, in the order of their ids.

    Args:
        rows: ids 0 .. n-1 without gaps, so that a confusion matrix over label ids is n x n.
        mean_instance_size: mean number of pixels of an instance, by class name, for nIoU; empty without instances.
    """

    rows: tuple[Label, ...]
    mean_instance_size: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert [row.id for row in self.rows] == list(range(len(self.rows))), "label ids have gaps"
        assert [row.train_id for row in self.classes] == list(range(len(self.classes))), "train ids have gaps"

    @cached_property
    def classes(self) -> tuple[Label, ...]:
        """The C learned and scored rows, by train id."""
        return tuple(sorted((row for row in self.rows if not row.ignored), key=lambda row: row.train_id))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Class names by train id."""
        return tuple(row.name for row in self.classes)

    def train_ids(self, names: Iterable[str], where: str) -> list[int]:
        """Train ids of class names.

        Args:
            where: source of the names, such as an option, for the error message.

        Raises:
            InputError: a name is not in the table; the message lists all names.
        """
        for name in names:
            if name not in self.names:
                raise InputError(f"{where}: there is no class {name!r}; the classes are {', '.join(self.names)}")
        return [self.names.index(name) for name in names]

    @cached_property
    def categories(self) -> dict[str, tuple[Label, ...]]:
        """All rows of each category, ignored ones included, for every category that has a scored class."""
        scored = dict.fromkeys(row.category for row in self.classes)
        return {name: tuple(row for row in self.rows if row.category == name) for name in scored}

    @cached_property
    def palette(self) -> np.ndarray:
        """uint8 (256, 3): RGB by train id; black for VOID and unused values."""
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(self.classes)] = [row.color for row in self.classes]
        return palette

    @cached_property
    def ids(self) -> np.ndarray:
        """uint8 (256,): label id by train id; `void_id` for VOID and unused values."""
        ids = np.full(256, self.void_id, np.uint8)
        ids[: len(self.classes)] = [row.id for row in self.classes]
        return ids

    @cached_property
    def void_id(self) -> int:
        """The label id of void: the first ignored row."""
        return next(row.id for row in self.rows if row.ignored)

    def decoder(self, encoding: str, target: str) -> tuple[np.ndarray, np.ndarray]:
        """Lookup table for the values of a label file.

        Args:
            encoding: "ids" (the file holds label ids) or "train_ids". 255 is void in both.
            target: "ids" or "train_ids".

        Returns:
            uint8 (256,), the target value of each file value, void for unknown ones; bool (256,), whether a file value is known.
        """
        ids = self.ids.copy()
        num_known = len(self.classes)
        if encoding == "ids":
            num_known = len(self.rows)
            ids[:num_known] = np.arange(num_known)
        known = np.zeros(256, bool)
        known[:num_known] = True
        known[VOID] = True
        if target == "ids":
            return ids, known
        train_ids = np.array([VOID if row.ignored else row.train_id for row in self.rows], np.uint8)
        return train_ids[ids], known


_Row = tuple[str, int, int, str, bool, bool, tuple[int, int, int]]


def _table(rows: Sequence[_Row], mean_instance_size: Mapping[str, float] | None = None) -> LabelTable:
    return LabelTable(tuple(Label(*row) for row in rows), mean_instance_size or {})


# Cityscapes (Cordts et al., CVPR 2016): ids, train ids, categories and colors as the benchmark publishes them. Its "license
# plate" has id -1 and does not occur in files. Mean instance sizes are the constants of its nIoU.
CITYSCAPES = _table(
    [
        ("unlabeled", 0, VOID, "void", False, True, (0, 0, 0)),
        ("ego vehicle", 1, VOID, "void", False, True, (0, 0, 0)),
        ("rectification border", 2, VOID, "void", False, True, (0, 0, 0)),
        ("out of roi", 3, VOID, "void", False, True, (0, 0, 0)),
        ("static", 4, VOID, "void", False, True, (0, 0, 0)),
        ("dynamic", 5, VOID, "void", False, True, (111, 74, 0)),
        ("ground", 6, VOID, "void", False, True, (81, 0, 81)),
        ("road", 7, 0, "flat", False, False, (128, 64, 128)),
        ("sidewalk", 8, 1, "flat", False, False, (244, 35, 232)),
        ("parking", 9, VOID, "flat", False, True, (250, 170, 160)),
        ("rail track", 10, VOID, "flat", False, True, (230, 150, 140)),
        ("building", 11, 2, "construction", False, False, (70, 70, 70)),
        ("wall", 12, 3, "construction", False, False, (102, 102, 156)),
        ("fence", 13, 4, "construction", False, False, (190, 153, 153)),
        ("guard rail", 14, VOID, "construction", False, True, (180, 165, 180)),
        ("bridge", 15, VOID, "construction", False, True, (150, 100, 100)),
        ("tunnel", 16, VOID, "construction", False, True, (150, 120, 90)),
        ("pole", 17, 5, "object", False, False, (153, 153, 153)),
        ("polegroup", 18, VOID, "object", False, True, (153, 153, 153)),
        ("traffic light", 19, 6, "object", False, False, (250, 170, 30)),
        ("traffic sign", 20, 7, "object", False, False, (220, 220, 0)),
        ("vegetation", 21, 8, "nature", False, False, (107, 142, 35)),
        ("terrain", 22, 9, "nature", False, False, (152, 251, 152)),
        ("sky", 23, 10, "sky", False, False, (70, 130, 180)),
        ("person", 24, 11, "human", True, False, (220, 20, 60)),
        ("rider", 25, 12, "human", True, False, (255, 0, 0)),
        ("car", 26, 13, "vehicle", True, False, (0, 0, 142)),
        ("truck", 27, 14, "vehicle", True, False, (0, 0, 70)),
        ("bus", 28, 15, "vehicle", True, False, (0, 60, 100)),
        ("caravan", 29, VOID, "vehicle", True, True, (0, 0, 90)),
        ("trailer", 30, VOID, "vehicle", True, True, (0, 0, 110)),
        ("train", 31, 16, "vehicle", True, False, (0, 80, 100)),
        ("motorcycle", 32, 17, "vehicle", True, False, (0, 0, 230)),
        ("bicycle", 33, 18, "vehicle", True, False, (119, 11, 32)),
    ],
    mean_instance_size={
        "bicycle": 4672.3249222261,
        "caravan": 36771.8241758242,
        "motorcycle": 6298.7200839748,
        "rider": 3930.4788056518,
        "bus": 35732.1511111111,
        "train": 67583.7075812274,
        "car": 12794.0202738185,
        "person": 3462.4756337644,
        "truck": 27855.1264367816,
        "trailer": 16926.9763313609,
    },
)

# CamVid (Brostow, Fauqueur, Cipolla, 2009) in the 11 classes of SegNet (Badrinarayanan et al., 2017), with SegNet's colors. The
# categories are the four of Brostow et al.'s table of classes.
CAMVID = _table(
    [
        ("Sky", 0, 0, "ceiling", False, False, (128, 128, 128)),
        ("Building", 1, 1, "fixed", False, False, (128, 0, 0)),
        ("Pole", 2, 2, "fixed", False, False, (192, 192, 128)),
        ("Road", 3, 3, "road", False, False, (128, 64, 128)),
        ("Pavement", 4, 4, "fixed", False, False, (60, 40, 222)),
        ("Tree", 5, 5, "fixed", False, False, (128, 128, 0)),
        ("SignSymbol", 6, 6, "fixed", False, False, (192, 128, 128)),
        ("Fence", 7, 7, "fixed", False, False, (64, 64, 128)),
        ("Car", 8, 8, "moving", False, False, (64, 0, 128)),
        ("Pedestrian", 9, 9, "moving", False, False, (64, 64, 0)),
        ("Bicyclist", 10, 10, "moving", False, False, (0, 128, 192)),
        ("Void", 11, VOID, "void", False, True, (0, 0, 0)),
    ]
)
