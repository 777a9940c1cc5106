"""Command lines: options declared as dataclass fields, switches, sizes, option files, one-line errors. Standard library only."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
import os
import shlex
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from helpers.errors import InputError
from helpers.forms import INT64, misfit
from helpers.text_files import read_text

Value = bool | int | float | str | tuple | None  # of an option
INF = math.inf


@dataclass(frozen=True)
class Range:
    """The finite numbers that an option accepts; messages name them by `words`, after "expected"."""

    words: str
    at_least: float = -INF
    at_most: float = INF
    above: float = -INF
    below: float = INF

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int | float):
            return False
        return self.at_least <= number <= self.at_most and self.above < number < self.below


@dataclass(frozen=True)
class Option:
    """An option of a command line, as `option` declares it and `options_of` reads it from its dataclass.

    Args:
        name: on the command line with two dashes in front.
        kind: type of the value, or of each of several values.
        count: number of values: None for one, n for exactly n, "+" for one or more.
        default: None where a later step fills it in.
        choices: the accepted values; empty accepts any.
        allowed: the range of a number.
        not_empty: whether an empty string is a mistake.
        scope: what the option belongs to; its meaning is the caller's.
        action: argparse action; None for the one that follows from the type.
        older_runs: the value for runs that were stored before the option existed.
    """

    name: str
    kind: type
    count: int | str | None
    default: Value
    help: str
    metavar: str | tuple[str, ...] | None = None
    choices: tuple[str | int, ...] = ()
    allowed: Range | None = None
    not_empty: bool = False
    scope: str = "run"
    action: type[argparse.Action] | None = None
    older_runs: Value = None

    def add_to(self, group: argparse._ArgumentGroup) -> None:
        """Add the option to a group of an argparse parser."""
        keywords: dict[str, typing.Any] = {"default": self.default, "help": self._help_text()}
        if self.kind is bool:
            group.add_argument(f"--{self.name}", action=Switch, **keywords)
            return
        if self.kind is int and self.count == 2:
            group.add_argument(f"--{self.name}", action=Size, **keywords)
            return
        keywords |= {"type": self.kind, "nargs": self.count, "metavar": self.metavar}
        keywords |= {"choices": self.choices} if self.choices else {}
        group.add_argument(f"--{self.name}", action=self.action or "store", **keywords)

    def _help_text(self) -> str:
        """The line of help, with the default unless that is stated already, None or off."""
        text = self.help.replace("%", "%%")
        if "(default" in text or self.default is None or self.default is False:
            return text
        return f"{text} (default: {'on' if self.default is True else self.default})"

    def check(self, value: Value) -> None:
        """Refuse a number out of range and an empty string; raises `InputError`."""
        values = value if isinstance(value, tuple) else (value,)
        if self.not_empty and "" in values:
            raise InputError(f"--{self.name} is empty: name something, or leave it out")
        if self.allowed and value is not None and not all(number in self.allowed for number in values):
            raise InputError(f"--{self.name} {' '.join(map(str, values))}: expected {self.allowed.words}")

    def from_stored(self, stored: object) -> Value:
        """The value of the option in options.json or a checkpoint, with a tuple for a list.

        Raises:
            InputError: no command line gives this value.
        """
        if stored is None and self.default is None:
            return None
        value = tuple(stored) if isinstance(stored, list) else stored
        values = value if isinstance(value, tuple) else (value,)
        has_count = isinstance(value, tuple) if self.count == "+" else self.count in (len(values), None)
        if (self.count is None) == isinstance(value, tuple) or not (has_count and all(map(self._fits, values))):
            known = f", known are {', '.join(map(str, self.choices))}" if self.choices else ""
            raise InputError(f"the stored options of the run are damaged: {self.name} is {str(stored)[:60]}{known}")
        return typing.cast("Value", value)

    def _fits(self, value: object) -> bool:
        return misfit(value, self.kind, self.name) is None and (not self.choices or value in self.choices)


def option(default: Value, help: str, **attributes: object) -> typing.Any:
    """A dataclass field that is an option; the type of its values is the field's annotation.

    Args:
        attributes: the other attributes of `Option`.
    """
    return dataclasses.field(default=default, metadata={"help": help, "older_runs": default} | attributes)


def options_of(group: type) -> tuple[Option, ...]:
    """The options that a dataclass declares, in order.

    Annotations are bool, int, float, str, or tuples of them: `tuple[int, int]` is a size, `tuple[str, ...]` is one or more
    strings. `| None` is added where the default is None.
    """
    hints = typing.get_type_hints(group)
    found = []
    for field in dataclasses.fields(group):
        kind, count = _kind_and_count(hints[field.name])
        found.append(Option(field.name, kind, count, default=typing.cast("Value", field.default), **field.metadata))
    return tuple(found)


def _kind_and_count(hint: object) -> tuple[type, int | str | None]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is not tuple:
        return typing.cast(type, hint), None
    kinds = typing.get_args(hint)
    return kinds[0], "+" if kinds[-1] is Ellipsis else len(kinds)


def build_parser(groups: Mapping[str, type], **texts: str) -> Parser:
    """A parser of the options that dataclasses declare.

    Args:
        groups: title in the help -> dataclass.
        texts: prog, usage, description and epilog, as for argparse.
    """
    parser = Parser(formatter_class=Help, **texts)
    for title, group in groups.items():
        argument_group = parser.add_argument_group(title)
        for each in options_of(group):
            each.add_to(argument_group)
    return parser


class Parser(argparse.ArgumentParser):
    """Reports a mistake as an `InputError`: one line, without the usage of fifty options.

    An argument `@FILE` stands for the arguments in an option file, written as on a command line; `#` begins a comment.
    """

    def __init__(self, **settings: typing.Any) -> None:
        super().__init__(allow_abbrev=False, **settings)
        self.register("type", int, integer)

    def parse_known_args(self, args=None, namespace=None):  # noqa: ANN001, ANN201 - argparse's own signature
        """As argparse does; raises `InputError` for an option file that does not exist or cannot be read."""
        return super().parse_known_args(expanded(sys.argv[1:] if args is None else args), namespace)

    def parse_args(self, args=None, namespace=None):  # noqa: ANN001, ANN201 - argparse's own signature
        """As argparse does; an option that does not exist is answered with the nearest one."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.refuse_unknown(unknown)
        return parsed

    def refuse_unknown(self, arguments: Sequence[str]) -> typing.NoReturn:
        """Raise the `InputError` of arguments that the parser does not know."""
        typed = arguments[0].partition("=")[0]
        nearest = difflib.get_close_matches(typed, self._option_string_actions, n=1) if typed.startswith("-") else []
        hint = f"; the nearest option is {nearest[0]}" if nearest else ""
        self.error(f"unrecognized arguments: {' '.join(arguments)}{hint}")

    def parse_typed(self, argv: Sequence[str] | None) -> dict[str, Value]:
        """The options that were typed: name -> value.

        Args:
            argv: the arguments; None for the process's own.
        """
        untyped = object()
        names = [action.dest for action in self._actions if action.dest != "help"]
        parsed = vars(self.parse_args(argv, argparse.Namespace(**dict.fromkeys(names, untyped))))
        typed = {name: value for name, value in parsed.items() if value is not untyped}
        return {name: tuple(value) if isinstance(value, list) else value for name, value in typed.items()}

    def error(self, message: str) -> typing.NoReturn:
        """Raise an `InputError`, which programs print before they exit with status 2."""
        raise InputError(f"{message} (see --help)")


