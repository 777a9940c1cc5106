"""A stop signal always ends the program: by itself, or where nothing advances any more."""

import math
import subprocess
import sys
import time
from pathlib import Path

import pytest

import options
from helpers import signals

ROOT = Path(options.__file__).parent

# The main thread is blocked outside Python, where no handler runs: a lock that is never released, with the signals blocked.
BLOCKED = """
import os, signal, sys, threading, time
from helpers import signals
signals.GRACE = signals.LAST_GRACE = 0.2

with signals.StopSignals() as stop:
    signal.pthread_sigmask(signal.SIG_BLOCK, signals.STOP_SIGNALS)  # the handler runs in no bytecode of this thread
    threading.Timer(0.2, os.kill, (os.getpid(), int(sys.argv[1]))).start()
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
"""


@pytest.mark.parametrize("number", [15, 2])
def test_a_signal_ends_a_program_that_is_blocked(number):
    line = [sys.executable, "-c", "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + BLOCKED]
    began = time.monotonic()
    done = subprocess.run([*line, str(number)], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 128 + number, done.stderr
    assert time.monotonic() - began < 50
    last = done.stderr.splitlines()[-1]
    assert "no step has ended for" in last
    assert "--resume" in last


def test_a_step_may_take_as_long_as_the_longest_and_a_grace():
    stop = signals.StopSignals()
    stop._advanced, stop._longest = 100.0, 7.0
    assert stop._deadline([]) == math.inf, "without a signal nothing ends"
    assert stop._deadline([90.0]) == 100 + 7 + signals.GRACE, "it has advanced since the signal"
    assert stop._deadline([110.0]) == 110 + 7 + signals.GRACE
    assert stop._deadline([110.0, 115.0]) == 115 + signals.LAST_GRACE, "the second is urgent"
