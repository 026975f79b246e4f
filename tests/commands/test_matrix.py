"""Every command for every task, on the first embedded rows.

The rows have a column to group by, several references where the task takes them, and a further
test set. One short run per task serves all of its commands.
"""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from rows import write_jsonl

from llmkit import cli
from llmkit.config.recipe import load_recipe
from llmkit.data.splits import EMBEDDED_ROWS
from llmkit.tasks import TASKS

SPLITS = {"train": 24, "validation": 4, "test": 12}  # enough test rows for intervals
TINY_SCRATCH = (
    "model=scratch", "model.scratch.n_layer=1", "model.scratch.n_head=2", "model.scratch.n_embd=16",
    "model.scratch.n_positions=256", "model.scratch.vocab_size=400", "data.max_length=256",
)  # fmt: skip
TWO_STEPS = (
    "train.epochs=null", "train.max_steps=2", "train.global_batch_size=4", "train.log_every=1",
    "generation.max_new_tokens=4",
)  # fmt: skip


def run_llmkit(*arguments: object, exit_code: int = 0, input: str | None = None):
    result = CliRunner().invoke(cli.main, [str(argument) for argument in arguments], input=input)
    assert isinstance(result.exception, SystemExit | None), result.exc_info
    assert result.exit_code == exit_code, result.output
    return result


def takes_several_references(task) -> bool:
    return not (task.output == "text" or task.output == "label" or task.chat)


def first_rows(name: str, split: str) -> list[dict]:
    """Embedded rows with a column `topic` and, where the task takes them, two references."""
    path = EMBEDDED_ROWS / name / f"{split}.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()[: SPLITS[split]]]
    target = load_recipe(name).data.columns.get(TASKS[name].target, TASKS[name].target)
    for number, row in enumerate(rows):
        row["topic"] = ("ferry", "goat")[number % 2]
        if takes_several_references(TASKS[name]):
            reference = row[target]
            references = reference if isinstance(reference, list) else [reference]
            row[target] = [*references, f"{references[0]} too"]
    return rows


