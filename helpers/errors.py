"""User errors: one line on standard error, exit status 2."""

import sys
from collections.abc import Callable


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
    try:
        return main(argv) or 0
    except InputError as error:
        message = str(error)
    except OSError as error:
        message = (
            f"{error.filename or 'a file'}: {error.strerror or error}; check the path, its permissions and the disk"
        )
    except KeyboardInterrupt:
        print(f"\n{program}: stopped", file=sys.stderr)
        return 130
    print(f"{program}: error: {message}", file=sys.stderr)
    return 2


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory is exhausted. PyTorch raises different types on each device, so their messages are searched."""
    messages = ("out of memory", "OutOfMemory", "allocate memory", "ALLOC_FAILED")
    return isinstance(error, MemoryError) or any(message in repr(error) for message in messages)
