"""Several processes of one program, as torchrun starts them: what their environment says, and which of them prints and writes."""

import io
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager


def is_launched() -> bool:
    """Whether torchrun, or something that sets its environment variables, has started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", 1)) > 1


def is_first_here() -> bool:
    """Whether this is the only process, or the first one on its machine, where all read the same options and files."""
    return not is_launched() or os.environ.get("LOCAL_RANK", "0") == "0"


def writes_for_all() -> bool:
    """Whether this process writes for all that torchrun has started; known before they are connected."""
    return not is_launched() or os.environ.get("RANK", "0") == "0"


@contextmanager
def failing_once(prints: Callable[[], bool]) -> Generator[None, None, None]:
    """Silence standard error before an exception leaves the block, unless this process `prints`."""
    try:
        yield
    except BaseException:
        if not prints():
            sys.stderr = io.StringIO()  # to the end of the process: what comes after a failure is noise
        raise
