"""Other processes that hold the lock of an output."""

import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
_CODE = """
import os, sys
from pathlib import Path
from contextlib import ExitStack
from helpers.lock import locked
with ExitStack() as stack:
    for path in sys.argv[2:]:
        assert stack.enter_context(locked(Path(path))) == ""
    child = os.fork() if sys.argv[1] == "fork" else 0
    if child or sys.argv[1] == "alone":
        print(child, flush=True)
    sys.stdin.read()
"""


class Writer:
    """A process that holds the locks of outputs until it is told to end; `child` is the process id of its forked child."""

    def __init__(self, *outputs, fork=False):
        words = [sys.executable, "-c", _CODE, "fork" if fork else "alone", *map(str, outputs)]
        self.process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.child = int(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@contextmanager
def held_by_another(*outputs):
    """Context in which another process holds the locks of outputs; yields the process."""
    with ExitStack() as stack:
        writer = Writer(*outputs)
        stack.callback(writer.end)
        yield writer.process
