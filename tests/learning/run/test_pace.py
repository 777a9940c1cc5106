"""How many steps a time budget is enough for."""

import pytest

from learning.run.time_budget import Pace
from learning.training.schedule import RunLength


def test_the_most_steps_that_end_in_time():
    """Epochs of 10 steps cost 10 * 1 + 2 + 5 s with their validation."""
    pace = Pace(step=1.0, epoch=2.0, validation=5.0)
    assert pace.seconds(RunLength(10, 20)) == 34
    assert pace.steps_within(34, 10, 1) == 20
    assert pace.steps_within(33.9, 10, 1) == 19
    assert pace.steps_within(41.9, 10, 1) == 20, "a step of a third epoch would need its validation, too"
    assert pace.steps_within(42, 10, 1) == 21
    assert pace.steps_within(42, 10, 2) == 26, (
        "one validation after two epochs, one after the third: 26 + 3 * 2 + 2 * 5"
    )
    assert pace.steps_within(7.9, 10, 1) == 0
    assert pace.steps_within(8, 10, 1) == 1
    assert pace.steps_within(-3, 10, 1) == 0


def test_saves_between_two_validations_count():
    """100 s of training and two validations: with a save every 20 s, three more than theirs."""
    assert Pace(1.0, 0.0, 5.0, saving=2.0, save_every=20.0).seconds(RunLength(10, 100, 5)) == 100 + 2 * 5 + 3 * 2
    assert Pace(1.0, 0.0, 5.0, saving=2.0, save_every=60.0).seconds(RunLength(10, 100, 5)) == 100 + 2 * 5


@pytest.mark.parametrize("seconds", [0.5, 8, 100, 1234.5])
def test_it_is_what_trying_every_number_finds(seconds):
    pace = Pace(0.7, 1.3, 2.9, 0.8, 13.0)
    fits = [total for total in range(1, 3000) if pace.seconds(RunLength(7, total, 3)) <= seconds]
    assert pace.steps_within(seconds, 7, 3) == max(fits, default=0)
