"""Which trick earned what: run variants of a base with several seeds, and tabulate their differences.

    python -m tools.ablate --base @recipes/X.txt --vary "--ema 0.99" "--loss ce+dice" --seeds 3 --save_path ablation

Every run is a folder, SAVE_PATH/VARIANT/seed_K; a seed decides the same weights, order and crops for all variants. Run again, the
program goes on where it stopped, and adds variants and seeds that are new.
"""

import csv
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import options
from helpers.errors import InputError, exit_status
from helpers.parsing import Parser
from helpers.progress import duration
from helpers.run_folder import write_text

ROOT = Path(__file__).resolve().parent.parent
_OWN = ("--base", "--vary", "--seeds", "--jobs", "--save_path", "--help", "-h")
_REFUSED = ("save_path", "seed", "resume", "predict", "dry_run", "replay", "weights")
_SCORED = ("dataset", "dataset_path", "holdout", "train_on")  # what decides which images are trained on and scored
# Student's t, the 97.5 % point for 1 .. 30 degrees of freedom; more are taken as 30.
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


def main(argv=None):
    """Run what has not been run yet, and write ablation.md, ablation.json and ablation.png after every run.

    Returns:
        int: 1 where a run failed.

    Raises:
        InputError: wrong options, or a folder that holds something else.
    """
    args = parse(argv)
    folder, variants = Path(args.save_path), named(args.base, args.vary)
    before = read_marker(folder, shlex.join(variants["base"]))
    variants = {"base": variants["base"]} | {name: shlex.split(of["words"]) for name, of in before.items()} | variants
    meant = {}
    for name, words in variants.items():
        meant[name] = check(name, words, meant.get("base"))
        refuse_other_meaning(folder, name, meant[name], before.get(name, {}).get("options", {}))
    check_data(folder, variants)
    folder.mkdir(parents=True, exist_ok=True)
    report(folder, variants, meant, {})
    # All variants of a seed, then the next seed: the table says something soon.
    runs = [(name, seed) for seed in range(args.seeds) for name in variants]
    results, failed, began = {}, [], time.monotonic()
    with ThreadPoolExecutor(args.jobs) as pool, interruptible() as processes:
        jobs = (pool.submit(run, folder, name, variants[name], seed, args.jobs, processes) for name, seed in runs)
        for number, ((name, seed), job) in enumerate(zip(runs, list(jobs), strict=True), 1):
            result = job.result()
            failed += [] if result else [name]
            score = f"mIoU {result['miou']:.4f}" if result else f"failed: see {log_of(folder, name, seed)}"
            clock = duration(time.monotonic() - began)
            print(f"[{number}/{len(runs)}] {name}, seed {seed}: {score} ({clock} so far)", flush=True)
            results.setdefault(name, {})[seed] = result
            report(folder, variants, meant, results)
    print(f"\n{(folder / 'ablation.md').read_text()}\nwritten to {folder / 'ablation.md'}, .json and .png")
    return 1 if failed else 0


