"""options.json, and result folders that are replaced as a whole."""

import pytest

from helpers import run_folder
from helpers.errors import InputError
from helpers.output import replacing_folders


def test_old_results_are_kept_if_predicting_fails(tmp_path):
    old = tmp_path / "results_val"
    old.mkdir()
    (old / "a.png").write_text("old")

    def fail():
        with replacing_folders(old, tmp_path / "results_color_val") as (ids, _):
            (ids / "a.png").write_text("new")
            raise RuntimeError("no more memory")

    with pytest.raises(RuntimeError):
        fail()
    assert (old / "a.png").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["results_val"]


def test_new_results_replace_files_of_the_same_name(tmp_path):
    old = tmp_path / "results_val"
    (old / "sub").mkdir(parents=True)
    (old / "a.png").write_text("old")
    (old / "sub" / "mine.txt").write_text("mine")
    with replacing_folders(old) as (ids,):
        (ids / "a.png").write_text("new")
    assert (old / "a.png").read_text() == "new"
    assert (old / "sub" / "mine.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["results_val"]


@pytest.mark.parametrize("renamed", [True, False])
def test_no_file_is_lost_if_the_process_is_killed_during_the_exchange(tmp_path, renamed):
    """The old folder has been moved aside; the new one has its name already, or not yet."""
    folder, aside = tmp_path / "results_val", tmp_path / ".results_val.replaced-1-0123abcd"
    aside.mkdir()
    (aside / "mine.txt").write_text("mine")
    (aside / "a.png").write_text("old")
    if renamed:
        folder.mkdir()
        (folder / "a.png").write_text("newer")
    with replacing_folders(folder) as (ids,):
        assert (folder / "a.png").read_text() == ("newer" if renamed else "old")
        (ids / "a.png").write_text("newest")
    assert (folder / "mine.txt").read_text() == "mine"
    assert (folder / "a.png").read_text() == "newest"
    assert [path.name for path in tmp_path.iterdir()] == ["results_val"]


def test_options_are_restored_and_a_damaged_file_is_reported(tmp_path):
    path = tmp_path / "options.json"
    assert run_folder.read_options(path) == {}
    run_folder.write_options(path, {"crop_size": [1, 2], "seed": None, "save_path": "Straße 1"}, {"device": "cpu"})
    assert run_folder.read_options(path) == {"crop_size": [1, 2], "seed": None, "save_path": "Straße 1"}
    path.write_text('{"options": 3}')
    with pytest.raises(InputError, match=r"options\.json is damaged"):
        run_folder.read_options(path)
