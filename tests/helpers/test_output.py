"""What is overwritten: claims, temporary names, exchanges that are killed between any two steps, leftovers."""

import json
import os
import subprocess
import sys
import time
from itertools import count

import pytest

from helpers import output
from helpers.errors import InputError
from helpers.output import Record, Signature, claim_file, claim_files, claim_folder, replacing_folders, writing

RECORD = Record("tools.this", "made.json")
OLD_RECORD = Record("tools.this", "made.json", unsigned=True)
SIGNATURE = Signature("tools.this", b"made by tools.this\n")


class Killed(BaseException):
    """The end of a process: nothing that follows is done."""


def fill(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def dead_process():
    """Id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture(autouse=True)
def _new_process():
    output._clear_leftovers.cache_clear()


# ---------------------------------------------------------------------------------------------- files


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "a.tar.gz"
    path.write_text("old")
    with writing(path) as fresh:
        assert fresh.parent == tmp_path
        assert fresh.suffix == ".gz"
        assert not fresh.exists()
        fresh.write_text("new")
        assert path.read_text() == "old"
    assert content(tmp_path) == {"a.tar.gz": "new"}


def test_a_file_stays_when_writing_fails(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with writing(path) as fresh:
            fresh.write_text("half")
            raise RuntimeError("no more memory")

    with pytest.raises(RuntimeError):
        fail()
    assert content(tmp_path) == {"a.txt": "old"}


def test_temporary_names_are_unique(tmp_path):
    """In one process, and in two that write the same file; no file of the user has such a name."""
    path = tmp_path / "a.txt"
    code = (
        "import sys\nfrom pathlib import Path\nfrom helpers.output import writing\n"
        "with writing(Path(sys.argv[1])) as fresh:\n    print(fresh.name)\n    fresh.touch()"
    )
    line = [sys.executable, "-c", code, str(path)]
    other = subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()
    with writing(path) as first, writing(path) as second:
        first.touch()
        second.touch()
        names = {first.name, second.name, other}
    assert len(names) == 3
    assert all(output._TEMPORARY.fullmatch(name) for name in names)


def test_text_is_utf8(tmp_path):
    output.write_text(str(tmp_path / "a.txt"), "Straße\n")
    assert (tmp_path / "a.txt").read_bytes() == "Straße\n".encode()


def test_what_is_set_aside_gets_a_free_name(tmp_path):
    for number in (1, 2):
        fill(tmp_path / "scores", a=str(number))
        assert output.set_aside(tmp_path / "scores") == tmp_path / f"earlier_{number}_scores"
    assert content(tmp_path) == {"earlier_1_scores/a": "1", "earlier_2_scores/a": "2"}


# ---------------------------------------------------------------------------------------------- folders


def exchange(folder):
    with replacing_folders(folder, record=RECORD) as (fresh,):
        fill(fresh, a="new", b="new")
        RECORD.write(fresh, ["a", "b"])


def test_files_of_others_move_into_the_new_folder_and_replaced_ones_go(tmp_path):
    folder = fill(tmp_path / "out", a="old", gone="old", mine="mine")
    fill(folder / "sub", mine="mine")
    RECORD.write(folder, ["a", "gone"])
    exchange(folder)
    found = content(folder)
    assert json.loads(found.pop("made.json")) == {"made by": "tools.this", "files": ["a", "b"]}
    assert found == {"a": "new", "b": "new", "mine": "mine", "sub/mine": "mine"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_a_link_points_to_is_replaced(tmp_path):
    fill(tmp_path / "disk" / "out", a="old")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "out")
    exchange(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk/out/a").read_text() == "new"


@pytest.mark.parametrize("there", [True, False])
def test_a_kill_between_any_two_steps_of_an_exchange_loses_nothing(tmp_path, monkeypatch, there):
    """Steps are what changes the disk; at every kill the old or the new folder lies complete, and the next exchange works."""
    names, steps = ("replace", "rename", "unlink", "mkdir", "rmdir"), count()
    originals = {name: getattr(os, name) for name in names}
    last = None

    def stops_before(number):
        done = count()

        def step(name):
            def call(*args, **options):
                if next(done) >= number:
                    raise Killed
                return originals[name](*args, **options)

            return call

        return {name: step(name) for name in names}

    for number in steps:
        folder = tmp_path / str(number) / "out"
        folder.parent.mkdir()
        if there:
            fill(folder, a="old", gone="old", mine="mine")
            RECORD.write(folder, ["a", "gone"])
        with monkeypatch.context() as patch:
            for name, step in stops_before(number).items():
                patch.setattr(os, name, step)
            try:
                exchange(folder)
                last = number
            except Killed:
                pass
        states = [content(path) for path in folder.parent.iterdir()]
        old = [state for state in states if {"a": "old", "gone": "old"}.items() <= state.items()]
        new = [state for state in states if {"a": "new", "b": "new"}.items() <= state.items()]
        assert old or new or not there, number
        assert not there or sum("mine" in state for state in states) == 1, number

        # Another process, for which the temporary names of the killed one are leftovers.
        monkeypatch.setattr(output, "_TOKEN", f"{number:08x}")
        output._clear_leftovers.cache_clear()
        exchange(folder)
        found = content(folder.parent)
        found.pop("out/made.json")
        assert found == {"out/a": "new", "out/b": "new"} | ({"out/mine": "mine"} if there else {}), number
        if last is not None:
            break
    assert last >= (8 if there else 4)


def test_a_failure_leaves_the_old_folders(tmp_path):
    one, other = fill(tmp_path / "one", a="old"), tmp_path / "other"

    def fail():
        with replacing_folders(one, other) as (fresh, _):
            fill(fresh, a="new")
            raise RuntimeError("no more memory")

    with pytest.raises(RuntimeError):
        fail()
    assert content(tmp_path) == {"one/a": "old"}
    assert not other.exists()


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="is a file"), replacing_folders(tmp_path / "out"):
        pass
    assert content(tmp_path) == {"out": "mine"}


# ---------------------------------------------------------------------------------------------- leftovers


def test_leftovers_of_processes_that_have_ended_are_cleared_and_nothing_else(tmp_path, dead_process):
    mine = fill(tmp_path, **{"a.txt.tmp": "mine", ".partial-mine": "mine", ".partial-1-2-3.txt": "mine"})
    before = content(mine)
    running = f".partial-{os.getppid()}-0123abcd-0.txt"
    ours = f".partial-{os.getpid()}-{output._TOKEN}-999999.txt"
    same_number = f".partial-{os.getpid()}-0123abcd-0.txt"
    ended = f".partial-{dead_process}-0123abcd-0.txt"
    fill(tmp_path, **dict.fromkeys((running, ours, same_number, ended), "half"))
    fill(tmp_path / f".partial-{dead_process}-0123abcd-1" / "sub", a="half")
    output.write_text(tmp_path / "a.txt", "whole")
    assert content(tmp_path) == before | {running: "half", ours: "half", "a.txt": "whole"}


def test_a_folder_is_listed_once_and_not_for_each_file(tmp_path, dead_process):
    output.write_text(tmp_path / "a.txt", "a")
    fill(tmp_path, **{f".partial-{dead_process}-0123abcd-0": "half"})
    output.write_text(tmp_path / "b.txt", "b")
    assert len(list(tmp_path.iterdir())) == 3


def test_names_that_another_program_or_a_user_may_have_chosen_are_not_touched(tmp_path):
    for name in (".out.partial", ".out.old", ".out.tmp", ".out.lock", ".out.replaced", ".gallery_val"):
        fill(tmp_path / name, a="mine", b="mine")
    before = content(tmp_path)
    for _ in range(2):
        exchange(tmp_path / "out")
        assert {path: text for path, text in content(tmp_path).items() if not path.startswith("out/")} == before


def test_leftovers_of_another_machine_stay_while_their_process_may_run(tmp_path, monkeypatch):
    """Its process ids mean nothing here; a container is another machine."""
    monkeypatch.setattr(output, "_MACHINE", "0000")
    with output.temporary(tmp_path / "a.txt") as path:
        theirs = path.name
    monkeypatch.undo()
    for days, stays in ((1, True), (8, False)):
        path = tmp_path / theirs
        path.touch()
        os.utime(path, (time.time() - days * 86400,) * 2)
        output._clear_leftovers.cache_clear()
        output.write_text(tmp_path / "b.txt", "b")
        assert path.exists() == stays


def test_files_of_others_in_a_folder_of_the_program_are_kept(tmp_path):
    """Also beside its own files in a subfolder, if they came while the program worked."""
    folder = tmp_path / "out"

    def replace():
        with replacing_folders(folder, record=RECORD) as (fresh,):
            fill(fresh / "sub", a="new")
            RECORD.write(fresh, ["sub/a"])
            if folder.is_dir():
                fill(folder / "sub", mine="mine")

    replace()
    replace()
    assert {name: text for name, text in content(folder).items() if name != "made.json"} == {
        "sub/a": "new",
        "sub/mine": "mine",
    }


def test_what_the_program_replaced_goes_where_an_earlier_version_listed_nothing(tmp_path):
    folder = fill(tmp_path / "out", mine="mine", **{"made.json": '{"made by": "tools.this"}'})
    fill(folder / "sub", old="old")
    fill(folder / "deep", mine="mine")
    with replacing_folders(folder, record=RECORD) as (fresh,):
        fill(fresh / "sub", a="new")
        RECORD.write(fresh, ["sub/a"])
    assert sorted(content(folder)) == ["deep/mine", "made.json", "mine", "sub/a"]


# ---------------------------------------------------------------------------------------------- claims


def enter(claim):
    with claim:
        pass


@pytest.mark.parametrize(
    ("there", "mark", "force", "message"),
    [
        (None, SIGNATURE, False, None),
        ("text, made by tools.this\n", SIGNATURE, False, None),
        ("mine", SIGNATURE, False, r"file was not made by tools\.this; name another --output, or add --force"),
        ("a note on what is made by tools.this", SIGNATURE, False, "was not made by"),
        ("mine", SIGNATURE, True, None),
        ("made by tools.this\n", None, False, r"file exists; name another --output, or add --force"),
        ("mine", None, True, None),
        (None, None, False, None),
    ],
)
def test_claims_of_a_file(tmp_path, there, mark, force, message):
    path = tmp_path / "file"
    if there is not None:
        path.write_text(there)
    if message is None:
        enter(claim_file(path, "--output", mark, force))
    else:
        with pytest.raises(InputError, match=message):
            enter(claim_file(path, "--output", mark, force))
    assert content(tmp_path) == ({} if there is None else {"file": there})


def test_a_file_needs_a_folder_that_can_be_written(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="is a folder"):
        enter(claim_file(tmp_path, "--output", None, True))
    with pytest.raises(InputError, match="there is no folder"):
        enter(claim_file(tmp_path / "no" / "file", "--output", None, True))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="cannot be written to"):
        enter(claim_file(tmp_path / "file", "--output", None, True))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("is_linked", [False, True])
def test_a_device_or_pipe_is_never_replaced(tmp_path, is_linked):
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / "link" if is_linked else tmp_path / "pipe"
    if is_linked:
        path.symlink_to("pipe")
    claims = [
        claim_file(path, "--output", None, True),
        claim_files(path, {}, "--output", RECORD, True),
        claim_folder(path, "--output", RECORD, True),
    ]
    for claim in claims:
        with pytest.raises(InputError, match="is a device, a pipe or a socket, which is never replaced"), claim:
            pass
    with pytest.raises(InputError, match="never replaced"), replacing_folders(path):
        pass
    assert sorted(os.listdir(tmp_path)) == sorted({"pipe", path.name})


def test_claims_of_files_in_a_folder(tmp_path):
    folder, image = tmp_path / "out", tmp_path / "a.jpg"
    image.touch()
    enter(claim_files(folder, {"a.png": image}, "--output", RECORD, False))
    fill(folder, **{"a.png": "ours", "b.png": "mine"})
    RECORD.write(folder, {"a.png": str(image)})
    enter(claim_files(folder, {"a.png": image}, "--output", RECORD, False))
    with pytest.raises(InputError, match=r"b\.png was not made by tools\.this; name another --output, or add --force"):
        enter(claim_files(folder, {"a.png": image, "b.png": image}, "--output", RECORD, False))
    enter(claim_files(folder, {"a.png": image, "b.png": image}, "--output", RECORD, True))
    with pytest.raises(InputError, match=r"a\.png is one of the inputs"):
        enter(claim_files(folder, {"a.png": folder / "a.png"}, "--output", RECORD, True))
    with pytest.raises(InputError, match="is a file; name a folder"):
        enter(claim_files(image, {}, "--output", RECORD, True))


def test_a_foreign_record_is_not_replaced(tmp_path):
    fill(tmp_path, **{"made.json": '{"made by": "tools.other", "files": ["a"]}', "a": "mine"})
    for name in ("a", "b"):
        with pytest.raises(InputError, match="was not made by"):
            enter(claim_files(tmp_path, {name: tmp_path / "image"}, "--output", RECORD, False))


@pytest.mark.parametrize(
    ("files", "record", "whole", "passes"),
    [
        ({}, RECORD, True, True),
        ({"mine": ""}, RECORD, False, False),
        ({"made.json": '{"made by": "tools.this"}', "a": ""}, RECORD, False, True),
        ({"made.json": '{"made by": "tools.this"}', "a": ""}, RECORD, True, True),
        ({"made.json": '{"made by": "tools.this", "files": ["a"]}', "a": ""}, RECORD, True, True),
        ({"made.json": '{"made by": "tools.this", "files": ["a"]}', "a": "", "mine": ""}, RECORD, False, True),
        ({"made.json": '{"made by": "tools.this", "files": ["a"]}', "a": "", "mine": ""}, RECORD, True, False),
        ({"made.json": '{"made by": "tools.other"}'}, RECORD, False, False),
        ({"made.json": '{"made by": "tools.other"}'}, OLD_RECORD, False, False),
        ({"made.json": '{"options": {}}'}, RECORD, False, False),
        ({"made.json": '{"options": {}}', "a": ""}, OLD_RECORD, True, True),
        ({"made.json": "a\nb", "a": "", "b": ""}, OLD_RECORD, True, True),
        ({"made.json": "a\nb", "a": "", "mine": ""}, OLD_RECORD, True, False),
        ({"made.json": "a\nb"}, RECORD, False, False),
        ({"made.json": "{"}, RECORD, False, False),
        ({"made.json": "[1]"}, RECORD, False, False),
    ],
)
def test_claims_of_a_folder(tmp_path, files, record, whole, passes):
    folder = fill(tmp_path / "out", **files)
    if passes:
        enter(claim_folder(folder, "--output", record, False, whole))
    else:
        with pytest.raises(InputError, match=r"not made by tools\.this.*; name another --output, or add --force"):
            enter(claim_folder(folder, "--output", record, False, whole))
        with pytest.raises(InputError, match=r"name another --output$"):
            enter(claim_folder(folder, "--output", record, None, whole))
    enter(claim_folder(folder, "--output", record, True, whole))
    assert content(folder) == files


def test_files_and_links_deep_in_a_replaced_folder_are_foreign_too(tmp_path):
    fill(tmp_path / "sub", a="ours")
    RECORD.write(tmp_path, ["sub/a"])
    enter(claim_folder(tmp_path, "--output", RECORD, False, whole=True))
    (tmp_path / "sub" / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match=r"holds 1 files that were not made by tools\.this, such as .*/sub/link; name"):
        enter(claim_folder(tmp_path, "--output", RECORD, False, whole=True))


def test_a_folder_that_a_tool_made_is_named(tmp_path):
    output.refuse_marked(tmp_path, None, "--save_path")
    with pytest.raises(InputError, match=r"was made by tools\.other, whose files .* name another --save_path"):
        output.refuse_marked(tmp_path, "tools.other", "--save_path")
