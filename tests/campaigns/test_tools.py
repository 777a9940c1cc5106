"""Programs that are killed while they write, and programs that start together: nothing is lost, and nothing stays behind."""

import hashlib
import shutil
import signal
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from commands import small_run, snapshot, train
from processes import Program
from runs import same_end
from strangers import left_behind
from tiny import make_camvid

from tests.test_one_writer import command, run

# Programs and their words, as in test_one_writer.py, and where they write; tools.samples takes long and writes as tools.check.
CASES = [
    ("baseline", "--save_path RUN --predict --split val --save_scores uint8 --device cpu", "RUN/results_val"),
    ("baseline", "--save_path RUN --predict --input DATA/test --output NEW --device cpu", "NEW"),
    ("evaluate", "--results RUN/results_val", "RUN"),
    ("tools.gallery", "RUN", "RUN/gallery_val_full"),
    ("tools.pseudo_label", "RUN --input DATA/test --output NEW --confidence 0.01 --device cpu --force", "NEW"),
    ("tools.copypaste", "--dataset camvid --dataset_path DATA --classes Car --num 3 --output NEW --force", "NEW"),
    ("tools.ensemble", "RUN RUN --output NEW --device cpu --force", "NEW/results_val"),
    ("tools.average", "RUN RUN --output NEW --batches 0 --device cpu", "NEW"),
    ("tools.submit", "RUN --force", "RUN"),
    ("tools.compare", "RUN COPY --output NEW", "NEW"),
    ("tools.check", "--dataset camvid --dataset_path DATA --output NEW.json", "NEW"),
    ("minicity.explore", "--dataset camvid --dataset_path DATA --output NEW", "NEW"),
]
KILLS = 2  # of each program
WHOLE = ("tools.copypaste", "tools.pseudo_label")  # replace a folder as a whole: they refuse one with other files


pytestmark = pytest.mark.slow
NUM_STARTS = 5


@pytest.fixture
def start(tmp_path):
    """Starts a program in a process of its own, which is killed before a change to its folder of some number."""
    numbers = count()

    def start(folder, module, words, kill_at=None):
        return Program(module, words, folder, tmp_path / f"logs{next(numbers)}", kill_at)

    return start


