"""One writer: every program refuses an output that another process writes, and changes nothing."""

import ast
import importlib
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from commands import SMALL, small_run, snapshot, stored_options, train
from tiny import make_camvid
from writers import ROOT, held_by_another

from helpers.errors import exit_status
from tests.test_architecture import ALIASES, MODULES, PROGRAMS

# (program, its words, the output that another process writes). RUN and COPY are runs, DATA is a data set, NEW does not exist.
CASES = [
    ("baseline", "--save_path NEW --dataset camvid --dataset_path DATA SMALL", "NEW"),
    ("baseline", "--save_path NEW/deep --dataset camvid --dataset_path DATA SMALL", "NEW/deep"),
    ("baseline", "--save_path RUN --dataset camvid --dataset_path DATA SMALL", "RUN"),
    ("baseline", "--save_path RUN --resume --epochs 2", "RUN"),
    ("baseline", "--save_path RUN --predict", "RUN/results_val"),
    ("baseline", "--save_path RUN --predict --mst --split test", "RUN/results_test"),
    ("baseline", "--save_path RUN --predict --input DATA/test", "RUN/results_input"),
    ("baseline", "--save_path RUN --predict --input DATA/test --output NEW --force", "NEW"),
    ("baseline", "--save_path RUN --predict --export NEW.pt2", "NEW.pt2"),
    ("evaluate", "--results RUN/results_val", "RUN/results.txt"),
    ("evaluate", "--results RUN/results_val --output NEW", "NEW/results.txt"),
    ("tools.gallery", "RUN", "RUN/gallery_val.html"),
    ("tools.gallery", "RUN --force", "RUN/gallery_val_full"),
    ("tools.pseudo_label", "RUN --input DATA/test --output NEW", "NEW"),
    ("tools.pseudo_label", "RUN --input DATA/test --output RUN --force", "RUN"),
    ("tools.copypaste", "--dataset camvid --dataset_path DATA --classes Car --output NEW --force", "NEW"),
    ("tools.ensemble", "RUN RUN --output NEW", "NEW"),
    ("tools.ensemble", "RUN RUN --output RUN --force", "RUN"),
    ("tools.average", "RUN RUN --output NEW", "NEW"),
    ("tools.average", "RUN RUN --output RUN --force", "RUN"),
    ("tools.ablate", "--save_path NEW --base --dataset camvid --dataset_path DATA SMALL", "NEW"),
    ("tools.entry", "--save_path NEW --dataset camvid --dataset_path DATA SMALL", "NEW"),
    ("tools.samples", "--output NEW.png --dataset camvid --dataset_path DATA SMALL", "NEW.png"),
    ("tools.submit", "RUN", "RUN/submission_test.zip"),
    ("tools.submit", "RUN --output NEW.csv --format csv --force", "NEW.csv"),
    ("tools.compare", "RUN COPY --output NEW", "NEW/comparison.txt"),
    ("tools.compare", "RUN COPY --output RUN --force", "RUN/class_iou.png"),
    ("tools.check", "--dataset camvid --dataset_path DATA --output NEW.json", "NEW.json"),
    ("minicity.convert", "DATA --output NEW", "NEW"),
    ("minicity.synthesize", "--output NEW --num_train 1 --num_val 1 --num_test 0 --size 32", "NEW"),
    ("minicity.explore", "--dataset camvid --dataset_path DATA", "DATA/explore"),
]
# Programs without an output: what tools.cache removes has locks of its own, and tools.benchmark keeps nothing.
WITHOUT_OUTPUT = {"tools.cache", "tools.benchmark"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folder with a data set, DATA, and a finished and predicted run, RUN."""
    folder = tmp_path_factory.mktemp("writers")
    data = make_camvid(folder / "DATA", (("train", 2), ("val", 1), ("test", 1)))
    assert train(folder / "RUN", data, "--epochs", 1, "--seed", 1) == 0
    assert run(folder, "baseline", "--save_path RUN --predict --split test") == 0
    shutil.copytree(folder / "RUN", folder / "COPY")
    return folder


def command(folder, name, words):
    """Module of a program, and its words with all paths; `words` are as in `CASES`."""
    parts = [part for word in words.split() for part in (SMALL if word == "SMALL" else [word])]
    parts = [str(folder / part) if part.startswith(("NEW", "RUN", "COPY", "DATA")) else part for part in parts]
    return f"{name}.__main__" if f"{name}.__main__" in MODULES else name, parts


def run(folder, name, words):
    """Exit status of a program."""
    module, parts = command(folder, name, words)
    return exit_status(name, importlib.import_module(module).main, parts)


def everything(folder):
    folders = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_dir()}
    return snapshot(folder), folders


@pytest.mark.parametrize(("name", "words", "target"), CASES)
def test_an_output_that_another_process_writes_is_refused(place, capsys, name, words, target):
    with held_by_another(place / target) as holder:
        before = everything(place)
        assert run(place, name, words) == 2
        assert everything(place) == before
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert f"{place / target} is being written by -c (process {holder.pid} on " in err
    assert "wait until it ends, or name another --" in err


def test_every_program_with_an_output_is_tried():
    programs = {name.removesuffix(".__main__") for name in PROGRAMS}
    assert {name for name, *_ in CASES} | WITHOUT_OUTPUT | set(ALIASES) == programs


@pytest.mark.parametrize("name", sorted(MODULES))
def test_claims_are_contexts(name):
    """A claim that is called and not entered would neither check nor lock."""
    tree = ast.parse(MODULES[name].read_text())
    entered = [item.context_expr for node in ast.walk(tree) if isinstance(node, ast.With) for item in node.items]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    entered += [argument for call in calls if called(call) == "enter_context" for argument in call.args]
    claims = [call for call in calls if called(call).startswith(("claim", "_claim", "locked", "only_writer"))]
    assert all(call in entered for call in claims)


def called(call):
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("baseline", "--save_path RUN --predict --split val --device cpu"),
        ("baseline", "--save_path RUN --predict --input DATA/test --device cpu"),
        ("baseline", "--save_path RUN --dry_run --dataset camvid --dataset_path DATA SMALL"),
        ("evaluate", "--results RUN/results_val"),
        ("tools.gallery", "RUN"),
        ("tools.submit", "RUN --force"),
    ],
)
def test_a_run_that_is_being_trained_can_be_looked_at(place, name, words):
    with held_by_another(place / "RUN"):
        assert run(place, name, words) == 0


def test_the_prediction_at_the_end_of_a_training_waits_for_another(tmp_path, place, capsys, monkeypatch):
    from helpers import lock

    with held_by_another(tmp_path / "run/results_val") as holder:
        pauses = []

        def sleep(_):
            pauses.append(1)
            if len(pauses) == 2 * lock._ATTEMPTS:
                holder.communicate("")  # it ends

        monkeypatch.setattr(lock, "time", SimpleNamespace(sleep=sleep, strftime=time.strftime))
        assert train(tmp_path / "run", place / "DATA", "--epochs", 1) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "waiting until it ends" in line]
    assert len(lines) == 1
    assert f"run/results_val is being written by -c (process {holder.pid} " in lines[0]
    assert len(list((tmp_path / "run/results_val").iterdir())) == 1


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_of_several_processes_holds_the_lock_for_all(tmp_path, place, monkeypatch, capsys, rank):
    from learning.run.setup import claim_output, setup_run

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", str(rank))
    words = small_run(tmp_path / "run", place / "DATA")
    with claim_output(setup_run(words)):
        assert (tmp_path / ".run.writer-lock").exists() == (rank == 0)
    with held_by_another(tmp_path / "run"):
        status = exit_status("baseline.py", lambda _: setup_run(words) and None, None)
        assert status == (2 if rank == 0 else 0)


def test_a_run_that_another_has_begun_and_ended_meanwhile_is_not_replaced(tmp_path, place):
    """Between the check of a command line and its claim."""
    from helpers.errors import InputError
    from learning.run.setup import claim_output, setup_run

    late = setup_run(small_run(tmp_path / "run", place / "DATA", "--resume"))
    assert train(tmp_path / "run", place / "DATA", "--epochs", 1) == 0
    with pytest.raises(InputError, match="holds another run; continue it with --resume"), claim_output(late):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("word", ["", "--resume"])
def test_of_trainings_that_start_together_one_writes_the_folder(tmp_path, place, word):
    seeds = range(1, 4)
    lines = [
        [sys.executable, str(ROOT / "baseline.py"), *small_run(tmp_path / "run", place / "DATA"), "--seed", str(seed)]
        for seed in seeds
    ]
    lines = [[*line, "--epochs", "2", *filter(None, [word])] for line in lines]
    processes = [subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for line in lines]
    ends = [(process.communicate()[1], process.returncode) for process in processes]
    assert sorted(status for _, status in ends) == [0, 2, 2], ends
    for err, status in ends:
        assert (status == 0) or (err.count("\n") == 1 and " is being written by baseline.py (process " in err), err
    winner = next(seed for seed, (_, status) in zip(seeds, ends, strict=True) if status == 0)
    assert stored_options(tmp_path / "run")["seed"] == winner
    alone = tmp_path / "alone"
    subprocess.run([part.replace(str(tmp_path / "run"), str(alone)) for part in lines[winner - 1]], check=True)
    for name in ("log_epoch.csv", "results_val/0001TP_val000.png"):
        assert (tmp_path / "run" / name).read_bytes() == (alone / name).read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name[0] == "."] == []
