"""The rules for overwriting, which all programs share.

A program claims its output before it computes anything: in a `with` block it is the only writer, and what others made is refused
before the block begins. It writes under a temporary name beside the output, and renames when it is done, so that the old or the
new output is always complete on the disk. The next process that writes into the same folder removes what a killed one has left.
"""

import json
import os
import re
import secrets
import shutil
import socket
import time
import zlib
from collections.abc import Collection, Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from helpers import lock
from helpers.errors import InputError, naming


def _machine() -> str:
    """Four hexadecimal digits for the machine or container, outside which a process id says nothing."""
    names = [socket.gethostname()]
    with suppress(OSError):
        names.append(os.readlink("/proc/self/ns/pid"))
    return f"{zlib.crc32(' '.join(names).encode()) & 0xFFFF:04x}"


_MACHINE = _machine()
_TOKEN = secrets.token_hex(4)  # tells this process from an earlier one with the same id, which containers reuse
_LONGEST = 7 * 86400  # seconds for which a file of another machine may belong to a process that still runs
_NUMBERS = count()
_TEMPORARY = re.compile(r"\.partial-(\d{1,9})-([0-9a-f]{8})(?:-([0-9a-f]{4}))?-\d+(\.[^.]*)?")


@dataclass(frozen=True)
class Signature:
    """The mark of a program in a file: bytes among its first 4096."""

    program: str
    text: bytes

    def is_in(self, path: Path) -> bool:
        """Whether the program made the file."""
        if not path.is_file():
            return False
        with open(path, "rb") as file:
            return self.text in file.read(4096)


@dataclass(frozen=True)
class Record:
    """The mark of a program in a folder: a JSON file with "made by", and maybe "files", what the program wrote there.

    `unsigned` accepts what earlier versions of some programs wrote: JSON without "made by", or a file name a line.
    """

    program: str
    name: str
    unsigned: bool = False

    def read(self, folder: Path) -> dict[str, Any]:
        """Content of the record; empty where there is none, or not one of this program."""
        if not (folder / self.name).is_file():
            return {}
        text = (folder / self.name).read_text(encoding="utf-8", errors="replace")
        try:
            about = json.loads(text)
        except (ValueError, RecursionError):
            about = {"files": text.splitlines()}
        unsigned = {"made by": self.program} if self.unsigned else {}
        about = {**unsigned, **about} if isinstance(about, dict) else unsigned
        return about if about.get("made by") == self.program else {}

    def files(self, folder: Path) -> frozenset[str] | None:
        """Names of the program's files, relative to the folder, with that of the record; None where no record lists them."""
        listed = self.read(folder).get("files")
        return frozenset([self.name, *map(str, listed)]) if isinstance(listed, (dict, list)) else None

    def write(self, folder: Path, files: list[str] | dict[str, str], about: Mapping[str, object] | None = None) -> None:
        """Mark a folder. `files` may map file names to the images they were made from; `about` is written beside them."""
        content = {"made by": self.program, **(about or {}), "files": files}
        write_text(folder / self.name, json.dumps(content, indent=1) + "\n")


# Claims are contexts of the only writer. They raise InputError and change nothing where the output is another's. `option` names
# the output; `force` is None where the program has no --force.


@contextmanager
def claim(path: Path, option: str, is_folder: bool = False) -> Generator[None, None, None]:
    """Claim a file or folder that may be replaced or written into whatever it holds."""
    refuse_unwritable(path, option, is_folder)
    with lock.only_writer(path, option):
        yield


