"""Tasks: prompts that tokenize as they are trained, templates that are checked, baselines."""

import ast
from pathlib import Path

import pytest
from task_rows import ROWS

from llmkit import tasks
from llmkit.errors import UserError
from llmkit.tasks import TASKS, get_task


def test_an_unknown_task_is_refused_with_a_suggestion():
    with pytest.raises(UserError, match="did you mean summarize"):
        get_task("sumarize")


def test_baselines_predict_from_the_row_alone():
    row = {"id": "7", **ROWS["summarize"]}
    answers = {name: answer(row) for name, answer in TASKS["summarize"].baselines.items()}
    assert answers["lead-1"] == "One."
    assert answers["lead-3"] == "One. Two {summary}. Three."
    assert answers["copy of the source"] == row["document"]
    answers = {name: answer(ROWS["qa"]) for name, answer in TASKS["qa"].baselines.items()}
    assert answers["first name"] == "Mara Linden"


def test_tasks_import_neither_torch_nor_transformers():
    """Anyone can read and test a task alone."""
    for path in Path(tasks.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"torch", "transformers", "datasets"} & {n.split(".")[0] for n in names}
