"""Graceful shutdown: the first SIGTERM or Ctrl-C is recorded and acted on after the current training step."""

import os
import signal
import threading
from types import FrameType


class Stopped(Exception):
    """A signal asked the program to stop, and everything has been saved.

    Attributes:
        status: exit status, as a shell reports the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


class StopSignals:
    """Context that records the first SIGTERM or Ctrl-C in `number` (0 before); a second one has its usual effect.

    Ignored signals stay ignored, such as Ctrl-C in background jobs of a shell. Outside the main thread, where Python cannot
    install handlers, nothing is recorded.
    """

    def __init__(self) -> None:
        self.number = 0
        self._handlers = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._handlers[number] = signal.signal(number, self._record)
        return self

    def __exit__(self, *_: object) -> None:
        while self._handlers:
            signal.signal(*self._handlers.popitem())

    def _record(self, number: int, _: FrameType | None) -> None:
        self.number = number
        self.__exit__()
        message = f"\n{signal.Signals(number).name}: stopping after this step; send it again to stop at once\n"
        os.write(2, message.encode())  # print is not reentrant


def ignore_stop_signals() -> None:
    """Ignore SIGTERM and Ctrl-C in a worker process: the whole process group gets them, and the parent still needs it."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
