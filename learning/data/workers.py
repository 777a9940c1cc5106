"""Processes that compute items ahead and send them through sockets.

Sockets instead of shared memory, which containers limit to 64 MB or less, and because a socket ends with its process: no wait
for a worker outlives it. The consumer of a batch of 21 MB waits about as long for either.
"""

from __future__ import annotations

import io
import multiprocessing
import pickle
import signal
import socket
import struct
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any, Generic, NoReturn, TypeVar

import numpy as np
import torch

from helpers.errors import InputError
from helpers.signals import STOP_SIGNALS, ignore_stop_signals

AHEAD = 2  # items that each worker has been asked for
_WHOLE = getattr(socket, "MSG_WAITALL", 0)  # fewer system calls

Key = TypeVar("Key")
Item = TypeVar("Item")


class Workers(Generic[Key, Item]):
    """Compute `function(key)` in processes, which start with the first key and live until `close`.

    Args:
        function: returns what can be pickled. Where it returns or raises an exception, `map` raises it.
        number: of processes.
    """

    def __init__(self, function: Callable[[Key], Item | Exception], number: int) -> None:
        self.function = function
        self.number = number
        self.workers: list[_Worker] = []
        self._asked: deque[_Worker] = deque()
        # Without a call of `close`: when this object is collected, and at exit before multiprocessing waits for its children.
        Finalize(self, _kill, args=(self.workers,), exitpriority=0)

    def map(self, keys: Iterable[Key]) -> Iterator[Item]:
        """`function(key)` of each key, in order. An earlier iteration must not be continued.

        Raises:
            InputError: a worker was killed.
            Exception: what `function` has raised.
        """
        try:
            if not self.workers:
                self.start()
            while self._asked:  # of an earlier iteration
                self._asked.popleft().receive()
            for index, key in enumerate(keys):
                worker = self.workers[index % self.number]
                worker.ask(key)
                self._asked.append(worker)
                if len(self._asked) == AHEAD * self.number:
                    yield raise_error(self._asked.popleft().receive())
            while self._asked:
                yield raise_error(self._asked.popleft().receive())
        except _Died as death:
            self.close()
            raise InputError(str(death)) from None

    def close(self) -> None:
        """Kill the processes: they change nothing that could be left half done. Later keys start new ones."""
        _kill(self.workers)
        self._asked.clear()

    def start(self) -> None:
        """Start the processes; raises `InputError` if the system allows no more."""
        try:
            for _ in range(self.number):
                with _blocked_stop_signals():  # until the worker ignores them
                    self.workers.append(_Worker(self.function))
        except OSError as error:
            self.close()
            raise InputError(
                f"cannot start {self.number} loader processes: {error.strerror}; lower --num_workers"
            ) from None


class _Died(Exception):
    """A worker has ended by itself."""


class _Worker:
    """A process, and this end of the socket that connects it."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.channel, other = socket.socketpair()
        with other:  # with a copy of it in this process, the end of the worker would not be noticed
            self.process: BaseProcess = multiprocessing.Process(
                target=_work, args=(function, other, self.channel), daemon=True
            )
            self.process.start()

    def ask(self, key: object) -> None:
        try:
            _send(self.channel, key)
        except OSError:
            self._explain_death()

    def receive(self) -> Any:
        try:
            return _receive(self.channel)
        except (EOFError, OSError):
            self._explain_death()

    def _explain_death(self) -> NoReturn:
        self.process.join(5)
        code = self.process.exitcode
        how = f"was killed by {signal.Signals(-code).name}" if code and code < 0 else f"ended with status {code}"
        raise _Died(
            f"a loader process {how}, as happens when memory runs out; lower --num_workers or --batch_size "
            "(--num_workers 0 needs no such processes)"
        )


def raise_error(item: Item | Exception) -> Item:
    """The item; an error in its place is raised."""
    if not isinstance(item, Exception):
        return item
    try:
        raise item
    finally:
        del item  # in this frame, to which the error refers: a cycle would keep the workers until they are collected


def _kill(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.process.kill()
    while workers:
        worker = workers.pop()
        worker.process.join()
        worker.channel.close()


@contextmanager
def _blocked_stop_signals() -> Generator[None, None, None]:
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(function: Callable[[Any], Any], channel: socket.socket, parents_end: socket.socket) -> None:
    """Answer keys until the parent is gone, in one thread: several processes share the cores.

    Workers that start later have copies of `parents_end`, so after a kill of the parent the last one ends first.
    """
    ignore_stop_signals()
    parents_end.close()
    torch.set_num_threads(1)
    while True:
        try:
            _send(channel, _answer(function, _receive(channel)))
        except (EOFError, OSError):  # the parent is gone
            return


def _answer(function: Callable[[Any], Any], key: object) -> object:
    try:
        return function(key)
    except (InputError, OSError, MemoryError) as error:
        return error
    except Exception:
        return RuntimeError(f"in a loader process:\n{traceback.format_exc()}")


class _Pickler(pickle.Pickler):
    """Hands over the memory of tensors and arrays without copying it into the pickle."""

    def reducer_override(self, value: object) -> Any:
        if type(value) is not torch.Tensor:
            return NotImplemented
        span = 1 + sum((size - 1) * step for size, step in zip(value.shape, value.stride(), strict=True))
        memory = value.as_strided((span if value.numel() else 0,), (1,))
        return _tensor, (memory.numpy(), tuple(value.shape), value.stride())


def _tensor(memory: np.ndarray, shape: tuple[int, ...], stride: tuple[int, ...]) -> torch.Tensor:
    return torch.from_numpy(memory).as_strided(shape, stride)


def _send(channel: socket.socket, value: object) -> None:
    """Send the number of the parts, their lengths, and the parts: a pickle and the memory that it refers to."""
    stream = io.BytesIO()
    buffers: list[pickle.PickleBuffer] = []
    _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(value)
    parts = [stream.getbuffer(), *(buffer.raw() for buffer in buffers)]
    channel.sendall(struct.pack(f"={1 + len(parts)}Q", len(parts), *(part.nbytes for part in parts)))
    for part in parts:
        channel.sendall(part)


def _receive(channel: socket.socket) -> Any:
    (number,) = struct.unpack("=Q", _read(channel, 8))
    lengths = struct.unpack(f"={number}Q", _read(channel, 8 * number))
    content, *buffers = [_read(channel, length) for length in lengths]
    return pickle.loads(content, buffers=buffers)


def _read(channel: socket.socket, length: int) -> memoryview:
    """The next bytes, in writable memory; raises `EOFError` if the other process is gone."""
    content = np.empty(length, np.uint8).data
    rest = content
    while rest:
        received = channel.recv_into(rest, 0, _WHOLE)
        if not received:
            raise EOFError
        rest = rest[received:]
    return content
