"""How findings list the names of layers, weights and classes."""

from collections.abc import Sequence

_MAX_NAMES = 3


def listed(names: Sequence[str]) -> str:
    """The first names, and the number of the others."""
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more
