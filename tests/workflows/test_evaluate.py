"""Evaluation of runs and of files of predictions: scores of every task, test sets, ids."""

import json
import math

import pandas
import pytest
from rows import TEXT, summary_rows, write_jsonl
from runs import SHORT
from transformers import AutoTokenizer

from llmkit.tasks import TASKS

OTHER_TASKS = {
    "classify": [
        {"text": f"{TEXT[i % 3]} {i}", "label": ("good", "bad", "neither of these")[i % 3]}
        for i in range(60)
    ],
    "chat": [
        {"messages": [{"role": "user", "content": f"{TEXT[i % 3]} {i}?"},
                      {"role": "assistant", "content": "Mara."}] * (1 + i % 2)}
        for i in range(60)
    ],
    "reason": [
        {"question": f"{TEXT[i % 3]} {i}?", "answer": f"{i} + 1 = {i + 1}\n#### {i + 1}"}
        for i in range(60)
    ],
}  # fmt: skip


@pytest.mark.parametrize("task", OTHER_TASKS)
def test_a_run_of_each_task_ends_in_the_scores_of_its_task(llmkit, tiny_gpt2, tmp_path, task):
    write_jsonl(tmp_path / "rows.jsonl", OTHER_TASKS[task])
    votes = ("evaluation.votes=3", "generation.temperature=1") if task == "reason" else ()
    result = llmkit(
        "finetune", task, f"model={tiny_gpt2}", "data.train=rows.jsonl", *SHORT, *votes,
        "data.template=null", "data.test_fraction=0.3", "evaluation.test_rows=10",
        "--run-dir", "run",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "run" / "metrics.json").read_text())
    scores, ends = results["scores"]["fine-tuned"], results["intervals"]["fine-tuned"]
    ratings = {"mean_absolute_error", "quadratic_kappa"}  # the labels are no numbers
    assert set(scores) == {*TASKS[task].scores, "loss"} - ratings
    assert ends
    assert all(low <= scores[name] <= high for name, (low, high) in ends.items())
    rows = [json.loads(line) for line in (tmp_path / "run" / "predictions.jsonl").open()]
    tokens = [token for row in rows for token in row["expected_tokens"]]
    loss = -sum(math.log(p) for _, p in tokens) / len(tokens)
    if task != "chat":  # which learns earlier answers, too
        assert loss == pytest.approx(scores["loss"], rel=0.01)  # they have three digits
    for row in rows:
        said = "".join(text for text, _ in row["expected_tokens"])
        assert said == f" {row['references'][0]}<|endoftext|>"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    match task:
        case "classify":
            assert set(results["scores"]["majority label"]) == {"accuracy", "macro_f1"}
            assert sum(map(sum, results["confusion"]["counts"])) == len(rows)
            assert "true \\ predicted" in result.output
            assert all(sum(row["probabilities"].values()) == pytest.approx(1) for row in rows)
        case "reason":
            assert {len(row["votes"]) for row in rows} == {3}
            assert "final_answer" in results["scores"]["commonest answer"]
        case "chat":
            messages = OTHER_TASKS[task][0]["messages"][:1]
            prompt = tokenizer.apply_chat_template(messages, tokenize=False)
            assert prompt == f"User: {messages[0]['content']}\nAssistant:"
    if task != "classify":
        assert 0 <= results["diagnostics"]["stopped by itself"] <= 100
    result = llmkit("evaluate", "run", "--output", "scores")
    assert result.exit_code == 0, result.output
    result = llmkit("compare", "run", "scores", "--json")
    assert result.exit_code == 0, result.output
    few = () if task == "classify" else ("--max-new-tokens", 3)
    result = llmkit("generate", "--model", "run", "--prompt", "Who left?", *few)
    assert result.exit_code == 0, result.output


