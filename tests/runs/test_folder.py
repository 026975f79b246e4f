"""The files in a run's folder."""

from llmkit.runs.folder import checkpoint_dir, checkpoints, is_run, recipe_path, set_dir, set_dirs


def test_checkpoints_are_listed_from_the_newest(tmp_path):
    for step in (2, 10, 9):
        checkpoint_dir(tmp_path, step).mkdir(parents=True)
    checkpoint_dir(tmp_path, 10).with_suffix(".partial").mkdir()
    assert checkpoints(tmp_path) == [checkpoint_dir(tmp_path, step) for step in (10, 9, 2)]


def test_a_checkpoint_whose_replacement_was_interrupted_is_listed(tmp_path):
    checkpoint_dir(tmp_path, 3).with_suffix(".replaced").mkdir(parents=True)
    assert checkpoints(tmp_path) == [checkpoint_dir(tmp_path, 3)]


def test_test_sets_have_folders_of_their_own(tmp_path):
    for name in ("held-out", "general text"):
        set_dir(tmp_path, name).mkdir(parents=True)
    assert [folder.name for folder in set_dirs(tmp_path)] == ["general-text", "held-out"]


def test_a_folder_with_a_recipe_is_a_run(tmp_path):
    assert not is_run(tmp_path)
    recipe_path(tmp_path).touch()
    assert is_run(tmp_path)