@contextmanager
def claim_file(
    path: Path, option: str, mark: Signature | None, force: bool, in_new_folder: bool = False
) -> Generator[None, None, None]:
    """Refuse a file that cannot be written, or that exists without the program's mark; every file where there is no mark.

    Args:
        in_new_folder: whether the program makes the folder of the file.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; name another {option}")
    if not in_new_folder and not path.absolute().parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {path.parent}; make it first")
    with claim(path, option):
        if path.exists() and not force and not (mark and mark.is_in(path)):
            problem = f"was not made by {mark.program}" if mark else "exists"
            raise InputError(f"{path} {problem}; {_advice(option, force)}")
        yield


@contextmanager
def claim_files(
    folder: Path, files: Mapping[str, Path], option: str, record: Record, force: bool
) -> Generator[None, None, None]:
    """Refuse files that exist without being in the folder's record, and files that are their own inputs.

    Args:
        files: name -> input file that it is made from.
    """
    with claim(folder, option, is_folder=True):
        ours = record.files(folder) or frozenset()
        sources = {path.resolve() for path in files.values()}
        for name in [*files, record.name]:
            path = folder / name
            if path.resolve() in sources:
                raise InputError(f"{path} is one of the inputs, and its result would replace it; name another {option}")
            if path.exists() and name not in ours and not force:
                raise InputError(f"{path} was not made by {record.program}; {_advice(option, force)}")
        yield


@contextmanager
def claim_folder(
    folder: Path, option: str, record: Record, force: bool | None, whole: bool = False
) -> Generator[None, None, None]:
    """Refuse a folder that others made: it must be new, empty or marked by `record`.

    Args:
        whole: whether it is replaced as a whole, so that no file may be in it which the record does not list.
    """
    if whole:
        refuse_unwritable(folder, option)
    with claim(folder, option, is_folder=True):
        if folder.is_dir() and not force:
            _refuse_foreign(folder, option, record, force, whole)
        yield


def _refuse_foreign(folder: Path, option: str, record: Record, force: bool | None, whole: bool) -> None:
    if any(path.name != lock.IN_FOLDER for path in folder.iterdir()) and not record.read(folder):
        raise InputError(f"{folder} was not made by {record.program}; {_advice(option, force)}")
    listed = record.files(folder)
    foreign = _unlisted(folder, listed) if whole and listed is not None else []  # earlier versions listed none
    if foreign:
        problem = f"{len(foreign)} files that were not made by {record.program}, such as {foreign[0]}"
        raise InputError(f"{folder} holds {problem}; {_advice(option, force)}")


def _unlisted(folder: Path, listed: Collection[str]) -> list[Path]:
    """The files and links below a folder whose names, relative to it, are not listed."""
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return [path for path in paths if path.relative_to(folder).as_posix() not in listed]


def refuse_marked(folder: Path, maker: str | None, option: str) -> None:
    """Refuse a folder that another program made: `maker`, the "made by" of its record."""
    if maker:
        raise InputError(f"{folder} was made by {maker}, whose files would be replaced; name another {option}")


def refuse_unwritable(path: Path, option: str, is_folder: bool = False) -> None:
    """Refuse a file, or a folder to write into, that cannot be made or written where it is named; and devices and pipes."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(
            f"{option} {path} is a device, a pipe or a socket, which is never replaced; name another {option}"
        )
    if is_folder and path.exists() and not path.is_dir():
        raise InputError(f"{option} {path} is a file; name a folder")
    parents = path.absolute().parents
    parent = path if is_folder and path.exists() else next(parent for parent in parents if parent.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
        raise InputError(f"{option} {path}: {parent} cannot be written to; name another {option}")


def _advice(option: str, force: bool | None) -> str:
    return f"name another {option}" + ("" if force is None else ", or add --force to replace it")


@contextmanager
def temporary(target: Path) -> Generator[Path, None, None]:
    """A free name beside `target`, with its suffix, for a file or folder, which is removed at the end unless it was renamed."""
    _clear_leftovers(target.absolute().parent)
    path = _temporary_name(target)
    try:
        yield path
    finally:
        _remove(path)


@contextmanager
def writing(path: Path) -> Generator[Path, None, None]:
    """A temporary name for a file, which replaces `path` when the block ends without an error."""
    with naming(path), temporary(path) as fresh:
        yield fresh
        os.replace(fresh, path)


def write_text(path: Path | str, text: str) -> None:
    """Write a small file as a whole or not at all."""
    with writing(Path(path)) as fresh:
        fresh.write_text(text, encoding="utf-8", errors="backslashreplace")  # of odd file names


@contextmanager
def replacing_folders(*folders: Path, record: Record | None = None) -> Generator[list[Path], None, None]:
    """Temporary folders, which replace `folders` in this order when the block ends without an error.

    Other files of an old folder are moved into the new one, except those that its `record` lists. Where a folder is a link,
    its target is replaced. Another writer of one of the folders is waited for; a claim refuses it.
    """
    targets = [Path(folder).resolve() for folder in folders]
    for target in targets:
        refuse_unwritable(target, "output", is_folder=True)
    with naming(targets[0]), ExitStack() as stack:
        for target in targets:
            stack.enter_context(lock.locked(target, wait=True))
        fresh = {target: stack.enter_context(temporary(target)) for target in targets}
        for target, new in fresh.items():
            _recover(target, record)
            new.mkdir(parents=True)
        yield list(fresh.values())
        try:
            for target, new in fresh.items():
                if target.exists():
                    os.replace(target, target.with_name(f".{target.name}.replaced-{os.getpid()}-{_TOKEN}"))
                os.replace(new, target)
        finally:
            for target in targets:
                _recover(target, record)


def _recover(target: Path, record: Record | None) -> None:
    """Finish or undo an exchange: between its steps, or after a kill there, the old folder lies under another name."""
    if not target.parent.is_dir():
        return
    name = re.compile(re.escape(f".{target.name}.replaced-") + r"\d+-[0-9a-f]{8}")
    for old in [path for path in target.parent.iterdir() if name.fullmatch(path.name)]:
        if not target.exists():
            os.replace(old, target)
            continue
        for path in _foreign(old, target, record):
            kept = target / path.relative_to(old)
            if not kept.exists():
                kept.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, kept)
        discarded = _temporary_name(target)  # first renamed: a kill must not leave half of it to recover
        os.replace(old, discarded)
        _remove(discarded)


