"""Words of a command line: option files."""

import pytest
from commands import parse_values

from helpers.errors import InputError


def test_an_option_file_stands_for_its_words(tmp_path):
    """Several words a line, comments, quoted spaces; what is typed after it wins."""
    recipe = tmp_path / "recipe.txt"
    recipe.write_text(
        "# a recipe\n--loss focal --focal_gamma 1.5   # two options\n\n--save_path 'my run'\n--epochs 3\n"
    )
    args, typed = parse_values([f"@{recipe}", "--epochs", "5"])
    assert (args.loss, args.focal_gamma, args.save_path, args.epochs) == ("focal", 1.5, "my run", 5)
    assert typed == {"loss", "focal_gamma", "save_path", "epochs"}


def test_an_option_file_that_is_not_there():
    with pytest.raises(InputError, match=r"there is no option file recipes/none\.txt"):
        parse_values(["@recipes/none.txt"])


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("--time_budget 8", "--steps 3", (200, 3, None)),
        ("--steps 3", "--time_budget 4", (200, None, 4.0)),
        ("--steps 3", "--epochs 5", (5, None, None)),
        ("--epochs 5 --steps 3", "--epochs 6", (6, None, None)),
    ],
)
def test_of_the_lengths_of_a_run_the_last_one_counts(tmp_path, first, last, expected):
    recipe = tmp_path / "recipe.txt"
    recipe.write_text(first)
    args, typed = parse_values([f"@{recipe}", *last.split()])
    assert (args.epochs, args.steps, args.time_budget) == expected
    assert typed == {last.split()[0].removeprefix("--")}


def test_what_a_run_has_settled_stands_unless_another_length_is_typed_last():
    stored = {"epochs": 3, "steps": 10, "time_budget": 5.0}
    for words, expected in (
        ((), (3, 10, 5.0)),
        (("--steps", "9", "--time_budget", "5"), (3, 10, 5.0)),
        (("--time_budget", "5", "--steps", "12"), (3, 12, None)),
    ):
        args, _ = parse_values(["--resume", *words], stored)
        assert (args.epochs, args.steps, args.time_budget) == expected
    with pytest.raises(InputError, match="the run's length is --steps 10"):
        parse_values(["--resume", "--steps", "12", "--epochs", "4"], stored)


def test_rates_that_were_settled_for_another_optimizer_are_not_kept():
    stored = {"optimizer": "sgd", "lr_init": 0.01, "lr_weight_decay": 1e-4}
    for words, expected in (
        (("--optimizer", "adamw"), (None, None)),
        (("--optimizer", "adamw", "--lr_init", "0.002"), (0.002, None)),
        (("--optimizer", "sgd"), (0.01, 1e-4)),
        ((), (0.01, 1e-4)),
    ):
        args, _ = parse_values(["--resume", "--override", *words], stored)
        assert (args.lr_init, args.lr_weight_decay) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--loss abl", "--loss abl moves boundaries"),
        ("--loss 2*abl", "--loss abl moves boundaries"),
        ("--focal_gamma 1", "--focal_gamma is for the loss focal"),
        ("--loss dice --ohem_threshold 0.5", "--ohem_threshold is for the loss ohem"),
        ("--ohem_fraction 0.5", "--ohem_fraction is for the loss ohem"),
        ("--tversky_alpha 0.5", "--tversky_alpha is for the loss tversky"),
        ("--tversky_beta 0.5", "--tversky_beta is for the loss tversky"),
        ("--loss ce+tversky --tversky_alpha 0 --tversky_beta 0", "would always be 0"),
    ],
)
def test_losses_and_their_options_that_mean_nothing(words, message):
    with pytest.raises(InputError) as error:
        parse_values(words.split())
    assert message in str(error.value)


def test_options_of_losses_are_taken_with_their_loss_and_at_their_default():
    for words in (
        "--loss ce+abl",
        "--loss ce+0.5*focal --focal_gamma 1",
        "--loss ohem --ohem_threshold 0.5 --ohem_fraction 0.5",
        "--loss tversky --tversky_alpha 0",
        "--loss ce --focal_gamma 2 --ohem_threshold 0.7",
    ):
        parse_values(words.split())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "missing.txt"),
        (b"--loss 'ce\n", "cannot be read"),
        (b"--los ce\n", "--los"),
        (b"--loss \xff\xfe\n", "not text in UTF-8"),
        (b"@missing.txt\n", "names itself"),
    ],
)
def test_a_bad_option_file_is_answered_in_one_line(tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "missing.txt"
    if content:
        recipe.write_bytes(content)
    with pytest.raises(InputError) as error:
        parse_values([f"@{recipe}"])
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [("--modell UNet", "--model"), ("--epoch=3", "--epochs"), ("--lr 0.1", "--lr_init"), ("--no-hfip", "--no-hflip")],
)
def test_a_misspelt_option_is_answered_with_the_nearest_one(typed, nearest):
    with pytest.raises(InputError) as error:
        parse_values(typed.split())
    assert f"unrecognized arguments: {typed}; the nearest option is {nearest} (see --help)" == str(error.value)


@pytest.mark.parametrize("typed", ["stray", "--zzzzzz"])
def test_what_no_option_resembles_gets_no_suggestion(typed):
    with pytest.raises(InputError) as error:
        parse_values([typed])
    assert str(error.value) == f"unrecognized arguments: {typed} (see --help)"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_an_option_file_in_another_encoding(tmp_path, encoding):
    (tmp_path / "a.txt").write_text("--save_path Zürich --epochs 3\n", encoding=encoding)
    args, typed = parse_values([f"@{tmp_path / 'a.txt'}"])
    assert (args.save_path, args.epochs, typed) == ("Zürich", 3, {"save_path", "epochs"})


@pytest.mark.parametrize(
    "digits", ["9" * 19, "9" * 400, "9" * 6000, "-" + "9" * 400, "1e400", "-1e400", "1." + "9" * 400]
)
@pytest.mark.parametrize("option", ["--epochs", "--batch_size", "--seed", "--crop_size", "--lr_init", "--time_budget"])
def test_very_long_numbers_are_refused_or_rounded(tmp_path, option, digits):
    (tmp_path / "a.txt").write_text(f"{option} {digits}")
    for words in ([option, digits], [f"@{tmp_path / 'a.txt'}"]):
        try:
            args, _ = parse_values(words)
        except InputError:
            continue
        assert 0 < float(getattr(args, option[2:])) < 1e19 or option in ("--lr_init", "--time_budget")
