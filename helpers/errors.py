"""Mistakes of the user: one line, exit status 2."""

import sys


class InputError(ValueError):
    """Wrong input: the message says in one line what was got, where, and what to do about it.

    Programs print it and exit with status 2. Any other exception is the program's own fault and keeps its traceback.
    """


def exit_status(program, main, argv):
    """Run `main(argv)` and return a process exit status.

    Args:
        program: name printed before the message, such as "baseline.py".
        main: function of one argument, a list of words or None for the process's own; its return value is the status.
        argv: handed to `main`.

    Returns:
        int: what `main` returned (None is 0); 2 after an `InputError`, or a file or disk that fails, whose message went to
        standard error; 130 after Ctrl-C.
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


def is_out_of_memory(error):
    """Whether an exception says that memory is used up; torch has several, by device, and no common type for them."""
    words = ("out of memory", "OutOfMemory", "allocate memory", "ALLOC_FAILED")
    return isinstance(error, MemoryError) or any(word in f"{error!r}" for word in words)
