"""Graceful shutdown: the first SIGTERM or Ctrl-C is recorded and acted on after the current training step.

A thread ends the program if no step ends any more: because a worker or another process hangs, or because the main thread is
blocked outside Python, where no handler runs.
"""

import math
import multiprocessing
import os
import signal
import socket
import threading
import time
from types import FrameType

from helpers.launch import is_launched

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
GRACE = 20.0  # seconds that the longest step so far may be exceeded by; torchrun and Kubernetes kill after 30
LAST_GRACE = 2.0  # seconds after a second signal
_END = 255  # no signal has this number


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

    After the first, `advance` must be called regularly: the process ends where the time since the last call exceeds the longest
    before by `GRACE`. Ignored signals stay ignored, such as Ctrl-C in background jobs of a shell. Outside the main thread, where
    Python cannot install handlers, nothing is recorded.
    """

    def __init__(self) -> None:
        self.number = 0
        self._handlers = {}
        self._advanced = time.monotonic()
        self._longest = 0.0

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._wakeup, self._arriving = socket.socketpair()
            self._wakeup.setblocking(False)
            self._earlier_wakeup = signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()
            for number in STOP_SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._handlers[number] = signal.signal(number, self._record)
            self.advance()
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self._earlier_wakeup)
            self._wakeup.send(bytes([_END]))
            self._watcher.join()
            self._wakeup.close()
            self._arriving.close()

    def advance(self) -> None:
        """Note that the program works: a step has ended, for example."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._advanced)
        self._advanced = now

    def _restore(self) -> None:
        while self._handlers:
            signal.signal(*self._handlers.popitem())

    def _record(self, number: int, _: FrameType | None) -> None:
        self.number = number
        self._restore()
        self._say(f"{signal.Signals(number).name}: stopping after this step; send it again to stop at once")

    def _say(self, message: str) -> None:
        if not is_launched():  # torchrun prints what happens
            os.write(2, f"\n{message}\n".encode())  # print is not reentrant

    def _watch(self) -> None:
        """Wait for signals; after the first, end the process where it does not advance any more."""
        first = 0
        times: list[float] = []
        while (number := self._next_signal(self._deadline(times))) != _END:
            if number in STOP_SIGNALS:
                first = first or number
                times.append(time.monotonic())
            if time.monotonic() >= self._deadline(times):
                self._end(first)

    def _deadline(self, times: list[float]) -> float:
        """When the process ends, if signals have arrived at some times."""
        if not times:
            return math.inf
        if len(times) > 1:
            return times[1] + LAST_GRACE
        return max(times[0], self._advanced) + self._longest + GRACE

    def _next_signal(self, deadline: float) -> int:
        """The next signal; 0 if none arrives before the deadline."""
        left = deadline - time.monotonic()
        self._arriving.settimeout(None if math.isinf(left) else max(left, 0.01))
        try:
            return self._arriving.recv(1)[0]
        except TimeoutError:
            return 0

    def _end(self, number: int) -> None:
        seconds = time.monotonic() - self._advanced
        self._say(
            f"{signal.Signals(number).name}: no step has ended for {seconds:.0f} s: ended without saving; "
            "--resume continues after the last save"
        )
        for child in multiprocessing.active_children():
            child.kill()
        os._exit(128 + number)


def ignore_stop_signals() -> None:
    """Ignore SIGTERM and Ctrl-C in a worker process: the whole process group gets them, and the parent still needs it."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
