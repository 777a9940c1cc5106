"""Bootstrap intervals: against a slow loop, by hand, and their coverage."""

import numpy as np
import pytest

from helpers.errors import InputError
from helpers.scoring import bootstrap, scores


def counts(seed, num_images=12, num_classes=4):
    """(tp, fp, fn) of a run on random images; the last class occurs in one image only."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(1, 50, (3, num_images, num_classes))
    drawn[:, 1:, -1] = 0
    return tuple(drawn)


def loop(runs, num_resamples, seed, blocks=None):
    """Scores of every resample, image by image: (R, runs) means and (R, runs, C) class IoU."""
    means, classes = [], []
    for times in np.concatenate(list(bootstrap.draws(len(runs[0][0]), num_resamples, seed, blocks))):
        chosen = [image for image, number in enumerate(times) for _ in range(number)]
        ious = []
        for parts in runs:
            tp, fp, fn = (sum(part[image] for image in chosen) for part in parts)
            with np.errstate(invalid="ignore"):
                ious.append(tp / (tp + fp + fn))
        classes.append(ious)
        means.append([np.mean([value for value in iou if value == value]) for iou in ious])
    return np.array(means), np.array(classes)


@pytest.mark.parametrize("blocks", [None, [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4]], ids=["images", "blocks"])
def test_interval_equals_a_slow_loop(blocks):
    means, classes = loop([counts(1)], 200, seed=5, blocks=blocks)
    mean, by_class = bootstrap.interval(counts(1), num_resamples=200, seed=5, blocks=blocks)
    np.testing.assert_allclose(mean[1:], np.quantile(means[:, 0], [0.025, 0.975]), rtol=1e-12)
    np.testing.assert_allclose(by_class[1:], np.nanquantile(classes[:, 0], [0.025, 0.975], axis=0), rtol=1e-12)
    assert np.isnan(classes[:, 0, -1]).any()  # the rare class is absent from some resamples
    tp, fp, fn = (part.sum(0) for part in counts(1))
    np.testing.assert_array_equal(by_class.value, tp / (tp + fp + fn))
    assert mean.value == scores.mean(by_class.value)


def test_paired_difference_equals_a_slow_loop():
    means, classes = loop([counts(1), counts(2)], 200, seed=3)
    mean, by_class = bootstrap.paired_difference(counts(1), counts(2), num_resamples=200, seed=3)
    np.testing.assert_allclose(mean[1:], np.quantile(means[:, 1] - means[:, 0], [0.025, 0.975]), rtol=1e-12)
    differences = classes[:, 1] - classes[:, 0]
    np.testing.assert_allclose(by_class[1:], np.nanquantile(differences, [0.025, 0.975], axis=0), rtol=1e-12)
    alone = [bootstrap.interval(counts(seed))[0].value for seed in (1, 2)]
    assert mean.value == pytest.approx(alone[1] - alone[0], rel=1e-12)


def test_by_hand():
    """Two images, IoU 0 and 1 of one class: a resample scores 0, 1/2 or 1 with probabilities 1/4, 1/2, 1/4."""
    tp, none = np.array([[0], [10]]), np.array([[0], [0]])
    fn = np.array([[10], [0]])
    mean, classes = bootstrap.interval((tp, none, fn), num_resamples=4000)
    assert mean == (0.5, 0.0, 1.0)
    assert [part.tolist() for part in classes] == [[0.5], [0.0], [1.0]]
    assert bootstrap.interval((tp, none, fn), num_resamples=4000, level=0.4)[0][1:] == (0.5, 0.5)


def test_a_run_does_not_differ_from_itself():
    mean, classes = bootstrap.paired_difference(counts(1), counts(1))
    assert mean == (0, 0, 0)
    assert not np.any(classes)


def test_a_class_without_pixels_has_no_interval_and_does_not_count():
    tp, fp, fn = counts(1)
    wider = [np.pad(part, ((0, 0), (0, 1))) for part in (tp, fp, fn)]
    mean, classes = bootstrap.interval(wider)
    assert mean == bootstrap.interval((tp, fp, fn))[0]
    assert np.isnan([part[-1] for part in classes]).all()


def test_intervals_depend_on_the_seed_but_not_on_the_chunk_size(monkeypatch):
    first = bootstrap.interval(counts(1), seed=1)[0]
    monkeypatch.setattr(bootstrap, "_DRAWS_AT_ONCE", 1000)  # many small chunks instead of one
    assert bootstrap.interval(counts(1), seed=1)[0] == first
    assert bootstrap.interval(counts(1), seed=2)[0] != first


def test_blocks_are_resampled_as_a_whole():
    blocks = np.array([7, 7, 9, 9, 9])
    times = np.concatenate(list(bootstrap.draws(5, 50, 0, blocks)))
    assert (times[:, 0] == times[:, 1]).all()
    assert (times[:, 2:] == times[:, 2:3]).all()
    assert set(map(tuple, times[:, [0, 2]].tolist())) == {(2, 0), (1, 1), (0, 2)}


@pytest.mark.parametrize(("blocks", "message"), [(None, "2 images to draw from, got 1"), ([3], "2 recordings")])
def test_one_image_has_no_interval(blocks, message):
    with pytest.raises(InputError, match=message):
        bootstrap.interval(([[1]], [[1]], [[1]]), blocks=blocks)


def test_coverage_is_near_the_nominal_level():
    """Coverage: 200 sets of 40 images drawn from one source with a known IoU; 95 % intervals contain it in 88 to 99 % of sets."""
    rng = np.random.default_rng(0)
    num_covered = 0
    for trial in range(200):
        quality = rng.beta(4, 2, (40, 3))  # of each image and class: mean 2/3
        tp = rng.binomial(1000, quality)
        low, high = bootstrap.interval((tp, np.zeros_like(tp), 1000 - tp), num_resamples=300, seed=trial)[0][1:]
        num_covered += low <= 2 / 3 <= high
    assert 176 <= num_covered <= 198
