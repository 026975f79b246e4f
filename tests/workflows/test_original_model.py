"""The outputs of the original model."""

import io
import shutil

import pytest
from rich.console import Console

from llmkit.workflows.original_model import load_source, run_original_model


def test_other_decoding_than_the_recipes_is_announced(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    recipe = (run / "recipe.yaml").read_text("utf-8")
    assert "num_beams: 1" in recipe
    (run / "recipe.yaml").write_text(recipe.replace("num_beams: 1", "num_beams: 2"), "utf-8")
    printed = io.StringIO()
    original = run_original_model(load_source(run, ()), Console(file=printed))
    assert "decoding: greedy" in printed.getvalue()
    assert original.figures.identical_texts == 100
    assert original.figures.score is not None


@pytest.mark.parametrize("metric", ["loss", "rouge1"])
def test_a_score_is_always_compared(finished, metric):
    """Programs return no loss of completions, so that the first score of the task replaces it."""
    source = load_source(finished, (f"evaluation.metric={metric}",))
    figures = run_original_model(source, Console(quiet=True)).figures
    assert figures.metric == {"loss": "rougeL"}.get(metric, metric)
    assert figures.score is not None
