"""Votes computed by hand: weights, ties, sizes; the program on known predictions and networks."""

import json

import numpy as np
import pytest
import torch
from commands import copied_run, run_evaluate, snapshot, train
from tiny import make_camvid, save
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.errors import InputError, exit_status
from helpers.images import read_image, read_label, write_png
from helpers.labels import CAMVID, VOID
from learning.data.datasets.splits import sees_val
from learning.inference import ensemble as voting
from learning.inference.predict import MST_SCALES, upsample_logits
from learning.inference.predictor import load_run
from tools import ensemble, votes


def vote(*words):
    """Exit status of tools.ensemble."""
    return exit_status("tools.ensemble", ensemble.main, list(map(str, words)))


# ---------------------------------------------------------------------------------------------- hard votes


def maps(*rows):
    return [np.array([row], np.uint8) for row in rows]


def test_the_value_with_most_votes_wins():
    assert votes.majority(maps([1, 1, 3], [1, 2, 2], [4, 2, 2]), [1, 1, 1]).tolist() == [[1, 2, 2]]


def test_the_first_voter_decides_a_tie():
    assert votes.majority(maps([5, 0], [2, 9]), [1, 1]).tolist() == [[5, 0]]
    # The first voter's choice is not among the two that are tied: then the first of theirs.
    assert votes.majority(maps([7], [3], [1], [1], [3]), [1, 1, 1, 1, 1]).tolist() == [[3]]


def test_weights_multiply_votes():
    three = maps([1, 1, 1], [2, 2, 1], [2, 3, 4])
    assert votes.majority(three, [3, 1, 1]).tolist() == [[1, 1, 1]]
    assert votes.majority(three, [2, 1, 1]).tolist() == [[1, 1, 1]]  # 2 against 2: the first
    assert votes.majority(three, [1, 1, 1]).tolist() == [[2, 1, 1]]
    assert votes.majority(three, [0, 1, 2]).tolist() == [[2, 3, 4]]


def test_one_voter_is_unchanged_and_so_are_the_inputs():
    (only,) = maps([VOID, 0, 3])
    kept = only.copy()
    assert np.array_equal(votes.majority([only], [1]), kept)
    assert np.array_equal(only, kept)


def test_majority_agrees_with_counting_pixel_by_pixel():
    rng = np.random.default_rng(0)
    choices, weights = list(rng.integers(0, 4, (5, 30, 40)).astype(np.uint8)), [1, 3, 2, 2, 1]
    expected = np.zeros((30, 40), np.uint8)
    for place in np.ndindex(30, 40):
        ballot = {}  # in the order of the voters
        for choice, weight in zip(choices, weights, strict=True):
            ballot[choice[place]] = ballot.get(choice[place], 0) + weight
        expected[place] = max(ballot, key=ballot.get)
    assert np.array_equal(votes.majority(choices, weights), expected)


def test_decimal_weights_are_exact():
    assert votes.whole_weights([0.1, 0.2, 0.3]) == [1, 2, 3]
    assert votes.whole_weights([1, 2.5]) == [2, 5]
    # 0.1 + 0.2 > 0.3 in floating point; as votes they are a tie, which the first decides.
    assert votes.majority(maps([4], [6], [6]), votes.whole_weights([0.3, 0.1, 0.2])).tolist() == [[4]]


@pytest.mark.parametrize("weights", [[1, -1], [0, 0], [float("nan"), 1], [float("inf")], [1e-300, 1]])
def test_weights_that_cannot_be_counted(weights):
    with pytest.raises(InputError, match="--mix"):
        votes.whole_weights(weights)


# ---------------------------------------------------------------------------------------------- soft votes


class Fixed:
    """A run that always predicts the same probabilities."""

    def __init__(self, probabilities):
        self.found = torch.tensor(probabilities)

    def input_size(self, image):
        return tuple(self.found.shape[1:])

    def probabilities(self, image, scales=(1.0,), mirror=False):
        self.asked = scales, mirror
        return self.found


