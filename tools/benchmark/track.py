"""Measures the training of variants, round by round."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch

from learning.data.datasets.base import Dataset
from tools.benchmark.measure import Deadline, JsonObject, one_line, progress
from tools.benchmark.memory import GIB, peak_gib, reset_peak
from tools.benchmark.mixing_time import synchronize
from tools.benchmark.settings import Workload
from tools.benchmark.variants import SPECS, Batch, Ours, Variant, build_variant


@dataclass(frozen=True)
class Round:
    """Seconds of one round.

    Args:
        epoch: of an epoch.
        ready: of the same steps on a batch that is ready on the device.
        bare: of the bare steps on that batch; None for the tutorial.
        next: of the host in next() during the epoch.
    """

    epoch: float
    ready: float
    bare: float | None
    next: float


class Prepared(NamedTuple):
    """A variant, and one of its batches on the device."""

    variant: Variant
    ready: Batch


class Track:
    """A variant and its measurements.

    Args:
        batch_size: images in a step.

    Attributes:
        steps: measured steps of an epoch.
        step_seconds: of a step on a ready batch, roughly.
        error: why the variant failed, or was skipped.
        peak: GiB; prepare_seconds: until the end of the warm-up.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.steps = 0
        self.step_seconds = 0.0
        self.error: str | None = None
        self.peak = 0.0
        self.data_gib = 0.0
        self.prepare_seconds = 0.0
        self.rounds: list[Round] = []
        self._prepared: Prepared | None = None

    @property
    def prepared(self) -> Prepared:
        """The variant, after `prepare` and before a failure."""
        assert self._prepared
        return self._prepared

    def prepare(self, make: Callable[[], Variant]) -> None:
        """Build the variant, warm it up, and measure its memory."""
        occupied = reset_peak()
        start = time.perf_counter()
        variant = make()
        self.steps = variant.steps
        self.data_gib = variant.data_bytes / GIB
        ready = variant.ready_batch()
        self._prepared = Prepared(variant, ready)
        on_gpu = variant.device.type != "cpu"
        self._seconds(variant.loop, [ready] * (3 if on_gpu else 1))
        self.prepare_seconds = time.perf_counter() - start
        reset_peak()
        self.step_seconds = self._seconds(variant.loop, [ready] * 2) / 2
        self.peak = peak_gib(variant.device, occupied)

    def shorten(self, seconds: float) -> None:
        """Reduce the measured steps if a round would take longer than `seconds`."""
        if 3 * self.steps * self.step_seconds > seconds:
            self.steps = min(self.steps, max(2, int(seconds / 3 / self.step_seconds)))

    def measure(self) -> None:
        """Measure one round: an epoch, the same steps on a ready batch, and the bare steps."""
        variant, ready = self.prepared
        batches = TimedBatches(variant.batches(), self.steps)
        ready_batches = [ready] * self.steps
        epoch = self._seconds(variant.loop, batches)
        ready_seconds = self._seconds(variant.loop, ready_batches)
        bare = self._seconds(variant.bare_loop, ready_batches) if isinstance(variant, Ours) else None
        self.rounds.append(Round(epoch, ready_seconds, bare, batches.seconds))

    def _seconds(self, loop: Callable[[Iterable[Batch]], None], batches: Iterable[Batch]) -> float:
        device = self.prepared.variant.device
        synchronize(device)
        start = time.perf_counter()
        loop(batches)
        synchronize(device)
        return time.perf_counter() - start

    def fail(self, error: Exception) -> None:
        """Note an error and release the variant."""
        self.error = one_line(error)
        self._prepared = None

    @property
    def images_per_second(self) -> float:
        """Median over the rounds."""
        return self.batch_size * self.steps / self._median(lambda found: found.epoch)

    def _median(self, value: Callable[[Round], float]) -> float:
        return median(map(value, self.rounds))

    def figures(self, flops: float, peak_tflops: float | None) -> JsonObject:
        """Medians over the rounds; only "error" without rounds.

        Args:
            flops: floating-point operations per image.
            peak_tflops: of the device, if known.
        """
        if not self.rounds:
            return {"error": self.error or "no time left"}
        figures: JsonObject = {
            "images_per_second": self.images_per_second,
            "step_ms": 1000 * self._median(lambda found: found.epoch) / self.steps,
            "ready_step_ms": 1000 * self._median(lambda found: found.ready) / self.steps,
            "waiting_share": self._median(lambda found: 1 - found.ready / found.epoch),
            "next_share": self._median(lambda found: found.next / found.epoch),
            "peak_gib": self.peak,
            "data_gib": self.data_gib,
            "prepare_s": self.prepare_seconds,
            "tflops": self.images_per_second * flops / 1e12,
            "steps": self.steps,
            "rounds": len(self.rounds),
        }
        over_bare = [found.epoch / found.bare for found in self.rounds if found.bare]
        if over_bare:
            figures["epoch_over_bare"] = median(over_bare)
        if peak_tflops:
            figures["mfu"] = figures["tflops"] / peak_tflops
        return figures


class TimedBatches:
    """The first batches of an epoch; sums up the seconds that the host spends in next()."""

    def __init__(self, batches: Iterable[Batch], steps: int) -> None:
        self.batches = batches
        self.steps = steps
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Batch]:
        start = time.perf_counter()
        batches = islice(self.batches, self.steps)  # starts the workers of a loader
        while True:
            batch = next(batches, None)
            self.seconds += time.perf_counter() - start
            if batch is None:
                return
            yield batch
            start = time.perf_counter()


def measure_all(
    names: Sequence[str], workload: Workload, folder: Path, data: Dataset, repeats: int, deadline: Deadline
) -> dict[str, Track]:
    """Build each variant and measure one round of it, then further rounds of all in turn until the deadline."""
    tracks = {name: Track(workload.batch_size) for name in names}
    for place, (name, track) in enumerate(tracks.items()):
        if deadline.passed and any(other.rounds for other in tracks.values()):
            track.error = "no time left"
            continue
        progress(f"{name}: {SPECS[name].description}")
        attempt(name, track, track.prepare, partial(build_variant, name, workload, folder, data))
        attempt(name, track, track.shorten, deadline.seconds_left() / 2 / (len(tracks) - place))
        attempt(name, track, track.measure)
        if track.rounds:  # printed at once, because later variants may exceed the time
            speed = workload.batch_size * track.steps / track.rounds[0].epoch
            print(f"{name}: {speed:.3g} images/s in the first round, {track.peak:.2f} GiB", flush=True)
    for turn in range(1, repeats):
        for name, track in tracks.items():
            if not deadline.passed:
                progress(f"round {turn + 1} of {repeats}: {name}")
                attempt(name, track, track.measure)
    return tracks


def attempt(name: str, track: Track, work: Callable[..., None], *arguments: object) -> None:
    """Do a step of a variant's measurement, unless it has failed; a failure is printed, and the others continue."""
    if track.error:
        return
    try:
        work(*arguments)
    except Exception as error:  # out of memory, or an error of the compiler: a result of the measurement
        track.fail(error)
        print(f"{name} failed: {track.error}", flush=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
