"""Training: images a second of the real loop in several variants, what it waits for, and what it does with the time."""

import time
from itertools import islice
from statistics import median

import torch

from learning.device import pick_device
from tools.benchmark import flops, kernels
from tools.benchmark.limits import fits, peak_gib, reset_peak
from tools.benchmark.loading import mixing_ms, synchronize
from tools.benchmark.material import open_data
from tools.benchmark.measure import Goal, at_full_size, one_line, progress, table
from tools.benchmark.variants import VARIANTS, build, default_variants

_GIB = 2**30
_LIMIT = 11e9  # bytes of the small GPU that a batch of 8 shall fit on
_PROFILED_STEPS = 5


def run(settings, folder, deadline):
    """Measure, print tables, and return (figures, goals).

    Args:
        settings: options of the benchmark.
        folder: working folder.
        deadline: Deadline.
    """
    names, device = chosen(settings), pick_device(settings.device)
    data = open_data(settings, folder, settings.num_images, 4)
    memory = None
    if device.type == "cuda" and "blocks" in names:
        memory = fits(lambda: build("blocks", settings, folder, data), _LIMIT)
        print(memory["words"], end="\n\n", flush=True)
    tracks = measure_all(names, settings, folder, data, device, deadline)
    crop = settings.crop_size or data.spec.CROP_SIZE
    effort = flops.flops_an_image(settings.model, len(data.labels.classes), crop)
    peak = flops.peak_tflops(settings.peak_tflops, device)
    figures = {
        "device": str(device),
        "gflops_an_image": effort / 1e9,
        "peak_tflops": peak,
        "memory_limit": memory,
        "variants": {name: track.figures(effort, peak) for name, track in tracks.items()},
    }
    figures |= ratios(tracks)
    print()
    print_variants(figures, settings, device)
    alive = {name: track for name, track in tracks.items() if track.rounds and not track.error}
    ours = alive.get("ours")
    if ours:
        figures |= time_mixing(ours, data, settings)
    if device.type == "cuda":
        figures["kernels"] = {
            name: profile(alive[name], figures["variants"][name]) for name in ("ours", "compile") if name in alive
        }
    return figures, goals(figures, device, at_full_size(settings))


def chosen(settings):
    """list of str: the variants to measure, each once; the tutorial's is the second, so that time is left for it."""
    names = settings.variants or default_variants(settings.device)
    if settings.as_tutorial:
        names = [names[0], "tutorial", *names[1:]]
    return list(dict.fromkeys(names))


class Track:
    """A variant and what was measured of it.

    Args:
        batch_size: images a step.
    """

    def __init__(self, batch_size):
        self.batch_size, self.steps, self.error, self.peak, self.data_gib = batch_size, 0, None, None, 0.0
        self.variant, self.ready, self.step, self.rounds = None, None, 0.0, []

    def prepare(self, make):
        """Build the variant, warm it up, and measure its memory."""
        occupied = reset_peak()
        began = time.perf_counter()
        self.variant = make()
        self.steps, self.data_gib = self.variant.steps, self.variant.data_bytes / _GIB
        self.ready = self.variant.ready_batch()
        on_gpu = self.variant.device.type != "cpu"
        self._seconds(self.variant.loop, [self.ready] * (3 if on_gpu else 1))
        self.warm_up = time.perf_counter() - began
        reset_peak()
        self.step = self._seconds(self.variant.loop, [self.ready] * 2) / 2
        self.peak = peak_gib(self.variant.device, occupied)

    def shorten(self, seconds):
        """Take fewer steps of an epoch where a round would last longer than `seconds`."""
        if 3 * self.steps * self.step > seconds:
            self.steps = min(self.steps, max(2, int(seconds / 3 / self.step)))

    def measure(self):
        """One round: an epoch as it is, the same steps on a ready batch, and where there are any the bare steps."""
        waiting = Waiting(self.variant.batches(), self.steps)
        ready = [self.ready] * self.steps
        found = {"epoch": self._seconds(self.variant.loop, waiting), "ready": self._seconds(self.variant.loop, ready)}
        if self.variant.bare:
            found["bare"] = self._seconds(self.variant.bare, ready)
        self.rounds.append(found | {"next": waiting.seconds})

    def _seconds(self, work, batches):
        synchronize(self.variant.device)
        began = time.perf_counter()
        work(batches)
        synchronize(self.variant.device)
        return time.perf_counter() - began

    def drop(self, error):
        """Forget the variant, which failed."""
        self.error, self.variant, self.ready = one_line(error), None, None

    def figures(self, effort, peak):
        """dict of the medians over the rounds; only "error" where there was none.

        Args:
            effort: floating point operations an image.
            peak: TFLOP/s that are everything the device can do, or None.
        """
        if not self.rounds:
            return {"error": self.error or "no time left"}

        def middle(value):
            return median(map(value, self.rounds))

        speed = self.batch_size * self.steps / middle(lambda found: found["epoch"])
        figures = {
            "images_per_second": speed,
            "step_ms": 1000 * middle(lambda found: found["epoch"]) / self.steps,
            "ready_step_ms": 1000 * middle(lambda found: found["ready"]) / self.steps,
            "waiting_share": middle(lambda found: 1 - found["ready"] / found["epoch"]),
            "next_share": middle(lambda found: found["next"] / found["epoch"]),
            "peak_gib": self.peak,
            "data_gib": self.data_gib,
            "prepare_s": self.warm_up,
            "tflops": speed * effort / 1e12,
            "steps": self.steps,
            "rounds": len(self.rounds),
        }
        if "bare" in self.rounds[0]:
            figures["epoch_over_bare"] = middle(lambda found: found["epoch"] / found["bare"])
        return figures | ({"mfu": figures["tflops"] / peak} if peak else {})


