"""SIGKILL at drawn moments while a program writes: files of others stay, the next call works and leaves nothing behind."""

import hashlib
import shutil
import signal

import numpy as np
import pytest
from commands import snapshot, train
from killing import Killer
from tiny import make_camvid
from writers import ROOT

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
KILLS = 4  # of each program


@pytest.fixture(scope="module")
def killer():
    killer = Killer(ROOT)
    yield killer
    killer.end()


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
        strange.mkdir(exist_ok=True)
        (strange / "mine.txt").write_text(text)
    (path.parent / "mine.txt").write_text("mine")
    if path.is_dir():
        (path / "mine.txt").write_text("mine")
    return strangers(folder)


def strangers(folder):
    return {str(path.relative_to(folder)): hash_of(path) for path in folder.rglob("mine.txt")}


def hash_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "words", "target"), CASES)
def test_a_killed_program_loses_nothing_and_the_next_call_cleans_up(tmp_path, killer, template, name, words, target):
    folder = tmp_path / "place"
    shutil.copytree(template, folder)
    call = (folder, *command(folder, name, words))
    assert killer.run(*call)[0] in (0, 1)  # the output of an earlier call, which is replaced
    allows_others = name not in ("tools.copypaste", "tools.pseudo_label")
    before = plant(folder, target if allows_others else f"{target}.txt")
    status, changes = killer.run(*call)
    assert status in (0, 1)
    assert strangers(folder) == before
    whole = snapshot(folder)
    for number in np.random.default_rng(0).integers(1, changes + 1, KILLS):
        assert killer.run(*call, number)[0] == 128 + signal.SIGKILL, number
        # Between the two steps of an exchange, the old folder has another name.
        assert sorted(strangers(folder).values()) == sorted(before.values()), number
        assert killer.run(*call)[0] in (0, 1)
        assert strangers(folder) == before, number
        found = snapshot(folder)
        assert found.keys() == whole.keys(), number
        assert {path for path in whole if path.endswith(".png") and found[path] != whole[path]} == set(), number


@pytest.mark.slow
def test_a_new_data_set_is_complete_or_can_be_made_again_after_any_kill(tmp_path, killer):
    def call(folder):
        (folder / "NEW").mkdir(parents=True, exist_ok=True)
        (folder / "NEW/mine.txt").write_text("mine")
        words = "--output NEW --num_train 2 --num_val 1 --num_test 1 --size 32 --num_workers 1"
        return folder, *command(folder, "minicity.synthesize", words)

    status, changes = killer.run(*call(tmp_path / "whole"))
    assert status == 0
    whole = snapshot(tmp_path / "whole")
    for number in range(1, changes + 1):
        folder = tmp_path / str(number)
        assert killer.run(*call(folder), number)[0] == 128 + signal.SIGKILL, number
        is_complete = whole.items() <= snapshot(folder).items()
        assert killer.run(*call(folder))[0] == (2 if is_complete else 0), number
        assert is_complete or snapshot(folder) == whole, number
