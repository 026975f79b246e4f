"""`push`: what it refuses before anything is sent. The network is off in this process."""

import shutil

import pytest


@pytest.fixture
def model(tiny_gpt2, tmp_path):
    """A model with a card."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_gpt2, folder)
    (folder / "README.md").write_text("# A model\n", "utf-8")
    return folder


def test_without_a_terminal_the_upload_needs_yes(llmkit, model):
    result = llmkit("push", model, "me/x")
    assert result.exit_code == 2
    assert "add --yes" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("nowhere me/x", "nowhere: no such folder"),
        ("model/config.json me/x", "model/config.json: is a file; name a run, or the folder of a "),
        ("model summarizer", "summarizer: not a name of a repo on the hub; write USER/NAME"),
        ("model me/x", "me/x: HF_HUB_OFFLINE is set; unset it to upload"),
        ("run me/x", "run: this run has no model yet"),
        ("empty me/x", "empty: no weights"),
    ],
)
def test_a_mistake_is_one_line(llmkit, model, arguments, expected):
    (model.parent / "empty").mkdir()
    (model.parent / "run").mkdir()
    (model.parent / "run" / "recipe.yaml").write_text("task: qa\ntrain: {epochs: 1}\n", "utf-8")
    result = llmkit("push", *arguments.split(), "--yes")
    assert result.exit_code == 2
    *_, line = result.stderr.splitlines()
    assert line.startswith(f"llmkit: {expected}")


def test_a_model_needs_a_card(llmkit, model):
    (model / "README.md").unlink()
    result = llmkit("push", "model", "me/x", "--yes")
    assert result.exit_code == 2
    assert "model: no model card" in result.stderr