class Waiting:
    """The first batches of an epoch; sums up the seconds that the host spends in asking for them.

    Args:
        batches: of the epoch.
        steps: how many of them.
    """

    def __init__(self, batches, steps):
        self.batches, self.steps, self.seconds = batches, steps, 0.0

    def __iter__(self):
        began = time.perf_counter()
        batches = islice(self.batches, self.steps)  # where a loader starts its workers
        while True:
            batch = next(batches, None)
            self.seconds += time.perf_counter() - began
            if batch is None:
                return
            yield batch
            began = time.perf_counter()


def measure_all(names, settings, folder, data, device, deadline):
    """Build every variant and measure one round of it, then further rounds of all in turn while there is time.

    Returns:
        dict of name -> Track
    """
    tracks = {name: Track(settings.batch_size) for name in names}
    for place, (name, track) in enumerate(tracks.items()):
        if deadline.passed and any(other.rounds for other in tracks.values()):
            track.error = "no time left"
            continue
        progress(f"{name}: {VARIANTS[name].words}")
        attempt(name, track, track.prepare, lambda name=name: build(name, settings, folder, data))
        attempt(name, track, track.shorten, deadline.left() / 2 / (len(tracks) - place))
        attempt(name, track, track.measure)
        if track.rounds:  # said at once: what comes later may take all the time there is
            speed = settings.batch_size * track.steps / track.rounds[0]["epoch"]
            print(f"{name}: {speed:.3g} images/s in the first round, {track.peak:.2f} GiB", flush=True)
    for turn in range(1, settings.repeats):
        for name, track in tracks.items():
            if not deadline.passed:
                progress(f"round {turn + 1} of {settings.repeats}: {name}")
                attempt(name, track, track.measure)
    return tracks