def end(program):
    """(status, changes to its folder) of a program, which must not have printed a traceback."""
    ended = program.wait()
    assert "Traceback" not in ended.err, ended.err
    return ended.status, ended.writes


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Folder with a data set, DATA, and two runs, RUN and COPY."""
    folder = tmp_path_factory.mktemp("kills")
    data = make_camvid(folder / "DATA", (("train", 5), ("val", 2), ("test", 2)), size=(64, 96))
    assert train(folder / "RUN", data, "--epochs", 1, "--seed", 1) == 0
    assert run(folder, "baseline", "--save_path RUN --predict --split test") == 0
    shutil.copytree(folder / "RUN", folder / "COPY")
    return folder


def plant(folder, target):
    """Put files of others wherever a program writes; returns their hashes."""
    path = folder / target
    kinds = {"old": "results", "partial": "half", "tmp": "x", "lock": "x"}
    for kind, text in kinds.items():
        strange = path.with_name(f".{path.name}.{kind}")
        strange.mkdir(parents=True, exist_ok=True)
        (strange / "mine.txt").write_text(text)
    (path.parent / "mine.txt").write_text("mine")
    if path.is_dir():
        (path / "mine.txt").write_text("mine")
    return strangers(folder)


def strangers(folder):
    return {str(path.relative_to(folder)): hash_of(path) for path in folder.rglob("mine.txt")}


def hash_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("name", "words", "target"), CASES)
def test_a_killed_program_loses_nothing_and_the_next_call_cleans_up(tmp_path, start, template, name, words, target):
    folder = tmp_path / "place"
    shutil.copytree(template, folder)
    call = (folder, *command(folder, name, words))
    assert end(start(*call))[0] in (0, 1)  # the output of an earlier call, which is replaced
    before = plant(folder, target if name not in WHOLE else f"{target}.txt")
    status, changes = end(start(*call))
    assert status in (0, 1)
    assert strangers(folder) == before
    whole = snapshot(folder)
    for number in np.random.default_rng(0).integers(1, changes + 1, KILLS):
        assert end(start(*call, number))[0] == -signal.SIGKILL, number
        # Between the two steps of an exchange, the old folder has another name.
        assert sorted(strangers(folder).values()) == sorted(before.values()), number
        assert end(start(*call))[0] in (0, 1)
        assert strangers(folder) == before, number
        found = snapshot(folder)
        assert found.keys() == whole.keys(), number
        assert {path for path in whole if path.endswith(".png") and found[path] != whole[path]} == set(), number


def test_a_new_data_set_is_complete_or_can_be_made_again_after_any_kill(tmp_path, start):
    def call(folder):
        (folder / "NEW").mkdir(parents=True, exist_ok=True)
        (folder / "NEW/mine.txt").write_text("mine")
        words = "--output NEW --num_train 2 --num_val 1 --num_test 1 --size 32 --num_workers 1"
        return folder, *command(folder, "minicity.synthesize", words)

    status, changes = end(start(*call(tmp_path / "whole")))
    assert status == 0
    whole = snapshot(tmp_path / "whole")
    for number in range(1, changes + 1):
        folder = tmp_path / str(number)
        assert end(start(*call(folder), number))[0] == -signal.SIGKILL, number
        is_complete = whole.items() <= snapshot(folder).items()
        assert end(start(*call(folder)))[0] == (2 if is_complete else 0), number
        assert is_complete or snapshot(folder) == whole, number


@pytest.mark.parametrize(("name", "words", "target"), CASES)
def test_of_programs_that_start_together_one_writes_and_the_others_are_refused(
    tmp_path, start, template, name, words, target
):
    folders = [tmp_path / "together", tmp_path / "alone"]
    for folder in folders:
        shutil.copytree(template, folder)
    call = (folders[0], *command(folders[0], name, words))
    before = plant(folders[0], target if name not in WHOLE else f"{target}.txt")
    plant(folders[1], target if name not in WHOLE else f"{target}.txt")
    ends = [program.wait() for program in [start(*call) for _ in range(NUM_STARTS)]]
    for ended in ends:
        assert ended.status in (0, 2), ended.err
        if ended.status == 2:  # it was refused, or came when the first had ended and may not be replaced
            assert sum(": error: " in line for line in ended.err.splitlines()) == 1, ended.err
            assert ": error: " in ended.err.splitlines()[-1], ended.err
    assert any(ended.status == 0 for ended in ends), [ended.err for ended in ends]
    assert strangers(folders[0]) == before
    assert end(start(folders[1], *command(folders[1], name, words)))[0] in (0, 1)
    together, alone = map(snapshot, folders)
    assert together.keys() == alone.keys()
    assert [path for path in alone if path.endswith(".png") and together[path] != alone[path]] == []


@pytest.mark.parametrize("word", ["", "--resume"])
def test_of_trainings_that_start_together_one_gets_the_folder(tmp_path, start, template, word):
    shutil.copytree(template / "DATA", tmp_path / "place/DATA")
    words = small_run(tmp_path / "place/run", tmp_path / "place/DATA", "--epochs", 2, "--seed", 1)
    words += ["--cache_path", str(tmp_path / "cache")]
    ends = [
        program.wait()
        for program in [start(tmp_path / "place", "baseline", [*words, *word.split()]) for _ in range(NUM_STARTS)]
    ]
    assert sum(ended.status == 0 and "epoch" in ended.out for ended in ends) == 1, [ended.err for ended in ends]
    for ended in ends:
        assert ended.status in (0, 2)
        assert ended.status == 0 or len(ended.err.splitlines()) == 1, ended.err
    alone = [tmp_path / "place/alone" if part == tmp_path / "place/run" else part for part in map(Path, words)]
    assert end(start(tmp_path / "place", "baseline", alone))[0] == 0
    assert same_end(tmp_path / "place/run", tmp_path / "place/alone")
    assert left_behind(tmp_path) == []
