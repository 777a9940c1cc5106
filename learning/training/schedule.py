"""How long a run is in steps, epochs and validations, and the learning rate of each step."""

from dataclasses import dataclass

from learning.training.optim import scheduled_rate


@dataclass(frozen=True)
class RunLength:
    """The steps of a run; the last epoch may be cut.

    Args:
        steps_per_epoch: of a whole epoch, at least 1.
        total_steps: of the run, at least 1.
        validate_every: epochs from one validation to the next; the last epoch is always validated.
    """

    steps_per_epoch: int
    total_steps: int
    validate_every: int = 1

    @property
    def epochs(self) -> int:
        """Number of epochs, including a cut one."""
        return -(-self.total_steps // self.steps_per_epoch)

    @property
    def validations(self) -> int:
        """Number of validations."""
        return -(-self.epochs // self.validate_every)

    def steps_of(self, epoch: int) -> int:
        """Number of steps of an epoch."""
        return min(self.steps_per_epoch, self.total_steps - epoch * self.steps_per_epoch)

    def validates(self, epoch: int) -> bool:
        """Whether an epoch ends with a validation."""
        return (epoch + 1) % self.validate_every == 0 or epoch + 1 == self.epochs


@dataclass(frozen=True)
class LearningRate:
    """The learning rate of every step of a run: linear warm-up, then down to 0.

    Args:
        initial: rate at the end of the warm-up.
        schedule: a key of `learning.training.optim.SCHEDULES`.
        warmup_epochs: length of the warm-up.
        length: of the run.
    """

    initial: float
    schedule: str
    warmup_epochs: int
    length: RunLength

    def __call__(self, epoch: int, step: int) -> float:
        """The rate of a step of an epoch."""
        per_epoch = self.length.steps_per_epoch
        total_steps = self.length.total_steps
        return scheduled_rate(
            epoch * per_epoch + step, total_steps, self.initial, self.warmup_epochs * per_epoch, self.schedule
        )
