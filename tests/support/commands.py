"""Runs the programs in-process, as a command line would."""

import json
import shutil
from types import SimpleNamespace

import baseline
import evaluate
from helpers.errors import exit_status
from learning.run.command_line import parse

SMALL = ["--model", "UNet", "--train_size", "64", "--crop_size", "64", "--test_size", "64", "--batch_size", "2"]
SMALL += ["--num_workers", "0", "--device", "cpu"]


def small_run(folder, dataset, *words, name="camvid"):
    """list of str: the words of a small training run."""
    where = ["--save_path", folder, "--dataset", name, "--dataset_path", dataset]
    return list(map(str, [*where, *SMALL, *words]))


def train(folder, dataset, *words, name="camvid"):
    """Exit status of a small training run of baseline.py."""
    return exit_status("baseline.py", baseline.main, small_run(folder, dataset, *words, name=name))


def run_baseline(*words):
    """Exit status of baseline.py, without loader processes unless they are asked for: each would copy this one."""
    return exit_status("baseline.py", baseline.main, ["--num_workers", "0", *map(str, words)])


def stored_options(run):
    """dict: what a run folder says of its options."""
    return json.loads((run / "options.json").read_text())["options"]


def run_evaluate(*words):
    """Exit status of evaluate.py."""
    return exit_status("evaluate.py", evaluate.main, list(map(str, words)))


def copied_run(run, folder, **changed):
    """Folder of a copy of a run whose options.json says something else."""
    shutil.copytree(run, folder)
    about = json.loads((folder / "options.json").read_text())
    about["options"] |= changed
    (folder / "options.json").write_text(json.dumps(about))
    return folder


def snapshot(folder):
    """dict: relative path of every file below a folder -> its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def parse_values(words, stored=None):
    """(namespace of all options, names of those that were typed): what a command line means."""
    found, typed = parse(words, stored)
    return SimpleNamespace(**found.values()), typed