def test_probabilities_are_averaged_by_weight():
    one, other = Fixed([[[0.9, 0.2]], [[0.1, 0.8]]]), Fixed([[[0.3, 0.3]], [[0.7, 0.7]]])
    mean = voting.mean_probabilities([one, other], None, [0.75, 0.25])
    assert torch.allclose(mean, torch.tensor([[[0.75, 0.225]], [[0.25, 0.775]]]))
    assert mean.dtype == torch.float32


def test_the_common_size_is_the_largest_height_and_width(tmp_path):
    tall, wide = Fixed([[[1.0], [0.0]], [[0.0], [1.0]]]), Fixed([[[0.2, 0.6]], [[0.8, 0.4]]])
    mean = voting.mean_probabilities([tall, wide], None, [0.5, 0.5])
    assert torch.allclose(mean[0], torch.tensor([[0.6, 0.8], [0.1, 0.3]]))
    path = save(tmp_path / "image.png", np.zeros((4, 6, 3), np.uint8))
    ((classes, confidence),) = voting.predict_ensemble([tall, wide], [path], [0.5, 0.5], (1.0, 2.0), True)
    assert tall.asked == ((1.0, 2.0), True)
    at_source = upsample_logits(mean, (4, 6))
    assert np.array_equal(classes, at_source.argmax(0).numpy())
    assert np.array_equal(confidence, at_source.max(0).values.numpy())
    assert classes.dtype == np.uint8


