"""Runs programs in processes of their own that start at once: each is a fork of a server that has imported torch already."""

import atexit
import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["torchvision", "matplotlib.pyplot"])
_WRITES = (
    "open",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.truncate",
)  # audit events


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Args:
        status: exit status; minus the number of the signal that killed it.
        writes: how often it opened, made, renamed or removed a file of its folder.
    """

    status: int
    out: str
    err: str
    writes: int


class Program:
    """A program that runs beside this process.

    Args:
        module: with `main`, such as "tools.gallery.__main__".
        words: of the command line.
        folder: where the process runs, and below which its writes are counted.
        logs: a folder for its output, which is made.
        kill_at: the write before which the process kills itself with SIGKILL, from 1; None for never.
    """

    def __init__(self, module, words, folder, logs, kill_at=None):
        self.logs = Path(logs)
        self.logs.mkdir(parents=True)
        self.process = _CONTEXT.Process(
            target=_run, args=(module, list(map(str, words)), str(folder), str(logs), kill_at), daemon=False
        )
        self.process.start()

    def wait(self, seconds=120):
        """How it ended; a process that still runs after some seconds is killed and fails the test."""
        self.process.join(seconds)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            raise AssertionError(f"still running after {seconds} s:\n{self._read('out')}\n{self._read('err')}")
        writes = self._read("writes")
        return Ended(self.process.exitcode, self._read("out"), self._read("err"), int(writes or 0))

    def _read(self, name):
        path = self.logs / name
        return path.read_text(errors="replace") if path.exists() else ""


def _run(module, words, folder, logs, kill_at):
    """In the new process: run the program with its output in files, and end as it would end."""
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(os.path.join(logs, name), os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
    os.chdir(folder)
    process = os.getpid()
    count = 0

    def watch(event, arguments):
        nonlocal count
        if event not in _WRITES or os.getpid() != process:
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        path = arguments[0]
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not isinstance(path, str) or not os.path.abspath(path).startswith(folder):
            return
        count += 1
        if count == kill_at:
            os.kill(process, signal.SIGKILL)

    sys.addaudithook(watch)
    name = module.removesuffix(".__main__").replace(".", " ")
    from helpers.errors import exit_status

    status = exit_status(name, importlib.import_module(module).main, words)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    atexit._run_exitfuncs()
    Path(logs, "writes").write_text(str(count))
    sys.exit(status)
