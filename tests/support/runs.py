"""Runs that are stopped and resumed, and their comparison."""

import os
import signal

from commands import run_baseline

from learning import checkpoint
from learning.run import progress


def same_end(one, other):
    """Whether two runs ended in the same weights, optimizer, log and best score, bit for bit."""
    states = [checkpoint.load(run / "checkpoint.pth.tar") for run in (one, other)]
    for key in ("model_state_dict", "optimizer_state_dict", "best_miou", "epoch", "step", "scaler_state_dict"):
        assert checkpoint.checksum({"it": states[0][key]}) == checkpoint.checksum({"it": states[1][key]}), key
    best = [checkpoint.load(run / "best_weights.pth.tar") for run in (one, other)]
    for key in ("model_state_dict", "miou", "epoch"):
        assert checkpoint.checksum({"it": best[0][key]}) == checkpoint.checksum({"it": best[1][key]}), key
    assert (one / "log_epoch.csv").read_text() == (other / "log_epoch.csv").read_text()
    return True


def resume(run, *words):
    return run_baseline("--save_path", run, "--resume", "--device", "cpu", *words)


class StopAt:
    """Asks a run to stop after a number of reports, which are steps and validation batches; never again after that."""

    def __init__(self, monkeypatch, reports, number=signal.SIGTERM):
        self.left, self.number = reports, number
        original = progress.make_report

        def make_report(show, save):
            report = original(show, save)

            def counted(images, metrics):
                self.left -= 1
                if self.left == 0:
                    os.kill(os.getpid(), self.number)
                report(images, metrics)

            return counted

        monkeypatch.setattr(progress, "make_report", make_report)