def test_classes_of_a_large_image_are_computed_in_strips():
    """Equal to upsampling all classes at once, with only a part of them in memory."""
    probabilities = torch.rand(19, 30, 40, generator=torch.Generator().manual_seed(0)).softmax(0)
    expected = upsample_logits(probabilities, (1000, 900)).max(0)
    largest = 0

    class Largest(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            for value in result if isinstance(result, tuple | list) else [result]:
                if isinstance(value, torch.Tensor) and value._base is None:
                    largest = max(largest, value.numel())
            return result

    with Largest():
        classes, confidence = voting.most_likely(probabilities, (1000, 900))
    assert np.array_equal(classes, expected.indices.numpy())
    assert np.array_equal(confidence, expected.values.numpy())
    assert largest <= 10 * 2**20  # 17 million for the whole; at most 32 MiB of rows are widened at a time


# ---------------------------------------------------------------------------------------------- the program


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_camvid(tmp_path_factory.mktemp("ensemble") / "data")


@pytest.fixture(scope="module")
def pair(data, tmp_path_factory):
    """Two runs with different norms and test sizes; the network input is 64x74 and 68x91 for the images of 48x64."""
    folder = tmp_path_factory.mktemp("pair")
    assert train(folder / "a", data, "--epochs", 1, "--seed", 1, "--norm", "instance", "--lr_init", 0.1) == 0
    words = ("--epochs", 1, "--seed", 2, "--norm", "group", "--lr_init", 0.1, "--test_size", 64, 96)
    assert train(folder / "b", data, *words) == 0
    return folder / "a", folder / "b"


def test_soft_vote_is_the_mean_of_the_runs_probabilities(tmp_path, pair, data, capsys):
    output = tmp_path / "both"
    assert vote(*pair, "--mix", 3, 1, "--output", output, "--device", "cpu") == 0
    assert "images/s" in capsys.readouterr().out
    runs, differ = [load_run(folder) for folder in pair], 0
    for path in sorted((data / "val").iterdir()):
        image = read_image(path)
        one, other = (run.probabilities(image)[None] for run in runs)
        one = torch.nn.functional.interpolate(one, (68, 91), mode="bilinear")
        expected = upsample_logits((0.75 * one + 0.25 * other)[0], image.shape[1:]).argmax(0).numpy()
        assert np.array_equal(read_label(output / "results_val" / f"{path.stem}.png"), expected)
        differ += sum((run.predict(image) != expected).sum() for run in runs)
    assert differ > 100
    assert run_evaluate("--results", output / "results_val") == 0
    assert json.loads((output / "results.json").read_text())["dataset_path"] == str(data)
    about = json.loads((output / "options.json").read_text())["votes"]["val"]
    assert [voter["weight"] for voter in about["voters"]] == [3, 1]


def test_a_vote_of_one_run_is_its_prediction(tmp_path, pair, data):
    run = load_run(pair[0])
    image = read_image(data / "val/0001TP_val000.png")
    probabilities = run.probabilities(image)
    assert probabilities.shape == (11, 64, 74)
    assert torch.allclose(probabilities.sum(0), torch.ones(64, 74), atol=1e-5)
    ((classes, _),) = voting.predict_ensemble([run], [data / "val/0001TP_val000.png"], [1.0])
    # Not equal: softmax and then upsampling is not upsampling of the logits.
    assert (classes == run.predict(image)).mean() > 0.99


def test_runs_with_the_same_holdout_are_scored_on_it(tmp_path, pair, data):
    """The ensemble's folder says how the data are divided, so evaluate.py scores what was held out."""
    held = [copied_run(run, tmp_path / run.name, holdout="tail", train_on="trainval") for run in pair]
    assert vote(*held, "--output", tmp_path / "out", "--device", "cpu") == 0
    names = sorted(path.stem for path in (tmp_path / "out/results_val").iterdir())
    assert names == ["0001TP_val002"]
    assert run_evaluate("--results", tmp_path / "out/results_val") == 0
    assert json.loads((tmp_path / "out/results.json").read_text())["num_images"] == 1


def test_a_run_that_was_trained_on_the_validation_images_is_named(tmp_path, pair, capsys):
    seen = copied_run(pair[1], tmp_path / "seen", train_on="trainval")
    for words in ((), ("--vote", "hard")):
        output = tmp_path / f"out{len(words)}"
        assert vote(pair[0], seen, *words, "--output", output, "--device", "cpu") == 0
        out = capsys.readouterr().out
        (line,) = (line for line in out.splitlines() if line.startswith("note: "))
        assert str(seen) in line
        assert line.endswith("was trained on the validation images, too: a score on them says nothing")
        assert sees_val(json.loads((output / "options.json").read_text())["options"])


def test_mst_and_the_test_split(tmp_path, pair, data):
    output = tmp_path / "both"
    assert vote(*pair, "--vote", "hard", "--output", output) == 0
    assert vote(pair[0], "--mst", "--split", "test", "--output", output, "--device", "cpu") == 0
    run, image = load_run(pair[0]), read_image(data / "test/0001TP_test000.png")
    expected = upsample_logits(run.probabilities(image, MST_SCALES, True), (48, 64)).argmax(0).numpy()
    assert np.array_equal(read_label(output / "results_test/0001TP_test000.png"), expected)
    assert (expected != run.predict(image)).mean() > 0.01
    assert set(json.loads((output / "options.json").read_text())["votes"]) == {"val", "test"}
    assert len(list((output / "results_color_test").iterdir())) == 4


def fill(folder, dataset, value):
    """A folder of predictions of one class everywhere."""
    folder.mkdir(parents=True)
    for path in sorted((dataset / "val").iterdir()):
        write_png(folder / f"{path.stem}.png", np.full((48, 64), value, np.uint8))
    return folder


def test_hard_vote_counts_folders(tmp_path, data):
    folders = [fill(tmp_path / name, data, value) for name, value in (("x", 3), ("y", 5), ("z", 5))]
    where = ("--vote", "hard", "--dataset", "camvid", "--dataset_path", data)
    for mix, winner in (((1, 1, 1), 5), ((2, 1, 1), 3), ((0.3, 0.1, 0.2), 3), ((0.3, 0.2, 0.2), 5)):
        assert vote(*folders, *where, "--mix", *mix, "--output", tmp_path / "out") == 0
        for path in (tmp_path / "out/results_val").iterdir():
            assert np.unique(read_label(path)).tolist() == [winner]
    assert run_evaluate("--results", tmp_path / "out/results_val") == 0


def test_hard_vote_of_runs_takes_their_results(tmp_path, pair, data):
    assert vote(*pair, pair[1], "--vote", "hard", "--output", tmp_path / "out") == 0
    for path in (tmp_path / "out/results_val").iterdir():
        assert np.array_equal(read_label(path), read_label(pair[1] / "results_val" / path.name))  # two of three votes
    # The output can vote again.
    assert vote(tmp_path / "out", pair[0], "--vote", "hard", "--output", tmp_path / "again") == 0


def test_an_id_of_no_class_is_a_vote_for_void(tmp_path, data):
    folders = [fill(tmp_path / name, data, value) for name, value in (("x", 11), ("y", 255), ("z", 5))]
    where = ("--vote", "hard", "--dataset", "camvid", "--dataset_path", data, "--output", tmp_path / "out")
    assert vote(*folders, *where) == 0
    assert np.unique(read_label(tmp_path / "out/results_val/0001TP_val000.png")).tolist() == [CAMVID.void_id]


def test_runs_with_different_classes_cannot_vote(tmp_path, pair, capsys):
    copied_run(pair[0], tmp_path / "c", dataset="minicity")
    for words in ((), ("--vote", "hard")):
        assert vote(pair[0], tmp_path / "c", *words, "--output", tmp_path / "out") == 2
        assert "different classes (--dataset camvid and minicity)" in capsys.readouterr().err


def test_runs_on_different_images_need_a_data_set(tmp_path, pair, data, capsys):
    other = make_camvid(tmp_path / "other", (("train", 4), ("val", 4)), seed=5)
    copied_run(pair[1], tmp_path / "c", dataset_path=str(other))
    assert vote(pair[0], tmp_path / "c", "--output", tmp_path / "out") == 2
    assert "other val images than" in capsys.readouterr().err
    words = ("--output", tmp_path / "out", "--dataset_path", data, "--device", "cpu")
    assert vote(pair[0], tmp_path / "c", *words) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--mix", 1), "1 weights for 2 runs"),
        (("--mix", 1, -1), "expected numbers of 0 or more"),
        (("--vote", "hard", "--mst"), "--mst is for soft votes"),
        (("--split", "test", "--vote", "hard"), "has no results_test; predict first"),
    ],
)
def test_mistakes_are_a_line(tmp_path, pair, capsys, words, message):
    assert vote(*pair, *words, "--output", tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_missing_runs_and_unfit_predictions_are_refused(tmp_path, pair, data, capsys):
    assert vote(tmp_path / "nothing", "--output", tmp_path / "out") == 2
    assert "there are no weights" in capsys.readouterr().err
    sizes = fill(tmp_path / "sizes", data, 3)
    write_png(sizes / "0001TP_val001.png", np.zeros((5, 6), np.uint8))
    where = ("--dataset", "camvid", "--dataset_path", data, "--output", tmp_path / "out", "--vote", "hard")
    assert vote(sizes, *where) == 2
    assert "0001TP_val001.png is 5x6 pixels" in capsys.readouterr().err
    write_png(sizes / "0001TP_val001.png", np.full((48, 64), 12, np.uint8))
    assert vote(sizes, *where) == 2
    assert "holds the value 12" in capsys.readouterr().err


def test_foreign_folders_are_not_written_into(tmp_path, pair, capsys):
    before = snapshot(pair[0])
    assert vote(*pair, "--output", pair[0]) == 2
    assert "holds a run" in capsys.readouterr().err
    save(tmp_path / "mine/photo.png", np.zeros((4, 4, 3), np.uint8))
    assert vote(*pair, "--output", tmp_path / "mine") == 2
    assert "--force" in capsys.readouterr().err
    assert vote(*pair, "--output", tmp_path / "mine", "--force", "--device", "cpu") == 0
    assert (tmp_path / "mine/photo.png").exists()
    assert snapshot(pair[0]) == before