def test_further_sets_groups_and_general_text_are_scored(llmkit, tiny_gpt2, tmp_path, fork_server):
    rows = [{**row, "topic": "odd" if i % 2 else "even"} for i, row in enumerate(summary_rows(60))]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    write_jsonl(tmp_path / "other.jsonl", rows[:7])
    write_jsonl(tmp_path / "general.jsonl", [{"text": text} for text in TEXT])
    result = llmkit(
        "finetune", "summarize", f"model={tiny_gpt2}", "data.train=rows.jsonl", *SHORT,
        "data.tests.other=other.jsonl", "evaluation.by=topic",
        "evaluation.general_text=general.jsonl", "--run-dir", "run",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for expected in ("4 rows of other", "rows of general text", "perplexity"):
        assert expected in result.output
    results = json.loads((tmp_path / "run" / "metrics.json").read_text())
    topics = results["groups"]["topic"]
    assert [each["label"] for each in topics] == ["even", "odd"]
    assert sum(each["rows"] for each in topics) == results["num_rows"]
    other = json.loads((tmp_path / "run" / "sets" / "other" / "metrics.json").read_text())
    assert other["num_rows"] == 4
    general = json.loads((tmp_path / "run" / "sets" / "general-text" / "metrics.json").read_text())
    assert set(general["scores"]) == {"fine-tuned", "untuned", "xz compressor"}
    card = (tmp_path / "run" / "model" / "README.md").read_text("utf-8")
    assert "model-index:" in card
    assert "lead-3" in card
    assert str(tmp_path) not in card
    program = card.split("```python\n")[1].split("```")[0]
    (tmp_path / "program.py").write_text(program)
    process = fork_server.start(
        (), cwd=tmp_path / "run" / "model", program=str(tmp_path / "program.py")
    )
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert output

    for command in ("finetune", "check"):
        result = llmkit(command, "summarize", "data.train=rows.jsonl", "evaluation.by=[topik]")
        assert result.exit_code == 2
        assert "no column 'topik' for evaluation.by" in result.stderr


@pytest.fixture
def settings(tiny_gpt2, tmp_path):
    write_jsonl(tmp_path / "train.jsonl", summary_rows(60))
    return (f"model={tiny_gpt2}", "data.train=train.jsonl", "data.test=test.jsonl", *SHORT)


def test_rows_with_the_same_id_are_refused_by_every_command(llmkit, settings, tmp_path):
    rows = [{**row, "id": i} for i, row in enumerate(summary_rows(4))]
    rows[2]["id"] = 0.0
    del rows[3]["id"]  # which makes it 3
    rows.append({**rows[1], "id": "3"})
    write_jsonl(tmp_path / "test.jsonl", rows)
    settings = (*settings, "evaluation.test_rows=null")
    result = llmkit("check", "summarize", *settings, "--json")
    assert result.exit_code == 2
    (finding,) = (f for f in json.loads(result.stdout)["findings"] if f["kind"] == "same id")
    assert [row.rpartition("/")[2] for row in finding["rows"]] == ["test.jsonl:3", "test.jsonl:5"]
    assert [o.rpartition("/")[2] for o in finding["originals"]] == ["test.jsonl:1", "test.jsonl:4"]
    write_jsonl(tmp_path / "said.jsonl", [{"id": i, "prediction": "x"} for i in range(4)])
    for command in (
        ("finetune", "summarize", *settings, "--run-dir", "run"),
        ("evaluate", "embedded", "--recipe", "summarize", *settings),
        ("evaluate", "--predictions", "said.jsonl", "--recipe", "summarize", *settings),
    ):
        result = llmkit(*command)
        assert result.exit_code == 2, command
        assert "test: 2 rows: the id of another row" in result.stderr
        assert "test.jsonl:3 like " in result.stderr
    assert not (tmp_path / "run" / "model").exists()


def test_predictions_are_matched_by_id_or_the_missing_ids_are_named(llmkit, settings, tmp_path):
    rows = [{**row, "id": i} for i, row in enumerate(summary_rows(12))]
    write_jsonl(tmp_path / "test.jsonl", rows)
    settings = ("--recipe", "summarize", *settings, "evaluation.test_rows=null")
    said = [{"id": float(i), "prediction": row["summary"]} for i, row in enumerate(rows)]
    write_jsonl(tmp_path / "floats.jsonl", said)
    pandas.DataFrame(said).to_parquet(tmp_path / "floats.parquet")
    several = [{"id": i, "prediction": [row["summary"], "x"]} for i, row in enumerate(rows)]
    write_jsonl(tmp_path / "several.jsonl", several)
    by_id = {str(i): row["summary"] for i, row in enumerate(rows)}
    (tmp_path / "by-id.json").write_text(json.dumps(by_id))
    for name in ("floats.jsonl", "floats.parquet", "several.jsonl", "by-id.json"):
        result = llmkit("evaluate", "--predictions", name, *settings, "--output", f"of-{name}")
        assert result.exit_code == 0, result.output
        scores = json.loads((tmp_path / f"of-{name}" / "metrics.json").read_text())["scores"]
        assert scores["these predictions"]["rougeL"] == pytest.approx(100)
    pandas.DataFrame([{**row, "id": f"{row['id']}"} for row in said]).to_csv(
        tmp_path / "texts.csv", index=False
    )
    result = llmkit("evaluate", "--predictions", "texts.csv", *settings)
    assert result.exit_code == 2
    assert "expected ids: '0', '1', '2'" in result.stderr
    assert "found ids: '0.0', '1.0', '2.0'" in result.stderr
    (tmp_path / "twice.json").write_text('{"0": "x", "0": "y"}')
    result = llmkit("evaluate", "--predictions", "twice.json", *settings)
    assert result.exit_code == 2
    assert "id 0 was used before" in result.stderr


def test_a_constrained_model_is_scored_without_its_constraint_too(llmkit, tiny_gpt2, tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", summary_rows(60))
    write_jsonl(tmp_path / "general.jsonl", [{"text": text} for text in TEXT])
    result = llmkit(
        "finetune", "summarize", f"model={tiny_gpt2}", "data.train=rows.jsonl", *SHORT,
        "evaluation.general_text=general.jsonl", "generation.choices=[Ferry left., Ferry]",
        "generation.max_new_tokens=12", "--run-dir", "run",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "without its constraint" in result.output
    evaluated = llmkit("evaluate", "run", "--output", "scores")
    assert evaluated.exit_code == 0, evaluated.output
    for folder, main in (("run", "fine-tuned"), ("scores", "this model")):
        content = json.loads((tmp_path / folder / "metrics.json").read_text())
        scores = content["scores"]
        assert list(scores)[:3] == [main, f"{main}, unconstrained", "untuned"]
        assert scores[main]["loss"] == scores[f"{main}, unconstrained"]["loss"]
        assert scores[main]["rouge1"] != scores[f"{main}, unconstrained"]["rouge1"]
        rows = [json.loads(line) for line in (tmp_path / folder / "predictions.jsonl").open()]
        assert {row["prediction"] for row in rows} <= {"Ferry left.", "Ferry"}
        general = json.loads(
            (tmp_path / folder / "sets" / "general-text" / "metrics.json").read_text()
        )
        assert f"{main}, unconstrained" not in general["scores"]
    assert "fine-tuned, unconstrained" in (tmp_path / "run" / "report.html").read_text()
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "| fine-tuned, unconstrained |" in card
    assert llmkit("compare", "run", "scores").exit_code == 0
    unconstrained = llmkit("evaluate", "run", "generation.choices=[]", "--json")
    assert "unconstrained" not in unconstrained.output


@pytest.mark.parametrize("command", ["finetune", "check"])
@pytest.mark.parametrize(
    ("task", "override", "expected"),
    [
        (
            "summarize",
            "generation.regex=(a",
            "generation.regex: llguidance rejects it: (a: ",
        ),
        ("classify", "generation.choices=a,b", "generation.choices: classify predicts labels"),
    ],
)
def test_a_constraint_that_cannot_be_met_is_refused_before_training(
    llmkit, tiny_gpt2, tmp_path, command, task, override, expected
):
    run_dir = ("--run-dir", "run") if command == "finetune" else ()
    result = llmkit(command, task, f"model={tiny_gpt2}", *SHORT, override, *run_dir)
    assert result.exit_code == 2
    assert expected in result.output
    assert not (tmp_path / "run").exists()
