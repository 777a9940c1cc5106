"""A polite end: SIGTERM and Ctrl-C become a wish that is granted where nothing is lost."""

import os
import signal
import threading


class Stopped(Exception):
    """The program was asked to stop, and has saved what there was to save.

    Args:
        number: of the signal that asked for it.
    """

    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number  # as a shell would report the signal


class StopSignals:
    """Context in which the first SIGTERM or Ctrl-C is noted in `number` (0 before); a second one acts at once, as always.

    A signal that is ignored stays so, as Ctrl-C is for what a shell runs in the background. Outside the main thread, where
    Python takes no signals, nothing is noted.
    """

    def __init__(self):
        self.number, self._previous = 0, {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            heard = [each for each in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(each) is not signal.SIG_IGN]
            self._previous = {each: signal.signal(each, self._note) for each in heard}
        return self

    def __exit__(self, *_):
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _note(self, number, _):
        self.number = number
        self.__exit__()
        words = f"\n{signal.Signals(number).name}: stopping after this step; once more to stop at once\n"
        os.write(2, words.encode())  # print may be in the middle of something else


def leave_to_parent():
    """Ignore SIGTERM and Ctrl-C in a helper process: they reach a whole group, and its parent still needs the helper."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
