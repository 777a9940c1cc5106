"""Random command lines and damaged files: an answer, or one line and status 2, but never a traceback."""

import contextlib
import importlib
import io
import json
import shutil

import numpy as np
import pytest
from commands import snapshot, train
from tiny import make_camvid

import baseline
import options
from helpers.errors import exit_status

pytestmark = pytest.mark.slow

SEED = 11
NUM_COMMAND_LINES = 500
NUM_FILES = 300
BATCH = 25  # cases of one test

# Nothing outside of the case's folder is named: some options replace what they name.
VALUES = [
    *("", " ", "-1", "0", "1", "2", "0.5", "1e-3", "1e999", "-inf", "nan", "9" * 400, "0x10", "1_000", "٣", "½"),
    *("None", "True", "False", "auto", "all", "[]", "{}", "null", "ce+", "3*ce+dice", "ce+nan*dice", "UNet", "camvid"),
    *("val", "--", "-", "=", "@", "@missing", "@.", "@/dev/null", ".", "~", "a\nb", "a\u2028b", "\udcff", "Zu\u0308rich"),
    *("run", "run/options.json", "run/best_weights.pth.tar", "run/results_val", "data", "data/train", "data/*", "text.txt"),
    *("a" * 5000, "no/such/folder", "text.txt/below", "cuda:7"),
]  # fmt: skip
PROGRAMS = {
    "evaluate": ["--results", "run/results_val"],
    "tools.average": ["run", "--output", "out"],
    "tools.cache": ["--cache_path", "cache"],
    "tools.check.__main__": ["--dataset", "camvid", "--dataset_path", "data"],
    "tools.compare": ["run", "run2"],
    "tools.copypaste.__main__": [
        "--dataset",
        "camvid",
        "--dataset_path",
        "data",
        "--classes",
        "Road",
        "--output",
        "out",
    ],
    "tools.ensemble": ["run", "--output", "out"],
    "tools.gallery.__main__": ["run"],
    "tools.pseudo_label.__main__": ["run", "--input", "data/test", "--output", "out"],
    "tools.samples.__main__": [
        "--dataset",
        "camvid",
        "--dataset_path",
        "data",
        "--crop_size",
        "32",
        "--output",
        "out.png",
    ],
    "tools.submit": ["run", "--split", "val", "--output", "out.zip"],
    "minicity.convert": ["data", "--output", "out"],
    "minicity.explore": ["--dataset", "camvid", "--dataset_path", "data", "--output", "out"],
}
WORDS = {
    "tools.average": ["--output", "--batches", "--device", "--num_workers", "--force"],
    "tools.cache": ["--cache_path", "--clear"],
    "tools.check.__main__": ["--dataset", "--dataset_path", "--all", "--output", "--force"],
    "tools.compare": ["--split", "--output", "--seed", "--blocks", "--dataset", "--dataset_path", "--force"],
    "tools.copypaste.__main__": [
        "--train_on",
        "--holdout",
        "--classes",
        "--blob_rules",
        "--seed",
        "--output",
        "--force",
    ],
    "tools.ensemble": ["--vote", "--mix", "--split", "--output", "--dataset", "--dataset_path", "--device", "--force"],
    "tools.gallery.__main__": ["--split", "--output", "--max", "--width", "--embed", "--dataset", "--force"],
    "tools.pseudo_label.__main__": [
        "--input",
        "--output",
        "--confidence",
        "--per_class",
        "--mix",
        "--device",
        "--force",
    ],
    "tools.samples.__main__": ["--num", "--output", "--force", *(f"--{name}" for name in options.OPTIONS)],
    "tools.submit": ["--split", "--format", "--size", "--row_major", "--train_ids", "--output", "--dataset", "--force"],
    "minicity.convert": ["--output", "--copy"],
    "minicity.explore": ["--dataset", "--dataset_path", "--output"],
    "evaluate": [
        "--results",
        "--dataset",
        "--boundary",
        "--calibration",
        "--bootstrap",
        "--blocks",
        "--output",
        "--minicity",
    ],
}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder with data, two runs and some files, which every case gets a copy of."""
    folder = tmp_path_factory.mktemp("lines")
    data = make_camvid(folder / "data")
    assert train(folder / "run", data, "--epochs", 1, "--seed", 1) == 0
    shutil.copytree(folder / "run", folder / "run2")
    (folder / "text.txt").write_text("--epochs 3 # a few\n")
    return folder


@pytest.fixture
def place(original, tmp_path, monkeypatch):
    """A copy of `original` in which the process works."""
    shutil.copytree(original, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


def answer(name, main, words):
    """Run a program in this process; asserts that it ends as a program should. Returns its status."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = exit_status(name, main, words)
        except SystemExit as end:  # of the parser
            status = end.code or 0
    assert status in (0, 1, 2), (words, status)
    if status == 2:
        last = err.getvalue().splitlines()[-1]
        assert ": error: " in last, (words, err.getvalue())
        assert sum(": error: " in line for line in err.getvalue().splitlines()) == 1, (words, err.getvalue())
    return status


