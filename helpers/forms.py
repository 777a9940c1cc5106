"""Checks values that were read from a file: what they are made of, and whether they have the types that a reader expects."""

import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

INT64 = range(-(2**63), 2**63)
_MAX_DEPTH = 50
_MAX_VALUES = 10**7


def leaves(value: object) -> Iterator[object]:
    """The values in nested containers that are not containers themselves, keys included.

    Raises:
        ValueError: containers nested too deeply, as those that contain themselves are; too many values; integers of more than 64
            bits; text that no file name or text file can hold.
    """
    waiting = [(value, 0)]
    number = 0
    while waiting:
        part, depth = waiting.pop()
        if isinstance(part, Mapping):
            children = [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple | set | frozenset):
            children = [*part]
        else:
            _check_leaf(part)
            yield part
            continue
        number += len(children)
        if depth == _MAX_DEPTH:
            raise ValueError(f"nested more than {_MAX_DEPTH} deep")
        if number > _MAX_VALUES:
            raise ValueError(f"more than {_MAX_VALUES} values")
        waiting += [(child, depth + 1) for child in children]


def _check_leaf(value: object) -> None:
    if isinstance(value, int) and value not in INT64:
        raise ValueError("an integer of more than 64 bits")
    if isinstance(value, str):
        value.encode("utf-8", "surrogateescape")  # as file names are encoded that are not UTF-8
        if "\0" in value:
            raise ValueError("text with a null character")


def misfit(value: typing.Any, form: typing.Any, name: str) -> str | None:
    """How a value differs from a type, such as "extra data is 5, expected list"; None where it does not.

    Args:
        form: a class, None, list[T], dict[K, V], a TypedDict, T | U, or Annotated[T, allowed] where `allowed` is a
            `helpers.parsing.Range`. An int is also a float, a bool is no int.
        name: of the value.
    """
    origin = typing.get_origin(form)
    arguments = typing.get_args(form)
    if origin in (typing.Union, types.UnionType):
        found = [misfit(value, part, name) for part in arguments]
        return None if None in found else found[0]
    if origin is typing.Annotated:
        kind, allowed = arguments
        if found := misfit(value, kind, name):
            return found
        return None if value in allowed else _difference(value, allowed.words, name)
    if typing.is_typeddict(form):
        return _wrong_entry(value, form, name)
    if not _is_of(value, origin or form):
        return _difference(value, "None" if form is types.NoneType else (origin or form).__name__, name)
    wrong: Iterable[str | None] = ()
    if origin is list:
        wrong = (misfit(part, arguments[0], f"{name}[{index}]") for index, part in enumerate(value))
    elif origin is dict:
        wrong = chain(
            (misfit(key, arguments[0], f"a name in {name}") for key in value),
            (misfit(part, arguments[1], f"{name}.{key}") for key, part in value.items()),
        )
    return next(filter(None, wrong), None)


def _wrong_entry(value: object, form: typing.Any, name: str) -> str | None:
    """`misfit` for a TypedDict."""
    if not isinstance(value, dict):
        return _difference(value, "dict", name)
    missing = sorted(form.__required_keys__ - value.keys())
    if missing:
        return f"{name} has no {missing[0]}"
    hints = typing.get_type_hints(form, include_extras=True)
    wrong = (misfit(value[key], hint, key) for key, hint in hints.items() if key in value)
    return next(filter(None, wrong), None)


def _is_of(value: object, kind: typing.Any) -> bool:
    if kind is typing.Any:
        return True
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind)


def _difference(value: object, expected: str, name: str) -> str:
    shown = repr(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
    return f"{name} is {shown[:60]}, expected {expected}"
