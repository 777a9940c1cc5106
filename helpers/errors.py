"""User errors: one line on standard error, exit status 2."""

import errno
import os
import shutil
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from helpers import console

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TORCH_SAVE = ("inline_container", "PytorchStreamWriter", "unexpected pos")  # where its writing fails


class InputError(ValueError):
    """Invalid user input; the message states in one line what was found, where, and how to fix it.

    Programs print it and exit with status 2. Any other exception is a bug in the program and keeps its traceback.
    """


def exit_status(program: str, main: Callable[[list[str] | None], int | None], argv: list[str] | None) -> int:
    """Run `main(argv)` and return a process exit status.

    Args:
        program: printed before the error message, such as "baseline.py".
        main: returns the exit status; None is 0.
        argv: None is the process's own command line.

    Returns:
        The status from `main`; 2 after `InputError` or `OSError`, whose message goes to standard error; 130 after Ctrl-C.
    """
    console.make_safe()
    try:
        try:
            return main(argv) or 0
        finally:
            print(end="", flush=True)  # here a full disk is still an error that can be reported
    except InputError as error:
        message = str(error)
    except OSError as error:
        message = error_line(error)
    except KeyboardInterrupt:
        print(f"\n{program}: stopped", file=sys.stderr)
        return 130
    print(console.escaped(f"{program}: error: {message}"), file=sys.stderr)
    return 2


def error_line(error: OSError) -> str:
    """What the system refused, for which file, and what to do; names the disk that is full."""
    problem = f"{error.filename or 'a file'}: {error.strerror or error}"
    if error.errno not in _NO_ROOM or not error.filename:
        return f"{problem}; check the path, its permissions and the disk"
    disk = Path(os.fsdecode(error.filename)).absolute()
    while not os.path.ismount(disk) and disk != disk.parent:
        disk = disk.parent
    free = shutil.disk_usage(disk).free / 2**20
    return f"cannot write {problem}: the disk at {disk} has {free:.1f} MiB free; make room, or name a folder on another disk"


@contextmanager
def naming(path: str | Path) -> Generator[None, None, None]:
    """Context of writing a file or folder: an `OSError` that names none, or a temporary one, gets this name.

    Errors of torch become an `OSError`.
    """
    try:
        yield
    except OSError as error:
        if not error.filename or "/.partial-" in str(error.filename):
            error.filename = str(path)
        raise
    except RuntimeError as error:
        if not any(words in str(error) for words in _TORCH_SAVE):
            raise
        # torch loses the reason, which is the disk's.
        raise OSError(errno.ENOSPC, "writing failed", str(path)) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory is exhausted. PyTorch raises different types on each device, so their messages are searched."""
    messages = ("out of memory", "OutOfMemory", "allocate memory", "ALLOC_FAILED")
    return isinstance(error, MemoryError) or any(message in repr(error) for message in messages)
