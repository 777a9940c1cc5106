"""How long a run is: steps, epochs, validations."""

import pytest

from learning.training.schedule import RunLength


def test_whole_epochs():
    length = RunLength(steps_per_epoch=4, total_steps=12)
    assert (length.epochs, length.validations) == (3, 3)
    assert [length.steps_of(epoch) for epoch in range(3)] == [4, 4, 4]
    assert all(length.validates(epoch) for epoch in range(3))


def test_the_last_epoch_may_be_cut():
    length = RunLength(steps_per_epoch=4, total_steps=9, validate_every=2)
    assert (length.epochs, length.validations) == (3, 2)
    assert [length.steps_of(epoch) for epoch in range(3)] == [4, 4, 1]
    assert [length.validates(epoch) for epoch in range(3)] == [False, True, True]
    assert RunLength(4, 1).steps_of(0) == 1


@pytest.mark.parametrize(("epochs", "every"), [(1, 1), (1, 5), (6, 3), (7, 3), (8, 3), (9, 3)])
def test_validations_are_counted_as_they_happen(epochs, every):
    length = RunLength(2, 2 * epochs, every)
    assert length.validations == sum(length.validates(epoch) for epoch in range(epochs))
    assert length.validates(epochs - 1)