def expanded(arguments: Sequence[str], within: tuple[str, ...] = ()) -> list[str]:
    """The arguments with those in the file for each `@FILE`; each line of a file is split as a shell would.

    Args:
        within: the option files that are being read.
    """
    found = []
    for argument in arguments:
        if not argument.startswith("@"):
            found.append(argument)
            continue
        path = argument[1:]
        if not os.path.isfile(path):
            raise InputError(f"{argument}: there is no option file {path}")
        if os.path.realpath(path) in within:
            raise InputError(f"the option file {path} names itself, directly or through others")
        for line in read_text(path, "save the option file as UTF-8 text").split("\n"):
            try:
                words = shlex.split(line, comments=True)
            except ValueError as error:  # an unbalanced quotation mark
                raise InputError(f"{path}: the line {line!r} cannot be read: {error}") from None
            found += expanded(words, (*within, os.path.realpath(path)))
    return found


def integer(text: str) -> int:
    """As int(); raises `ValueError` for more than 64 bits, which nothing here counts to and not every library takes."""
    number = int(text)
    if number not in INT64:
        raise ValueError(text)
    return number


class Switch(argparse.Action):
    """A boolean that accepts `--x`, `--no-x` and `--x True|False`."""

    def __init__(
        self, option_strings: Sequence[str], dest: str, default: bool | None = False, help: str | None = None
    ) -> None:
        names = [*option_strings, *(name.replace("--", "--no-", 1) for name in option_strings)]
        super().__init__(names, dest, nargs="?", default=default, help=help)

    def __call__(self, parser, namespace, values, option_string=None):  # noqa: ANN001, ANN204 - argparse's own signature
        meanings = {None: True, "true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        key = values if values is None else values.lower()
        if key not in meanings:
            parser.error(f"argument {option_string}: {values!r} is neither True nor False")
        is_negated = str(option_string).startswith("--no-")
        if is_negated and values is not None:
            parser.error(f"argument {option_string}: takes no value")
        setattr(namespace, self.dest, meanings[key] is not is_negated)


class Size(argparse.Action):
    """HEIGHT WIDTH in pixels; one number is a square."""

    def __init__(
        self,
        option_strings: Sequence[str],
        dest: str,
        default: tuple[int, int] | None = None,
        help: str | None = None,
    ) -> None:
        super().__init__(option_strings, dest, nargs="+", type=int, default=default, help=help)

    def __call__(self, parser, namespace, values, option_string=None):  # noqa: ANN001, ANN204 - argparse's own signature
        if len(values) > 2:
            parser.error(f"argument {option_string}: got {len(values)} numbers, expected HEIGHT WIDTH or one number")
        setattr(namespace, self.dest, tuple(values if len(values) == 2 else values * 2))


class Help(argparse.HelpFormatter):
    """One spelling of each option: `--x` for a switch, `--x H W` for a size."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if isinstance(action, Switch):
            return action.option_strings[0]
        if isinstance(action, Size):
            return f"{action.option_strings[0]} H W"
        return super()._format_action_invocation(action)


def weighted_sum(text: str) -> dict[str, float]:
    """Parse a sum of names with optional positive factors: "ce+0.5*dice" -> {"ce": 1.0, "dice": 0.5}, in order.

    Raises:
        ValueError: says which part cannot be read.
    """
    result: dict[str, float] = {}
    for term in text.split("+"):
        factor, star, name = (part.strip() for part in term.rpartition("*"))
        try:
            number = float(factor) if star else 1.0
        except ValueError:
            number = math.nan
        if not (0 < number < math.inf):
            raise ValueError(f"{factor!r} is not a factor above 0")
        if not name:
            raise ValueError("a name is missing")
        if name in result:
            raise ValueError(f"{name} is named twice")
        result[name] = number
    return result
