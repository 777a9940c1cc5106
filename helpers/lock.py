"""One writer for each output: the process that writes a file or folder holds its lock, and others are told which one that is.

The lock is on a hidden file beside the output, which is removed when the lock is released; one that a killed process has left is
free. It is a lock of `lockf`, which the kernel releases when its process ends in any way. That of `flock` would live on in a
forked child. No other code may open the file, since closing it again would release the lock.
"""

import os
import socket
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from helpers.errors import InputError
from helpers.launch import is_first_here

IN_FOLDER = ".writer-lock"  # name of a lock file that is not beside its folder but in it
_PAUSE = 0.05  # seconds between two attempts
_ATTEMPTS = 5  # another process may hold a lock for a moment only to see whether it is free
_held: set[Path] = set()


@contextmanager
def locked(output: Path, wait: bool = False) -> Generator[str, None, None]:
    """Context in which no other process holds the lock of a file or folder; it need not exist.

    A process may enter it again for the same output. Folders that are missing above the output are made, and removed at the end
    where they are empty. Where the system or the disk has no such locks, a warning is printed once.

    Args:
        wait: until another process releases the lock; a line says so.

    Yields:
        "" if this process holds the lock; otherwise, without `wait`, a description of the one that does.
    """
    path = _lock_file(output)
    if path in _held:
        yield ""
        return
    missing = [folder for folder in path.parents if not folder.exists()]
    attempts = 0
    while (descriptor := _take(path)) is None:
        attempts += 1
        if attempts == _ATTEMPTS and not wait:
            yield _read_holder(path)
            return
        if attempts == _ATTEMPTS and is_first_here():
            print(f"{output} is being written by {_read_holder(path)}; waiting until it ends", file=sys.stderr)
        time.sleep(_PAUSE)
    _held.add(path)
    process = os.getpid()
    try:
        with suppress(OSError):  # of a full disk; the lock itself is held
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{_description()}\n".encode())
        yield ""
    finally:
        if os.getpid() == process:  # not in a forked child
            _release(path, descriptor, missing)


@contextmanager
def only_writer(output: Path, option: str) -> Generator[None, None, None]:
    """`locked`, or an `InputError` that names the other writer; `option` names the output."""
    with locked(output) as holder:
        _refuse(output, option, holder)
        yield


def refuse_other_writer(output: Path, option: str) -> None:
    """Raise the error of `only_writer` where another process holds the lock; changes nothing."""
    path = _lock_file(output)
    if path in _held:
        return
    for _ in range(_ATTEMPTS):
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError:  # mostly, there is none
            return
        is_free = _lock(descriptor)
        os.close(descriptor)
        if is_free:
            return
        time.sleep(_PAUSE)
    _refuse(output, option, _read_holder(path))


def _refuse(output: Path, option: str, holder: str) -> None:
    if holder:
        raise InputError(f"{output} is being written by {holder}; wait until it ends, or name another {option}")


def _lock_file(output: Path) -> Path:
    """A hidden file beside the output, or inside a folder whose parent is on another disk or cannot be written."""
    place = output.parent.resolve() / output.name if output.is_file() else output.resolve()  # a linked file is replaced
    if place.is_dir() and (os.path.ismount(place) or not os.access(place.parent, os.W_OK)):
        return place / IN_FOLDER
    name = os.fsdecode(os.fsencode(place.name)[:240])  # file names have at most 255 bytes
    return place.with_name(f".{name}{IN_FOLDER}")


def _take(path: Path) -> int | None:
    """A descriptor of the file, which is made and locked; None where another process holds its lock."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # the process that had made the folder has removed it
            return None
        if not _lock(descriptor):
            os.close(descriptor)
            return None
        if _is_open(path, descriptor):
            with suppress(OSError):
                os.fchmod(descriptor, 0o666)  # a file that is left must not keep other users out
            return descriptor
        os.close(descriptor)  # its last holder has removed it in the meantime


def _lock(descriptor: int) -> bool:
    """Lock an open file for this process; False if another has locked it."""
    try:
        import fcntl  # not on every system

        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX allows either
        return False
    except (ImportError, OSError) as error:
        _warn(str(error))
    return True


@cache
def _warn(reason: str) -> None:
    print(
        f"warning: no locks here ({reason}); do not start two programs that write the same files or folder",
        file=sys.stderr,
    )


def _is_open(path: Path, descriptor: int) -> bool:
    """Whether a descriptor is of the file that has this name now."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    return False


def _release(path: Path, descriptor: int, missing: list[Path]) -> None:
    """Remove the file while it is locked, then release it, and remove the folders that were made for it if they are empty."""
    _held.discard(path)
    with suppress(OSError):
        if _is_open(path, descriptor):
            path.unlink()
    os.close(descriptor)
    with suppress(OSError):
        for folder in missing:
            folder.rmdir()


def _description() -> str:
    """What others are told of this process."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    program = module.name.removesuffix(".__main__") if module else Path(sys.argv[0]).name
    started = time.strftime("%Y-%m-%d %H:%M")
    return f"{program or 'python'} (process {os.getpid()} on {socket.gethostname()}, since {started})"


def _read_holder(path: Path) -> str:
    with suppress(OSError):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        if lines:
            return lines[0][:200]
    return "another process"