def _foreign(old: Path, target: Path, record: Record | None) -> list[Path]:
    """The files of an old folder that its record does not list; entries where the record of an earlier version lists none."""
    if record is None or not record.read(old):
        return _unlisted(old, ())
    listed = record.files(old)
    if listed is None:
        return [path for path in old.iterdir() if not (target / path.name).exists()]
    return _unlisted(old, listed)


def _temporary_name(target: Path) -> Path:
    return target.with_name(f".partial-{os.getpid()}-{_TOKEN}-{_MACHINE}-{next(_NUMBERS)}{target.suffix}")


def set_aside(path: Path) -> Path:
    """Rename a file or folder to earlier_N_NAME beside it; returns the new path."""
    names = (path.with_name(f"earlier_{number}_{path.name}") for number in count(1))
    return path.rename(next(name for name in names if not name.exists()))


@cache  # once per folder: thousands of files may be written into one
def _clear_leftovers(folder: Path) -> None:
    """Remove temporary files and folders of processes that no longer run."""
    if os.name != "posix" or not folder.is_dir():  # elsewhere no harmless signal asks whether a process runs
        return
    for path in list(folder.iterdir()):
        found = _TEMPORARY.fullmatch(path.name)
        is_local = found and found[3] in (None, _MACHINE)
        if found and not (_is_running(int(found[1]), found[2]) if is_local else _is_recent(path)):
            _remove(path)


def _is_recent(path: Path) -> bool:
    """Whether the process of another machine that made a temporary file may still run."""
    with suppress(FileNotFoundError):
        return time.time() - path.lstat().st_mtime < _LONGEST
    return True


def _is_running(process: int, token: str) -> bool:
    if process == os.getpid():
        return token == _TOKEN
    try:
        os.kill(process, 0)
    except OSError as error:
        return isinstance(error, PermissionError)  # it runs, for another user
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
