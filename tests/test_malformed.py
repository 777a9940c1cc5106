"""Damaged files: whatever is in them, a program goes on or says in one line what is wrong; other exceptions are faults."""

import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from commands import run_baseline, run_evaluate, train
from damage import CYCLE, DEEP, VALUES, damaged_bytes, damaged_json, damaged_values, odd_tensors
from tiny import make_camvid

from helpers.errors import InputError, exit_status
from helpers.probabilities import read_probabilities, write_probabilities
from helpers.run_folder import RunFolder, read_options_file
from learning import checkpoint
from learning.data.class_weights import resolve_option
from learning.data.datasets.extra import read_provenance, read_sources
from learning.data.predictions import open_run_dataset
from learning.inference import inputs
from learning.inference.predictor import load_run
from learning.models.unet import UNet
from learning.run import command_line
from tools import average, compare, runs
from tools.ablate.results import read_result
from tools.gallery import __main__ as gallery
from tools.pseudo_label.__main__ import next_round
from tools.run_reader import read_counts, read_history


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(run folder with results.json, data folder) of a finished run."""
    folder = tmp_path_factory.mktemp("trained")
    data = make_camvid(folder / "data")
    assert train(folder / "run", data, "--epochs", 1, "--seed", 1, "--ema", 0.9) == 0
    assert run_evaluate("--results", folder / "run" / "results_val") == 0
    return folder / "run", data


def refuses_or_works(read, *arguments):
    """Call a reader; True if it refused in one short line."""
    message = ""
    try:
        read(*arguments)
    except InputError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 2000
    return bool(message)


def parse_stored(folder):
    about = read_options_file(folder / "options.json")
    command_line.parse(["--resume"], about["options"])


def source_of(folder):
    source = runs.open_source(str(folder))
    runs.open_training_data(source)
    average.division([source])
    next_round([source])


def read_everything(folder):
    """Every reader of a file that is not a checkpoint, on a run folder."""
    (folder / "results_val").mkdir(exist_ok=True)
    (folder / "results_val").rmdir()  # so that the counts come from results.json
    for read, argument in (
        (parse_stored, folder),
        (source_of, folder),
        (lambda path: open_run_dataset(None, None, path), folder),
        (lambda path: read_counts(RunFolder(path), "val", None), folder),
        (read_result, folder),
        (lambda path: read_history(RunFolder(path)), folder),
        (read_provenance, folder),
        (read_sources, folder),
        (inputs.RECORD.files, folder),
        (lambda path: resolve_option(str(path / "weights.txt")), folder),
        (lambda path: read_probabilities(path / "scores.npy"), folder),
    ):
        yield refuses_or_works(read, argument)


@pytest.fixture
def files(trained, tmp_path):
    """A folder with one of each file that programs read again."""
    for name in ("options.json", "results.json", "log_epoch.csv", "log_time.csv", "best_weights.pth.tar"):
        shutil.copy(trained[0] / name, tmp_path)
    made = {"made by": "x", "files": ["a.png"]}
    (tmp_path / "pseudo_labels.json").write_text(json.dumps(made | {"round": 1, "dataset": "camvid"}))
    (tmp_path / "copypaste.json").write_text(json.dumps(made | {"sources": ["a"]}))
    (tmp_path / "predictions.json").write_text(json.dumps({"made by": inputs.RECORD.program, "files": {"a.png": "b"}}))
    (tmp_path / "weights.txt").write_text("[" + ", ".join(map(str, range(1, 12))) + "]")
    write_probabilities(tmp_path / "scores.npy", np.full((3, 4, 5), 1 / 3), "uint8")
    return tmp_path


def test_undamaged_files_are_read(files):
    assert not any(read_everything(files))


@pytest.mark.parametrize(
    "name",
    [
        *("options.json", "results.json", "pseudo_labels.json", "copypaste.json", "predictions.json"),
        *("log_epoch.csv", "log_time.csv", "scores.npy", "weights.txt"),
    ],
)
def test_a_damaged_file_is_read_or_refused_in_one_line(files, name):
    rng = np.random.default_rng(20)
    original = (files / name).read_bytes()
    num_refused = 0
    for _ in range(40):
        is_json = name.endswith(".json")
        (files / name).write_bytes(damaged_json(rng, original.decode()) if is_json else damaged_bytes(rng, original))
        num_refused += any(read_everything(files))
    assert num_refused > 3 or name == "predictions.json"  # which only marks files as the program's own


@pytest.mark.parametrize("header", ["epoch,loss", "miou", "epoch,miou,miou", "", "epoch;miou", "épöch,miou", "\x00"])
def test_a_log_with_a_damaged_header(files, header):
    lines = (files / "log_epoch.csv").read_text().splitlines()
    (files / "log_epoch.csv").write_text("\n".join([header, *lines[1:]]))
    with pytest.raises(InputError, match=r"log_epoch\.csv"):
        read_history(RunFolder(files))


def crafted(good, rng, number):
    """Checkpoints with one wrong entry each: every entry once, by the values in turn, then at random."""
    values = (*VALUES, *odd_tensors(), CYCLE, DEEP, {"a": CYCLE})
    good = {name: value for name, value in good.items() if name != "checksum"}  # which would hide all other checks
    for index, name in enumerate(good):
        yield good | {name: values[(7 * index) % len(values)]}
    weights = good["model_state_dict"]
    for value in odd_tensors()[1:6]:
        yield good | {"model_state_dict": weights | {next(iter(weights)): value}}
    for _ in range(number):
        yield damaged_values(rng, good, values)


def uses(run):
    """What programs do with a checkpoint, by name."""
    last = run / "checkpoint.pth.tar"
    best = run / "best_weights.pth.tar"
    return {
        "resume": (last, lambda: run_baseline("--save_path", run, "--resume", "--epochs", 1, "--device", "cpu")),
        "predict": (
            best,
            lambda: run_baseline("--save_path", run, "--predict", "--split", "val", "--device", "cpu"),
        ),
        "pretrained": (
            best,
            lambda: exit_status("x", lambda _: checkpoint.load_pretrained(UNet(11), best) and None, None),
        ),
        "load_run": (best, lambda: exit_status("x", lambda _: load_run(run) and None, None)),
    }


def try_checkpoints(trained, tmp_path, capsys, use, number):
    run = tmp_path / "run"
    shutil.copytree(trained[0], run)
    path, action = uses(run)[use]
    good = checkpoint.load(path)
    statuses = []
    for state in itertools.chain(crafted(good, np.random.default_rng(22), number)):
        shutil.copy(trained[0] / "options.json", run)
        (run / "checkpoint_previous.pth.tar").unlink(missing_ok=True)
        torch.save(state, path)
        capsys.readouterr()
        statuses.append(action())
        lines = capsys.readouterr().err.splitlines()
        assert statuses[-1] in (0, 2)
        assert sum("error: " in line for line in lines) == (statuses[-1] == 2)
        assert statuses[-1] == 0 or "error: " in lines[-1]
    assert 2 in statuses


def test_crafted_checkpoints_are_loaded_or_refused_in_one_line(trained, tmp_path, capsys):
    try_checkpoints(trained, tmp_path, capsys, "load_run", 60)


@pytest.mark.slow
@pytest.mark.parametrize("use", ["resume", "predict", "pretrained"])
def test_crafted_checkpoints_never_break_a_program(trained, tmp_path, capsys, use):
    try_checkpoints(trained, tmp_path, capsys, use, 60)


def test_flipped_and_truncated_checkpoints_are_refused_in_one_line(trained, tmp_path):
    rng = np.random.default_rng(23)
    content = (trained[0] / "checkpoint.pth.tar").read_bytes()
    for _ in range(40):
        (tmp_path / "a.pth").write_bytes(damaged_bytes(rng, content))
        refuses_or_works(checkpoint.load, tmp_path / "a.pth")


@pytest.mark.slow
def test_damaged_options_never_break_a_program(trained, tmp_path, capsys):
    rng = np.random.default_rng(24)
    run = tmp_path / "run"
    shutil.copytree(trained[0], run)
    original = (run / "options.json").read_text()
    actions = (
        lambda: run_baseline("--save_path", run, "--predict", "--split", "val", "--device", "cpu"),
        lambda: run_evaluate("--results", run / "results_val"),
        lambda: exit_status("compare", compare.main, [str(run), str(trained[0])]),
        lambda: exit_status("gallery", gallery.main, [str(run), "--output", str(tmp_path / "page")]),
    )
    for action in itertools.islice(itertools.cycle(actions), 60):
        (run / "options.json").write_bytes(damaged_json(rng, original))
        capsys.readouterr()
        assert action() in (0, 2)
        assert sum("error: " in line for line in capsys.readouterr().err.splitlines()) <= 1
