"""The lock of an output: one process at a time, freed with the process, and nothing is left on the disk."""

import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from writers import Writer, held_by_another

from helpers import lock, output
from helpers.errors import InputError
from helpers.lock import locked, only_writer, refuse_other_writer


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(lock, "_PAUSE", 0.01)


@pytest.mark.parametrize("exists", [True, False])
def test_another_process_is_refused_and_told_who_writes(tmp_path, exists):
    target = tmp_path / "out"
    if exists:
        target.mkdir()
    with held_by_another(target) as holder:
        for refuse in (
            lambda: refuse_other_writer(target, "--output"),
            lambda: only_writer(target, "--output").__enter__(),
        ):
            with pytest.raises(InputError) as refused:
                refuse()
            who = (
                rf"-c \(process {holder.pid} on {re.escape(socket.gethostname())}, since \d{{4}}-\d\d-\d\d \d\d:\d\d\)"
            )
            expected = (
                rf"{re.escape(str(target))} is being written by {who}; wait until it ends, or name another --output"
            )
            assert re.fullmatch(expected, str(refused.value))
    refuse_other_writer(target, "--output")
    with only_writer(target, "--output"):
        pass
    assert names(tmp_path) == (["out"] if exists else [])


def test_a_program_is_named_as_it_was_started(tmp_path):
    code = "from helpers.errors import exit_status\nfrom helpers import lock\nif __name__ == '__main__':\n"
    (tmp_path / "tool.py").write_text(code + "    print(lock._description().split()[0])\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(code + "    print(lock._description().split()[0])\n")
    environment = os.environ | {"PYTHONPATH": str(Path(lock.__file__).parents[1])}
    for words, expected in (
        (["tool.py"], "tool.py"),
        ([str(tmp_path / "tool.py")], "tool.py"),
        (["-m", "tool"], "tool"),
        (["-m", "package"], "package"),
    ):
        line = [sys.executable, *words]
        found = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
        assert found == f"{expected}\n"


@pytest.mark.parametrize("fork", [True, False])
def test_the_lock_is_free_after_sigkill_also_while_a_forked_child_lives(tmp_path, fork):
    writer = Writer(tmp_path / "out", fork=fork)
    try:
        writer.process.send_signal(signal.SIGKILL)
        writer.process.wait()
        if fork:
            os.kill(writer.child, 0)  # it lives
        assert names(tmp_path) == [".out.writer-lock"]  # left behind
        refuse_other_writer(tmp_path / "out", "--output")
        with locked(tmp_path / "out") as holder:
            assert holder == ""
            assert str(os.getpid()) in (tmp_path / ".out.writer-lock").read_text()
        assert names(tmp_path) == []
    finally:
        writer.end()


def test_a_forked_child_that_ends_does_not_release_the_lock_of_its_parent(tmp_path):
    with locked(tmp_path / "out"):
        child = os.fork()
        if not child:
            try:
                with locked(tmp_path / "out") as holder:
                    os._exit(0 if holder == "" else 1)  # it works for its parent
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        line = "from pathlib import Path\nfrom helpers.lock import locked\nimport sys\n"
        line += "with locked(Path(sys.argv[1])) as holder:\n    print(holder)"
        words = [sys.executable, "-c", line, str(tmp_path / "out")]
        found = subprocess.run(words, cwd=Path(lock.__file__).parents[1], capture_output=True, text=True, check=True)
        assert f"process {os.getpid()} " in found.stdout


def test_leaving_it_in_a_forked_child_does_not_remove_the_file(tmp_path):
    context = locked(tmp_path / "out")
    context.__enter__()
    child = os.fork()
    if not child:
        context.__exit__(None, None, None)
        os._exit(0)
    os.waitpid(child, 0)
    assert names(tmp_path) == [".out.writer-lock"]
    context.__exit__(None, None, None)
    assert names(tmp_path) == []


def test_a_process_may_enter_it_again(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with locked(tmp_path / "out") as outer, locked(tmp_path / "link") as inner:
        assert outer == inner == ""
    with locked(tmp_path / "out"):
        with locked(tmp_path / "sub" / ".." / "out"):
            pass
        assert names(tmp_path) == [".out.writer-lock", "link"]
    assert names(tmp_path) == ["link"]


def test_waiting_says_so_and_ends_with_the_other_process(tmp_path, capsys, monkeypatch):
    writer = Writer(tmp_path / "out")
    attempts = []

    def sleep(_):
        attempts.append(1)
        if len(attempts) == 2 * lock._ATTEMPTS:
            writer.end()

    monkeypatch.setattr(lock.time, "sleep", sleep)
    with locked(tmp_path / "out", wait=True) as holder:
        assert holder == ""
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"out is being written by -c (process {writer.process.pid} " in err
    assert err.endswith("; waiting until it ends\n")


def test_a_lock_that_another_process_takes_for_a_moment_only_is_no_writer(tmp_path, monkeypatch):
    writer = Writer(tmp_path / "out")
    monkeypatch.setattr(lock.time, "sleep", lambda _: writer.end() if writer.process.poll() is None else None)
    with only_writer(tmp_path / "out", "--output"):
        pass


def test_a_file_that_its_last_holder_removes_meanwhile_is_made_anew(tmp_path, monkeypatch):
    original = lock._lock
    stale = []

    def locks_a_removed_file(descriptor):
        if not stale:
            stale.append(descriptor)
            (tmp_path / ".out.writer-lock").unlink()
        return original(descriptor)

    monkeypatch.setattr(lock, "_lock", locks_a_removed_file)
    with locked(tmp_path / "out") as holder:
        assert holder == ""
        assert names(tmp_path) == [".out.writer-lock"]
        assert os.path.getsize(tmp_path / ".out.writer-lock")
    assert names(tmp_path) == []


def test_a_file_that_another_has_made_in_its_place_is_not_removed(tmp_path):
    with locked(tmp_path / "out"):
        (tmp_path / ".out.writer-lock").unlink()
        (tmp_path / ".out.writer-lock").write_text("another")
    assert names(tmp_path) == [".out.writer-lock"]


@pytest.mark.parametrize("fails", [True, False])
def test_folders_are_made_for_the_lock_and_removed_if_they_stay_empty(tmp_path, fails):
    target = tmp_path / "a" / "b" / "out"
    with locked(target):
        if not fails:
            target.mkdir()
    assert names(tmp_path) == ([] if fails else ["a", "a/b", "a/b/out"])


def test_a_mere_look_changes_nothing(tmp_path):
    refuse_other_writer(tmp_path / "a" / "out", "--output")
    assert names(tmp_path) == []


def test_a_folder_whose_parent_cannot_be_written_has_its_lock_inside(tmp_path, monkeypatch):
    """Such as a disk that is mounted there; it is empty for a claim nevertheless."""
    target = tmp_path / "out"
    target.mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == target)
    with output.claim_folder(target, "--output", output.Record("tools.this", "made.json"), force=False):
        assert names(tmp_path) == ["out", "out/.writer-lock"]
    assert names(tmp_path) == ["out"]


def test_the_longest_names_have_locks(tmp_path):
    for name in ("a" * 255, "ä" * 127):
        with locked(tmp_path / name) as holder:
            assert holder == ""
            assert len(names(tmp_path)) == 1
    assert names(tmp_path) == []


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EIO])
def test_where_there_are_no_locks_a_line_warns_once(tmp_path, monkeypatch, capsys, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    lock._warn.cache_clear()
    for _ in range(2):
        with locked(tmp_path / "out") as holder, locked(tmp_path / "other"):
            assert holder == ""
    err = capsys.readouterr().err
    assert err.startswith(f"warning: no locks here ([Errno {code}]")
    assert err.count("\n") == 1
    assert names(tmp_path) == []


def test_a_system_without_fcntl_has_no_locks_either(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    lock._warn.cache_clear()
    with locked(tmp_path / "out") as holder:
        assert holder == ""
    assert "warning: no locks here" in capsys.readouterr().err


def test_a_full_disk_does_not_keep_the_lock_from_being_held(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    with locked(tmp_path / "out") as holder:
        assert holder == ""
        assert lock._read_holder(tmp_path / ".out.writer-lock") == "another process"


def test_garbage_in_a_left_file_does_no_harm(tmp_path):
    (tmp_path / ".out.writer-lock").write_bytes(b"\xff\0" * 10000)
    with locked(tmp_path / "out") as holder:
        assert holder == ""
    assert names(tmp_path) == []