def attempt(name, track, work, *arguments):
    """Do a part of a variant's measurement; a failure is one line, and the others go on."""
    if track.error:
        return
    try:
        work(*arguments)
    except Exception as error:  # whatever a variant dies of, memory or a compiler, is a result of the measurement
        track.drop(error)
        print(f"{name} failed: {track.error}", flush=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def ratios(tracks):
    """dict of "NAME_over_tutorial": images/s of a variant over the tutorial's, median of the ratios of each round."""
    base = tracks.get("tutorial")
    if not base or not base.rounds:
        return {}
    return {
        f"{name}_over_tutorial": median(
            theirs["epoch"] / base.steps * track.steps / mine["epoch"]
            for theirs, mine in zip(base.rounds, track.rounds, strict=False)
        )
        for name, track in tracks.items()
        if track is not base and track.rounds
    }


def print_variants(figures, settings, device):
    """Print the table of the variants."""
    rows, notes = [], []
    for name, found in figures["variants"].items():
        if "error" in found:
            notes.append(f"{name}: left out, {found['error']}")
            continue
        percent = [100 * found[key] for key in ("waiting_share", "next_share")]
        mfu = 100 * found["mfu"] if "mfu" in found else None
        row = [name, found["images_per_second"], found["step_ms"], *percent, found.get("epoch_over_bare")]
        rows.append([*row, found["peak_gib"], found["tflops"], mfu, figures.get(f"{name}_over_tutorial")])
        words = VARIANTS[name].words + (
            f"; {found['data_gib']:.2f} GiB of the memory are the data" if found["data_gib"] else ""
        )
        notes.append(
            f"{name}: {words}; ready after {found['prepare_s']:.1f} s, {found['rounds']} rounds of {found['steps']} steps"
        )
    header = [
        "train",
        "images/s",
        "ms/step",
        "waiting %",
        "in next %",
        "x bare",
        "peak GiB",
        "TFLOP/s",
        "MFU %",
        "x tutorial",
    ]
    crop = "x".join(map(str, settings.crop_size or ["data set's"]))
    print(f"{settings.model}, crop {crop}, batch {settings.batch_size}, on {device}")
    print(table(header, rows))
    print("\n".join(notes))
    memory = "of this variant on the GPU" if device.type == "cuda" else "of the process so far, so only the first tells"
    print(
        "waiting: how much longer an epoch takes than the same steps on one ready batch; in next: the host's time in next();"
    )
    print(f"x bare: epoch over forward, loss, backward, step alone; peak: most memory {memory}", end="\n\n")


def time_mixing(track, data, settings):
    """Time the mixers on a ready batch; print and return them, in ms and as share of a step."""
    if settings.batch_size < 2:
        return {}
    figures = mixing_ms(*track.ready, data, 4 * settings.repeats)
    step = 1000 * median(found["epoch"] for found in track.rounds) / track.steps
    shares = {name.replace("_ms", "_share"): value / step for name, value in figures.items()}
    rows = [[name.removesuffix("_ms"), value, 100 * value / step] for name, value in figures.items()]
    print(table(["mixing a batch", "ms", "% of a step"], rows), end="\n\n")
    return figures | shares


def profile(track, found):
    """Print where the time of a step goes, and return it: dict of groups, of the longest kernels, and the idle time."""
    progress("profiling")
    try:
        groups, longest = kernels.step_groups(
            lambda: track.variant.loop([track.ready] * _PROFILED_STEPS), _PROFILED_STEPS
        )
    except Exception as error:
        print(f"profiling failed: {one_line(error)}")
        return {"error": one_line(error)}
    busy, step = sum(groups.values()), found["ready_step_ms"]
    groups = groups | {"no kernel running": max(0.0, step - busy)}
    rows = [[group, value, 100 * value / step] for group, value in groups.items()]
    print(table([f"a step of {found['ready_step_ms']:.1f} ms on a ready batch", "ms", "%"], rows), end="\n\n")
    print(table(["longest kernels", "ms"], [[name[:90], value] for name, value in longest]), end="\n\n")
    return {"groups_ms": groups, "longest_ms": dict(longest)}


def goals(figures, device, full_size):
    """list of Goal: those that the figures at hand can answer on this device; a GPU's are for the full size only."""
    found, result = figures["variants"], []

    def add(what, value, *goal):
        if value is not None:
            result.append(Goal(what, value, *goal))

    ours, compiled = found.get("ours", {}), found.get("compile", {})
    if device.type == "cpu":
        add("epoch over the bare steps", ours.get("epoch_over_bare"), "<=", 1.03)
    if device.type == "cuda" and full_size:
        add("training, ours over the tutorial's way", figures.get("ours_over_tutorial"), ">=", 4)
        add("share of the peak, eager", ours.get("mfu"), ">=", 0.3)
        add("share of the peak, compiled", compiled.get("mfu"), ">=", 0.4)
        add("share of the time waiting for data", ours.get("waiting_share"), "<", 0.02)
        add("memory with --checkpoint_blocks", found.get("blocks", {}).get("peak_gib"), "<=", _LIMIT / _GIB, "GiB")
        for name in ("cutmix", "classmix", "copyblob"):
            add(f"{name}, share of a step", figures.get(f"{name}_share"), "<", 0.02)
    return result
