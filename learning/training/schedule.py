"""How long a run trains: steps, epochs, validations, and how many of them a span of time takes. No torch."""

import bisect
import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """The steps of a run; the last epoch ends where they do.

    Args:
        steps_per_epoch: of a whole epoch, at least 1.
        total_steps: of the run, at least 1.
        validate_every: epochs from one validation to the next; the last epoch always has one.
    """

    steps_per_epoch: int
    total_steps: int
    validate_every: int = 1

    @property
    def epochs(self):
        """int: number of epochs, a cut one counts."""
        return -(-self.total_steps // self.steps_per_epoch)

    @property
    def validations(self):
        """int: number of validations."""
        return -(-self.epochs // self.validate_every)

    def steps_of(self, epoch):
        """int: number of steps of an epoch."""
        return min(self.steps_per_epoch, self.total_steps - epoch * self.steps_per_epoch)

    def validates(self, epoch):
        """Whether an epoch ends with a validation."""
        return (epoch + 1) % self.validate_every == 0 or epoch + 1 == self.epochs


@dataclass(frozen=True)
class Pace:
    """Seconds that the parts of a run take.

    Args:
        step: one step, with the loading and mixing of its batch.
        epoch: what every epoch adds: its first batch.
        validation: what a validation adds: the whole split, logs and pictures, checkpoint and best weights.
        saving: what a further checkpoint takes, at most as much as a validation.
        save_every: from one save to the next, where validations are farther apart.
    """

    step: float
    epoch: float
    validation: float
    saving: float = 0.0
    save_every: float = math.inf

    def seconds(self, plan):
        """float: what a plan takes."""
        training = plan.total_steps * self.step + plan.epochs * self.epoch
        further_saves = max(0.0, training / self.save_every - plan.validations)
        return training + plan.validations * self.validation + further_saves * self.saving

    def steps_within(self, seconds, steps_per_epoch, validate_every):
        """int: the most steps that end within a span of time, 0 where not even one does."""
        most = int(seconds / self.step) if seconds > 0 else 0
        return bisect.bisect_right(
            range(1, most + 1), seconds, key=lambda total: self.seconds(Plan(steps_per_epoch, total, validate_every))
        )
