"""`evaluate`: where its scores may be written."""

import json
import shutil
from pathlib import Path

import pytest
from rows import write_jsonl
from runs import SHORT

from llmkit.config.recipe import recipe_keys
from llmkit.runs.find import has_recipe, open_recipe


def test_evaluate_does_not_write_over_a_run(llmkit, finished):
    shutil.copytree(finished, "run")
    result = llmkit("evaluate", "run", "--output", "run")
    assert result.exit_code == 2
    assert "run: is a run or a file; choose a different folder for --output" in result.stderr
    result = llmkit("evaluate", "run", "--output", "run/recipe.yaml/scores")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "recipe.yaml is a file; name another folder" in result.stderr
    for name in ("run", "./run"):
        assert "not a recipe; did you mean run/recipe.yaml?" in llmkit("check", name).stderr
    result = llmkit("evaluate", "run", "data.test=none.jsonl", "--output", "scores")
    assert result.exit_code == 2
    assert not Path("scores").exists()


@pytest.fixture
def embedded_run(llmkit, tiny_gpt2):
    """A short run on embedded rows."""
    result = llmkit(
        "finetune", "summarize", f"model={tiny_gpt2}", *SHORT, "data.limit=40", "--run-dir", "run"
    )
    assert result.exit_code == 0, result.output
    return "run"


def test_a_run_on_embedded_rows_is_scored_on_other_rows(llmkit, embedded_run):
    content = "text;summary\n" + "".join(f"Größe {n} naß.;Größe {n}.\n" for n in range(3))
    Path("rows.csv").write_text(content, "cp1252")
    of_file = (
        "data.encoding=cp1252", "data.columns.document=text", "data.columns.summary=summary",
    )  # fmt: skip
    for key, name in (("data.test", "test"), ("data.tests.mine", "sets/mine")):
        scored = f"scored-{Path(name).name}"
        result = llmkit("evaluate", embedded_run, f"{key}=rows.csv", *of_file, "--output", scored)
        assert result.exit_code == 0, result.output
        folder = Path(scored) / ("" if name == "test" else name)
        rows = [json.loads(line) for line in (folder / "predictions.jsonl").open()]
        assert [row["references"] for row in rows] == [[f"Größe {n}."] for n in range(3)]
    assert llmkit("compare", "scored-test", "scored-test").exit_code == 0
    predictions = [{"id": row["id"], "prediction": "Größe"} for row in rows]
    write_jsonl(Path("theirs.jsonl"), predictions)
    recipe = f"{embedded_run}/recipe.yaml"
    of_test = ("data.test=rows.csv", *of_file)
    result = llmkit("evaluate", "--predictions", "theirs.jsonl", "--recipe", recipe, *of_test)
    assert result.exit_code == 0, result.output
    result = llmkit("check", recipe, "data.validation=rows.csv", *of_file, "--json")
    counts = json.loads(result.stdout)["splits"]
    sizes = {name: sum(split["rows"].values()) for name, split in counts.items()}
    assert sizes == {"train": 40, "validation": 3, "test": 4}


def test_a_run_of_an_earlier_version_names_its_embedded_rows_by_null(llmkit, embedded_run, rows):
    recipe = Path(embedded_run) / "recipe.yaml"
    content = recipe.read_text("utf-8")
    assert "train: embedded\n" in content
    recipe.write_text(content.replace("train: embedded\n", "train: null\n"), "utf-8")
    assert has_recipe(Path(embedded_run), recipe_keys(open_recipe(str(recipe))))
    assert llmkit("evaluate", embedded_run).exit_code == 0
    other = ("evaluate", embedded_run, f"data.test={rows}")
    result = llmkit(*other)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.endswith("come from it; set it; data.train=embedded for the embedded rows")
    assert llmkit(*other, "data.train=embedded").exit_code == 0


def test_a_run_trained_with_the_recipe_of_another_and_other_test_rows(llmkit, embedded_run, rows):
    again = ("finetune", "run/recipe.yaml", f"data.test={rows}", "--run-dir", "again")
    assert llmkit(*again).exit_code == 0
    assert llmkit("report", "again").exit_code == 0
    assert llmkit("generate", "--model", "again", "--prompt", "Who?").exit_code == 0
    assert llmkit("evaluate", "again").exit_code == 0
    assert has_recipe(Path("again"), recipe_keys(open_recipe("again/recipe.yaml")))


@pytest.mark.parametrize("key", ["data.test", "data.validation", "data.tests.mine"])
def test_a_recipe_without_a_run_needs_its_training_rows(llmkit, rows, key):
    for command in (("check",), ("finetune",), ("evaluate", "embedded", "--recipe")):
        result = llmkit(*command, "summarize", f"{key}={rows}")
        assert result.exit_code == 2
        assert "data.train is missing" in result.stderr.splitlines()[-1]