def parse(argv):
    """Options of the command line; the words after --base and --vary are those of baseline.py.

    Raises:
        InputError: options that are missing or make no sense.
    """
    parser = Parser(prog="tools.ablate", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--base", nargs="+", required=True, metavar="WORD", help="options of baseline.py, such as @recipes/NAME.txt")
    add("--vary", nargs="+", default=[], metavar="WORDS", help="each, in quotation marks, is added to the base")
    add(
        "--seeds",
        type=int,
        default=3,
        metavar="N",
        help="runs of each, with the seeds 0 .. N - 1 (default: %(default)s)",
    )
    add("--jobs", type=int, default=1, metavar="N", help="runs at a time, which share the cores (default: %(default)s)")
    add("--save_path", default="./ablation", metavar="FOLDER", help="where runs and table go (default: %(default)s)")
    words = sys.argv[1:] if argv is None else argv
    # What is not this program's option is a value: the space keeps argparse from taking it for an option or a file.
    args = parser.parse_args([word if word.split("=")[0] in _OWN else f" {word}" for word in words])
    args.base = " ".join(map(str.strip, args.base)) if len(args.base) == 1 else shlex.join(map(str.strip, args.base))
    args.vary, args.save_path = [words.strip() for words in args.vary], args.save_path.strip()
    if min(args.seeds, args.jobs) < 1:
        raise InputError(f"--seeds {args.seeds} --jobs {args.jobs}: expected at least 1 of each")
    return args


def named(base, vary):
    """dict: name of a variant, which is also that of its folder -> list of all its words; "base" comes first.

    Raises:
        InputError: two variants that are the same, or words that cannot be read.
    """
    try:
        variants = {"base": shlex.split(base)}
        for words in vary:
            name = re.sub(r"[^\w.+-]+", "_", words).strip("_-")
            if not name or name in variants:
                raise InputError(f"--vary {words!r}: there is a variant {name or '(without words)'} already")
            variants[name] = variants["base"] + shlex.split(words)
    except ValueError as error:  # also an InputError
        raise InputError(str(error)) from None
    return variants


def check(name, words, base):
    """Refuse words that baseline.py would refuse, that this program sets, or that change what is scored.

    Args:
        base: dict of the base's options; None for the base itself.

    Returns:
        dict: the options that the words mean, those of an option file included.

    Raises:
        InputError: names the variant.
    """
    try:
        args, typed = options.parse(words)
    except InputError as error:
        raise InputError(f"variant {name}: {error}") from None
    if own := typed & set(_REFUSED):
        raise InputError(f"variant {name}: leave out --{min(own)}, which is set for every run")
    meant = vars(args)
    if args.overfit or (args.train_on == "trainval" and not args.holdout):
        raise InputError(f"variant {name} is scored on images that it trains on; hold some out with --holdout")
    for option in _SCORED if base else ():
        if meant[option] != base[option]:
            raise InputError(f"variant {name}: --{option} changes what is scored; make it part of the base")
    return meant


def check_data(folder, variants):
    """Check the data and files that the runs will need, before the first has been paid for.

    Raises:
        InputError: names the variant, and what baseline.py would say.
    """
    from learning.run.setup import setup_run

    for name, words in variants.items():
        try:
            setup_run([*words, "--save_path", str(folder / name / "seed_0"), "--resume"])
        except InputError as error:
            raise InputError(f"variant {name}: {error}") from None


def read_marker(folder, base):
    """What a folder of this program says of its variants.

    Args:
        base: str, the words of the base.

    Returns:
        dict of name -> dict with "words" and "options"; empty where the folder is new.

    Raises:
        InputError: the folder holds something else, or the variants of another base.
    """
    marker = folder / "ablation.json"
    if not marker.is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} is no folder of tools.ablate; name a new one with --save_path")
        return {}
    try:
        stored = json.loads(marker.read_text())
        variants = {name: {key: of[key] for key in ("words", "options")} for name, of in stored["variants"].items()}
        typed = stored["base"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{marker} is damaged: restore it, or name another --save_path") from None
    if typed != base:
        raise InputError(f"{folder} holds the variants of another base ({typed}); name another --save_path")
    return variants


def refuse_other_meaning(folder, name, meant, before):
    """Refuse words that mean something else than when they ran, as those of an option file that was changed.

    Args:
        meant, before: dicts of options; those that both have are compared.

    Raises:
        InputError: names the variant and the first option.
    """
    for option in sorted(meant.keys() & before.keys()):
        if meant[option] != before[option]:
            raise InputError(
                f"{folder} holds variant {name} with --{option} {before[option]}, which is {meant[option]} now; "
                "name another --save_path"
            )


@contextmanager
def interruptible():
    """Collect the processes under way; Ctrl-C and SIGTERM end them, after they have saved, before this program ends.

    Yields:
        list to which processes are appended.
    """
    processes, is_main = [], threading.current_thread() is threading.main_thread()

    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop) if is_main else None
    try:
        yield processes
    except KeyboardInterrupt:
        processes.append(None)  # none is started any more
        for process in filter(None, processes):
            process.terminate()
        raise
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)


def log_of(folder, name, seed):
    """Path: what a run printed."""
    return folder / name / f"seed_{seed}.log"


