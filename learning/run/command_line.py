"""Parses a command line, together with the stored options of a run, into `options.Options`. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import options
from helpers.errors import InputError
from helpers.parsing import Value
from learning.run import rules
from options import OPTIONS, PER_COMMAND, START, Options, option_names


def parse(
    argv: Sequence[str] | None = None, stored: Mapping[str, object] | None = None
) -> tuple[Options, frozenset[str]]:
    """Parse a command line; what was not typed comes from the run's stored options, then from the defaults.

    An option that did not exist yet when the run was stored gets its value for older runs (`Option.older_runs`).

    Args:
        argv: the arguments; None for the process's own.
        stored: the options of a run, name -> value; those for one command only are ignored.

    Returns:
        All options, and the names of those that were typed.

    Raises:
        InputError: unknown or contradicting options, values out of range, damaged stored options.
    """
    typed = options.parser().parse_typed(argv)
    if "weights" in typed and "pretrained" in typed and not typed.get("predict"):
        raise InputError("--weights resumes a run, which has weights of its own: leave out --pretrained")
    kept = _stored_values(stored) if stored else {}
    if kept and typed.get("optimizer", kept["optimizer"]) != kept["optimizer"]:
        # The stored learning rate and weight decay were chosen for the other optimizer.
        kept = {name: value for name, value in kept.items() if name not in ("lr_init", "lr_weight_decay")}
    found = options.from_values(kept | typed)
    _check_length(typed, kept)
    if "steps" in typed:
        found = found.replaced(time_budget=None)  # which had set another number of steps
    found.check_values()
    check_device(found.compute.device)
    rules.check_loss(found.loss.loss)
    # With --predict, --weights and --resume the other options are known only together with the run's own.
    run = found.run
    if stored is not None or not (run.predict or run.weights or run.resume):
        rules.check_combinations(found)
    return found, frozenset(typed)


def _stored_values(stored: Mapping[str, object]) -> dict[str, Value]:
    """The options of a run, without those for one command only; unknown names are ignored."""
    names = [name for name in OPTIONS if name not in PER_COMMAND]
    known = {name: OPTIONS[name].from_stored(stored[name]) for name in names if name in stored}
    return {name: OPTIONS[name].older_runs for name in names} | known


def _check_length(typed: Mapping[str, Value], kept: Mapping[str, Value]) -> None:
    """Refuse to set the length of a run in other units than before: epochs, steps or minutes."""
    if typed.get("predict"):
        return
    if "epochs" in typed and kept.get("steps"):
        raise InputError(
            f"--epochs {typed['epochs']}: the run's length is --steps {kept['steps']}; change that instead"
        )
    if kept and "time_budget" in typed and typed["time_budget"] != kept.get("time_budget"):
        raise InputError("--time_budget is for the start of a run, and this one has begun: change --steps or --epochs")


def check_device(name: str) -> None:
    """Refuse a --device that does not name a device; raises `InputError`."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise InputError(f"--device {name}: expected auto, cpu, cuda, cuda:N or mps")


def differences(
    names: Iterable[str], now: Mapping[str, object], stored: Mapping[str, object]
) -> dict[str, tuple[object, object]]:
    """The options whose values differ from a run's: name -> (value now, value of the run), as they are typed.

    Args:
        names: the options to compare; those that the run lacks are not compared.
        now, stored: options by name, as `Options.stored` returns them.
    """
    differ = [name for name in sorted(names) if name in stored and now.get(name) != stored[name]]
    return {name: (_as_typed(now.get(name)), _as_typed(stored[name])) for name in differ}


def refuse_differences(names: Iterable[str], now: Mapping[str, object], stored: Mapping[str, object]) -> None:
    """Raise `InputError` with the first option that differs from a run's, and both values; arguments as for `differences`."""
    for name, (value, then) in differences(names, now, stored).items():
        raise InputError(
            f"--{name} {value} differs from the run's {then}: leave it out, start a new run, or continue with --override"
        )


def refuse_late(typed: Iterable[str], now: Mapping[str, object], stored: Mapping[str, object]) -> None:
    """Raise `InputError` for a typed option that only decides how a run starts, where the run has started otherwise."""
    if not stored:
        return
    for name in option_names(START):
        if name in typed and now[name] != stored.get(name, OPTIONS[name].older_runs):
            raise InputError(
                f"--{name} decides how a run starts, and this one has begun: leave it out, or start a new run without --resume"
            )


def _as_typed(value: object) -> object:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value
