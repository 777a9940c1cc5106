"""Words of a command line: option files."""

import pytest

import options
from helpers.errors import InputError


def test_an_option_file_stands_for_its_words(tmp_path):
    """Several words a line, comments, quoted spaces; what is typed after it wins."""
    recipe = tmp_path / "recipe.txt"
    recipe.write_text(
        "# a recipe\n--loss focal --focal_gamma 1.5   # two options\n\n--save_path 'my run'\n--epochs 3\n"
    )
    args, typed = options.parse([f"@{recipe}", "--epochs", "5"])
    assert (args.loss, args.focal_gamma, args.save_path, args.epochs) == ("focal", 1.5, "my run", 5)
    assert typed == {"loss", "focal_gamma", "save_path", "epochs"}


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "missing.txt"), ("--loss 'ce\n", "an option file cannot be read"), ("--los ce\n", "--los")],
)
def test_a_bad_option_file_is_answered_in_one_line(tmp_path, content, words):
    recipe = tmp_path / "missing.txt"
    if content:
        recipe.write_text(content)
    with pytest.raises(InputError) as error:
        options.parse([f"@{recipe}"])
    assert words in str(error.value)
    assert "\n" not in str(error.value)