def set_up_only(monkeypatch):
    """Everything that baseline.py does before it trains, predicts or measures."""
    from learning.run import dry_run, predict_command, replay_command

    monkeypatch.setattr(baseline, "train", lambda setup, started: None)
    monkeypatch.setattr(predict_command, "run_prediction", lambda setup: None)
    monkeypatch.setattr(dry_run, "dry_run", lambda setup: None)
    monkeypatch.setattr(replay_command, "replay", lambda setup: 0)


def draw_words(rng, names):
    """1 to 4 random options with 0 to 2 random values each."""
    words = []
    for _ in range(rng.integers(1, 5)):
        words.append(rng.choice(names))
        words += [VALUES[index] for index in rng.integers(len(VALUES), size=rng.choice([0, 1, 1, 1, 2]))]
    return list(map(str, words))


@pytest.mark.parametrize("batch", range(NUM_COMMAND_LINES // BATCH // 2))
def test_random_command_lines_of_baseline_get_an_answer(batch, place, monkeypatch):
    set_up_only(monkeypatch)
    names = [f"--{name}" for name in options.OPTIONS] + ["--no-hflip", "--epoch", "--crop-size"]
    before = snapshot(place)
    for case in range(BATCH):
        rng = np.random.default_rng([SEED, batch, case])
        start = [["--dataset", "camvid", "--dataset_path", "data"], ["--save_path", "run", "--predict"], []][case % 3]
        answer("baseline.py", baseline.main, [*start, *draw_words(rng, names)])
        assert snapshot(place) == before


@pytest.mark.parametrize("batch", range(NUM_COMMAND_LINES // BATCH // 2))
def test_random_command_lines_of_the_other_programs_get_an_answer(batch, place):
    before = snapshot(place)
    for case in range(BATCH):
        rng = np.random.default_rng([SEED, 1, batch, case])
        name = sorted(PROGRAMS)[(batch * BATCH + case) % len(PROGRAMS)]
        main = importlib.import_module(name).main
        answer(name, main, [*PROGRAMS[name], *draw_words(rng, WORDS[name])])
        after = snapshot(place)
        assert {path: after.get(path) for path in before if not path.startswith("run")} == {
            path: content for path, content in before.items() if not path.startswith("run")
        }


FILES = [
    *("run/checkpoint.pth.tar", "run/best_weights.pth.tar", "run/options.json", "run/results.json", "run/log_epoch.csv"),
    *("run/log_time.csv", "run/results_val/0001TP_val000.png", "data/valannot/0001TP_val000.png", "data/val/0001TP_val000.png"),
]  # fmt: skip
READERS = {
    "resume": (
        "baseline",
        ["--save_path", "run", "--resume", "--epochs", "2", "--num_workers", "0", "--device", "cpu"],
    ),
    "predict": ("baseline", ["--save_path", "run", "--predict", "--num_workers", "0", "--device", "cpu"]),
    "evaluate": ("evaluate", ["--results", "run/results_val"]),
    "compare": ("tools.compare", ["run", "run2"]),
    "gallery": ("tools.gallery.__main__", ["run"]),
    "check": ("tools.check.__main__", ["--dataset", "camvid", "--dataset_path", "data"]),
}


def mutate(rng, content, is_json):
    """The bytes of a file with random damage; JSON also with a random value in place of one of its own."""
    kind = rng.integers(6)
    if is_json and kind < 4:
        return json.dumps(replace_one(rng, json.loads(content))).encode()
    damaged = bytearray(content)
    if kind == 4:
        return bytes(damaged[: rng.integers(len(damaged) + 1)])
    for _ in range(rng.integers(1, 6)):
        if damaged:
            damaged[rng.integers(len(damaged))] = rng.integers(256)
    return bytes(damaged)


def replace_one(rng, value):
    """JSON with one value, somewhere inside, replaced by one of another kind or removed."""
    others = [None, True, -1, 0, 1e999, 10**400, "", "x", [], {}, [[[]]], {"a": {}}, "\ud800", 5]
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = sorted(value)[rng.integers(len(value))]
        if rng.random() < 0.2:
            return {name: part for name, part in value.items() if name != key}
        return value | {key: replace_one(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.7:
        index = rng.integers(len(value))
        return [*value[:index], replace_one(rng, value[index]), *value[index + 1 :]]
    return others[rng.integers(len(others))]


@pytest.mark.parametrize("batch", range(NUM_FILES // BATCH))
def test_programs_that_read_damaged_files_get_through_or_say_so(batch, place, original):
    for case in range(BATCH):
        rng = np.random.default_rng([SEED, 2, batch, case])
        file = FILES[(batch * BATCH + case) % len(FILES)]
        content = (original / file).read_bytes() if (original / file).exists() else b'{"scores": {}}'
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        (place / file).write_bytes(mutate(rng, content, file.endswith(".json")))
        name, words = READERS[sorted(READERS)[rng.integers(len(READERS))]]
        answer(name, importlib.import_module(name).main, words)
        shutil.rmtree(place)
        shutil.copytree(original, place)
