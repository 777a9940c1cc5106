"""Messages of programs: one line whatever they name, on any terminal, and when nobody reads or the disk is full."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import make_camvid

from helpers import console
from helpers.errors import InputError, exit_status, naming

ROOT = Path(__file__).resolve().parents[2]
ODD = ["Z\udcfcrich", "a\u2028b", "a\nb", "a\x1b[2Jb", "a\x85b", "Zürich", "\U0001f600"]
PROGRAM = "import sys; sys.path.insert(0, {root!r}); from helpers.errors import InputError, exit_status\n{body}\n"
PROGRAM += "sys.exit(exit_status('program', main, None))"


def run(body, shell=None, **environment):
    """The program whose main is `body`, alone or as $PROGRAM in a shell."""
    code = PROGRAM.format(root=str(ROOT), body=body)
    command = ["bash", "-o", "pipefail", "-c", shell] if shell else [sys.executable, "-c", code]
    environment |= {"PYTHON": sys.executable, "CODE": code}
    return subprocess.run(command, env=os.environ | environment, capture_output=True)


@pytest.mark.parametrize("name", ODD)
def test_an_error_that_names_any_file_is_one_printable_line(capsys, name):
    def main(_):
        raise InputError(f"{name}: there is no such file")

    assert exit_status("program", main, None) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == len(err.splitlines()) == 1
    assert err[:-1].isprintable()
    err.encode()
    assert name not in err or name.isprintable()


def test_any_name_is_printed_in_any_encoding():
    body = f"names = {ODD!r}\ndef main(_):\n    print(*names)\n    raise InputError(' '.join(names))"
    for encoding in ("ascii", "utf-8", "latin-1"):
        done = run(body, LC_ALL="C", PYTHONIOENCODING=encoding)
        assert done.returncode == 2
        assert done.stderr.count(b"\n") == 1
        assert b"Traceback" not in done.stderr
        assert rb"Z\udcfcrich a\u2028b" in done.stdout
        assert b"\x1b" not in done.stdout + done.stderr


def test_a_reader_that_leaves_is_no_error(tmp_path):
    """The work is finished, nothing is printed, and the status is that of the program."""
    body = "def main(_):\n    for _ in range(100_000):\n        print('line')\n    open(sys.argv[1], 'w').close()"
    done = run(body, f'"$PYTHON" -c "$CODE" {tmp_path}/done | head -1')
    assert (done.returncode, done.stdout, done.stderr) == (0, b"line\n", b"")
    assert (tmp_path / "done").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_output_to_a_full_disk_is_an_error_of_one_line():
    done = run("def main(_):\n    print('line')", '"$PYTHON" -c "$CODE" > /dev/full')
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"/dev/full: No space left on device" in done.stderr


def on_full_disk(tmp_path, code):
    """Status and errors of code that runs in a file system of 1 MB, as the folder `disk`."""
    (tmp_path / "disk").mkdir()
    script = f"mount -t tmpfs -o size=1m tmpfs {tmp_path}/disk && cd {ROOT} && exec {sys.executable} -c '{code}'"
    found = shutil.which("unshare")
    if not found or subprocess.run([found, "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    done = subprocess.run([found, "-rm", "bash", "-c", script], capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "write",
    [
        "probabilities.ProbabilityFile(path, (20, 300, 300), 'uint8')",
        "probabilities.write_probabilities(path, np.zeros((20, 300, 300)), 'float16')",
        "write_text(path, 'x' * 2_000_000)",
        "write_png(path, np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8))",
    ],
)
def test_a_full_disk_is_named_with_its_file(tmp_path, write):
    path = f"{tmp_path}/disk/file.npy"
    code = "import sys, numpy as np; from pathlib import Path; from helpers import probabilities; "
    code += "from helpers.errors import exit_status; from helpers.images import write_png; "
    code += f"from helpers.output import write_text; path = Path('{path}'); "
    code += f"sys.exit(exit_status('program', lambda _: {write}, None))"
    status, err = on_full_disk(tmp_path, code.replace("'", '"'))
    assert status == 2, err
    assert err.count("\n") == 1, err
    assert f"cannot write {path}: No space left on device: the disk at {tmp_path}/disk has 0.0 MiB free" in err or (
        f"cannot write {path}" in err and f"the disk at {tmp_path}/disk has " in err
    )


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("minicity.synthesize", "--output DISK/new --num_train 1 --num_val 1 --num_test 0 --size 64 --num_workers 1"),
        ("minicity.explore", "--dataset camvid --dataset_path DATA --output DISK/new"),
        ("evaluate", "--dataset camvid --minicity DATA --results DATA/valannot --output DISK/new"),
    ],
)
def test_programs_name_a_full_disk_and_the_output(tmp_path, module, words):
    make_camvid(tmp_path / "DATA", (("train", 1), ("val", 1)))
    words = words.replace("DISK", f"{tmp_path}/disk").replace("DATA", f"{tmp_path}/DATA")
    code = f"import sys, {module} as program; from helpers.errors import exit_status; "
    code += f'open("{tmp_path}/disk/full", "wb", buffering=0).write(bytes(2_000_000)); '
    code += f'sys.exit(exit_status("program", program.main, "{words}".split()))'
    status, err = on_full_disk(tmp_path, code)
    assert status == 2, err
    assert err.count("\n") == 1, err
    assert f"error: cannot write {tmp_path}/disk/new" in err
    assert f"the disk at {tmp_path}/disk has " in err
    assert ".partial" not in err


def test_what_torch_says_of_a_full_disk_becomes_the_file_and_the_disk(tmp_path, capsys):
    def main(_):
        with naming(tmp_path / "weights.pth.tar"):
            raise RuntimeError("[enforce fail at inline_container.cc:603] . PytorchStreamWriter failed writing file")

    assert exit_status("program", main, None) == 2
    err = capsys.readouterr().err
    assert f"cannot write {tmp_path / 'weights.pth.tar'}: writing failed: the disk at /" in err
    assert "enforce fail" not in err


def test_other_errors_of_torch_stay_bugs(tmp_path):
    with pytest.raises(RuntimeError, match="shape"), naming(tmp_path):
        raise RuntimeError("another shape")


def test_one_line_keeps_what_can_be_printed():
    assert console.escaped("Zürich 東京 a b") == "Zürich 東京 a b"
    assert console.escaped("a\nb\u2028\udcfc\x1b") == r"a\nb\u2028\udcfc\x1b"