def run(folder, name, words, seed, jobs, processes):
    """Train, predict and score one run, or what is left of it.

    Returns:
        dict: "miou", "last_miou" (of the last epoch's single-scale validation), "seconds" (training and validation) and
        "epochs"; None where a program failed.
    """
    path = folder / name / f"seed_{seed}"
    path.parent.mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    if jobs > 1:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        environment = {"OMP_NUM_THREADS": str(max(1, cores // jobs)), "OMP_WAIT_POLICY": "passive"} | environment
    programs = (
        ["baseline.py", *words, "--seed", seed, "--save_path", path, "--resume"],
        ["evaluate.py", "--results", path / "results_val"],
    )
    if not (path / "results.json").exists():
        with open(log_of(folder, name, seed), "a") as log:
            for program, *rest in programs:
                if None in processes:
                    return None
                line = [sys.executable, ROOT / program, *rest]
                process = subprocess.Popen(list(map(str, line)), stdout=log, stderr=log, env=environment)
                processes.append(process)
                if process.wait():
                    return None
    with open(path / "log_epoch.csv") as epochs, open(path / "log_time.csv") as times:
        mious = [float(row["miou"]) for row in csv.DictReader(epochs) if row["miou"]]
        seconds = [float(row["seconds"]) for row in csv.DictReader(times)]
    miou = json.loads((path / "results.json").read_text())["scores"]["mean_class_iou"]
    return {"miou": miou, "last_miou": mious[-1], "seconds": sum(seconds), "epochs": len(seconds)}


def difference(base, other):
    """Mean of paired differences, and half its 95 % interval.

    Args:
        base, other: dicts of seed -> score; seeds that both have are compared.

    Returns:
        (float, float): nan where there is nothing to compare; the interval, by Student's t, needs two seeds.
    """
    seeds = sorted(base.keys() & other.keys())
    if not seeds:
        return math.nan, math.nan
    differences = np.array([other[seed] - base[seed] for seed in seeds])
    if len(seeds) < 2:
        return float(differences[0]), math.nan
    return float(differences.mean()), float(
        _T[min(len(seeds), len(_T) + 1) - 2] * differences.std(ddof=1) / math.sqrt(len(seeds))
    )


def verdict(gain, half):
    """str: what a difference says, in a word; nothing without an interval."""
    if math.isnan(half):
        return ""
    return "could be chance" if abs(gain) <= half else "better" if gain > 0 else "worse"


def report(folder, variants, meant, results):
    """Write the table, the numbers and the picture of what has been run so far.

    Args:
        variants: dict of name -> words.
        meant: dict of name -> dict of options.
        results: dict of name -> dict of seed -> what `run` returned.
    """
    from helpers.plots import differences as draw

    done = {name: {seed: result for seed, result in results.get(name, {}).items() if result} for name in variants}
    scores = {name: {seed: result["miou"] for seed, result in of.items()} for name, of in done.items()}
    seconds = {name: float(np.mean([result["seconds"] for result in of.values()])) for name, of in done.items() if of}
    rows, numbers, drawn = [], {}, {}
    for name, of in scores.items():
        values = np.array(list(of.values())) * 100
        gain, half = (100 * number for number in difference(scores.get("base", {}), of))
        found = {"difference": gain, "interval": half}
        found = {key: None if math.isnan(number) else number for key, number in found.items()}
        numbers[name] = {"words": shlex.join(variants[name]), "options": meant[name], "runs": done[name], **found}
        if not len(values):
            rows.append(f"| {name} | 0 | {'failed' if name in results else 'not run yet'} | | | | |")
            continue
        spread = f"{values.std(ddof=1):.2f}" if len(values) > 1 else ""
        cost = f"{seconds[name] / seconds['base']:.2f}" if seconds.get("base") else ""
        cells = [name, len(values), f"{values.mean():.2f}", spread, "", cost, ""]
        if name != "base" and not math.isnan(gain):
            cells[4] = f"{gain:+.2f}" + ("" if math.isnan(half) else f" [{gain - half:+.2f}, {gain + half:+.2f}]")
            cells[6] = verdict(gain, half)
            pairs = scores["base"].keys() & of.keys()
            drawn[name] = (gain, half, [100 * (of[seed] - scores["base"][seed]) for seed in sorted(pairs)])
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    head = (
        "| variant | runs | mIoU % | spread | difference to the base [95 %] | time | |\n|---|---|---|---|---|---|---|\n"
    )
    base = shlex.join(variants["base"])
    note = (
        "mIoU is of the predictions of the best validation epoch; the spread is the standard deviation over seeds; the "
        "interval is Student's t over differences paired by seed; time is that of training and validation against the base's."
    )
    write_text(folder / "ablation.md", f"Base: `{base}`\n\n{head}" + "\n".join(rows) + f"\n\n{note}\n")
    write_text(folder / "ablation.json", json.dumps({"base": base, "variants": numbers}, indent=1, allow_nan=False))
    if drawn:
        draw(drawn, folder / "ablation.png")


if __name__ == "__main__":
    sys.exit(exit_status("tools.ablate", main, None))