class Work:
    """A task's files, its settings, and its run."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.task, self.folder = name, TASKS[name], folder
        files = {split: folder / f"{split}.jsonl" for split in SPLITS}
        for split, path in files.items():
            write_jsonl(path, first_rows(name, split))
        self.settings = (
            *(f"data.{split}={path}" for split, path in files.items()),
            f"data.tests.second={files['test']}",
            "evaluation.by=topic",
            *TINY_SCRATCH,
            *TWO_STEPS,
        )
        self.run = folder / "run"
        run_llmkit("finetune", name, *self.settings, "--run-dir", self.run)

    @property
    def results(self) -> dict:
        return read_json(self.run / "metrics.json")


@pytest.fixture(scope="module", params=TASKS)
def work(request, tmp_path_factory):
    return Work(request.param, tmp_path_factory.mktemp(request.param))


def read_json(path: Path) -> dict:
    return json.loads(path.read_text("utf-8"))


def texts_of_page(path: Path) -> str:
    """The text of an HTML page, after every element was found to be closed in turn."""
    parser = HTMLParser()
    texts = []
    parser.handle_data = texts.append
    parser.feed(path.read_text("utf-8"))
    parser.close()
    return "\n".join(texts)


def test_finetune_scores_every_test_set_and_group(work):
    results = work.results
    assert list(results["scores"])[:2] == ["fine-tuned", "untuned"]
    second = read_json(work.run / "sets" / "second" / "metrics.json")
    assert second["scores"] == results["scores"]
    tuned, untuned = results["scores"]["fine-tuned"], results["scores"]["untuned"]
    for name, each in results["differences"]["untuned"].items():
        assert each["difference"] == pytest.approx(tuned[name] - untuned[name])
        assert 0 < each["p"] <= 1
    if work.task.output != "text":
        groups = {group["label"]: group["rows"] for group in results["groups"]["topic"]}
        assert groups == {"ferry": 6, "goat": 6}


def test_check_on_a_narrow_terminal_and_as_a_page(work, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    page = tmp_path / "check.html"
    shown = run_llmkit("check", work.name, *work.settings, "--html", page).stdout
    for text in (shown, texts_of_page(page)):
        assert "rows read" in text
        assert "second" in text
    assert not re.search("\N{HORIZONTAL ELLIPSIS}|\x1b", shown), "cut, or coloured in a file"


@pytest.mark.parametrize("model", ["scratch", "embedded"])
def test_check_as_json(work, model):
    settings = [*work.settings, f"model={model}"]
    if model != "scratch":
        settings = [each for each in settings if not each.startswith("model.scratch.")]
    report = json.loads(run_llmkit("check", work.name, *settings, "--json").stdout)
    counts = {split: part["rows_read"] for split, part in report["splits"].items()}
    assert counts == {**SPLITS, "second": SPLITS["test"]}
    assert report["num_steps"] == 2
    assert len(report["samples"]) == 3


def test_check_of_the_embedded_rows(work):
    settings = ("data.limit=40", "--rows", 0, "--json")
    report = json.loads(run_llmkit("check", work.name, *settings).stdout)
    assert {part["rows_read"] for part in report["splits"].values()} == {40}
    assert [f for f in report["findings"] if f["severity"] != "note"] == []


def test_evaluate_gives_the_scores_of_the_run(work, tmp_path):
    run_llmkit("evaluate", work.run, "--output", tmp_path / "again")
    again, results = read_json(tmp_path / "again" / "metrics.json"), work.results
    assert again["scores"]["this model"] == pytest.approx(results["scores"]["fine-tuned"])
    assert again.get("groups") == results.get("groups")


def test_evaluate_its_own_predictions(work, tmp_path):
    recipe = ("--recipe", work.run / "recipe.yaml")
    command = ("evaluate", "--predictions", work.run / "predictions.jsonl", *recipe)
    if work.task.output == "text":
        assert "scored by its loss" in run_llmkit(*command, exit_code=2).stderr
        return
    run_llmkit(*command, "--output", tmp_path / "again")
    again = read_json(tmp_path / "again" / "metrics.json")
    tuned = work.results["scores"]["fine-tuned"]
    assert again["scores"]["these predictions"] == {k: v for k, v in tuned.items() if k != "loss"}


def test_compare_with_a_copy_of_itself(work, tmp_path):
    shutil.copytree(work.run, tmp_path / "copy", ignore=shutil.ignore_patterns("model", "check*"))
    command = ("compare", work.run, tmp_path / "copy")
    if work.task.output == "text":
        run_llmkit(*command, exit_code=2)
        return
    result = json.loads(run_llmkit(*command, "--json").stdout)
    assert {each["p"] for each in result["differences"].values()} == {1.0}
    shown = run_llmkit(*command).stdout
    assert all(name in shown for name in result["differences"])


def test_report_of_one_run_and_of_two(work, tmp_path):
    page = tmp_path / "page.html"
    for runs in ([work.run], [work.run, work.run]):
        run_llmkit("report", *runs, "--output", page)
        found = page.read_text("utf-8").split('id="data">')[1].split("</script>")[0]
        scores = [run["scores"] for run in json.loads(found)["runs"]]
        assert scores == [work.results["scores"]] * len(runs)


def test_generate_from_a_prompt_and_from_a_file(work, tmp_path):
    assert run_llmkit("generate", "--model", work.run, "--prompt", "Who keeps a goat?").stdout
    rows = first_rows(work.name, "test")
    if work.task.output == "text":
        rows = [{"id": row["id"], "prompt": row["text"][:40]} for row in rows]
    given = write_jsonl(tmp_path / "given.jsonl", rows)
    made = tmp_path / "made.jsonl"
    run_llmkit("generate", "--model", work.run, "--input", given, "--output", made)
    predictions = [json.loads(line) for line in made.read_text("utf-8").splitlines()]
    assert [row["id"] for row in predictions] == [row["id"] for row in rows]
    assert all(isinstance(row["prediction"], str) for row in predictions)


def test_chat_through_a_pipe(work, tmp_path):
    talk = tmp_path / "talk.jsonl"
    lines = f"Who keeps a goat?\nAnd bees?\n/save {talk}\n"
    shown = run_llmkit("chat", "--model", work.run, input=lines)
    assert len(shown.stdout.splitlines()) >= 2
    num_rows = 1 if work.name == "chat" else 2  # a conversation is one row
    assert len(talk.read_text("utf-8").splitlines()) == num_rows


def test_recipes_lists_the_task(work):
    assert work.name in run_llmkit("recipes").stdout
