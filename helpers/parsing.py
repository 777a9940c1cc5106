"""Command lines: a parser that answers mistakes in one line, switches, sizes, option files. Nothing heavier than argparse."""

import argparse
import math
import os
import shlex
import sys

from helpers.errors import InputError


class Parser(argparse.ArgumentParser):
    """Reports a mistake as an `InputError`: one line, without the usage of fifty options.

    A word `@FILE` stands for the words of an option file: as on a command line, several a line, `#` begins a comment.
    """

    def __init__(self, **options):
        super().__init__(allow_abbrev=False, fromfile_prefix_chars="@", **options)

    def parse_known_args(self, args=None, namespace=None):
        """As argparse does; raises `InputError` for an option file that is not there."""
        for word in sys.argv[1:] if args is None else args:
            if word.startswith("@") and not os.path.isfile(word[1:]):
                raise InputError(f"{word}: there is no option file {word[1:]}")
        return super().parse_known_args(args, namespace)

    def error(self, message):
        """Raise what programs print and answer with status 2."""
        raise InputError(f"{message} (see --help)")

    def convert_arg_line_to_args(self, arg_line):
        """list of str: the words of a line of an option file."""
        try:
            return shlex.split(arg_line, comments=True)
        except ValueError as error:  # a quotation mark that stands alone
            raise InputError(f"the line {arg_line!r} of an option file cannot be read: {error}") from None


class Switch(argparse.Action):
    """A boolean that takes `--x`, `--no-x` and `--x True|False`."""

    def __init__(self, option_strings, dest, default=False, help=None):
        names = [*option_strings, *(name.replace("--", "--no-", 1) for name in option_strings)]
        super().__init__(names, dest, nargs="?", default=default, help=help)

    def __call__(self, parser, namespace, value, option_string=None):
        words = {None: True, "true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        key = value if value is None else value.lower()
        if key not in words:
            parser.error(f"argument {option_string}: {value!r} is neither True nor False")
        if option_string.startswith("--no-") and value is not None:
            parser.error(f"argument {option_string}: takes no value")
        setattr(namespace, self.dest, words[key] is not option_string.startswith("--no-"))


class Help(argparse.HelpFormatter):
    """One spelling an option: `--x` for a switch, `--x H W` for a size; the negations stand in the epilogue."""

    def __init__(self, prog):
        super().__init__(prog, max_help_position=32)

    def _format_action_invocation(self, action):
        if isinstance(action, Switch):
            return action.option_strings[0]
        if isinstance(action, Size):
            return f"{action.option_strings[0]} H W"
        return super()._format_action_invocation(action)


class Size(argparse.Action):
    """HEIGHT WIDTH in pixels; one number is a square."""

    def __init__(self, option_strings, dest, default=None, help=None):
        super().__init__(option_strings, dest, nargs="+", type=int, default=default, help=help)

    def __call__(self, parser, namespace, values, option_string=None):
        if len(values) > 2:
            parser.error(f"argument {option_string}: got {len(values)} numbers, expected HEIGHT WIDTH or one number")
        setattr(namespace, self.dest, values if len(values) == 2 else values * 2)


def weighted_sum(text):
    """Read a sum of names, each with a factor above 0 or none: "ce+0.5*dice" -> {"ce": 1.0, "dice": 0.5}.

    Returns:
        dict: name -> factor, in the order of the sum.

    Raises:
        ValueError: says which part of it cannot be read.
    """
    result = {}
    for term in text.split("+"):
        factor, star, name = (part.strip() for part in term.rpartition("*"))
        try:
            number = float(factor) if star else 1.0
        except ValueError:
            number = math.nan
        if not (0 < number < math.inf):
            raise ValueError(f"{factor!r} is no factor above 0")
        if not name:
            raise ValueError("a name is missing")
        if name in result:
            raise ValueError(f"{name} stands there twice")
        result[name] = number
    return result
