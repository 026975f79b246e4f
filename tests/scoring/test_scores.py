"""What a run says of its model: scores of every task, sets, groups, card, trackers."""

import json
import math

import pytest
from rows import TEXT, summary_rows, write_jsonl
from runs import SHORT
from transformers import AutoTokenizer

from llmkit.metrics.prediction import Prediction
from llmkit.scoring.baselines import score_references
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
def test_runs_of_other_tasks_end_in_scores_of_their_own(llmkit, tiny_gpt2, tmp_path, task):
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


def test_labels_have_to_be_known_and_more_than_one(llmkit, tiny_gpt2, tmp_path):
    rows = OTHER_TASKS["classify"]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    write_jsonl(tmp_path / "test.jsonl", [*rows[:3], {"text": "x", "label": "goood"}])
    settings = (f"model={tiny_gpt2}", "data.train=rows.jsonl", *SHORT, "--run-dir", "run")
    result = llmkit("finetune", "classify", "data.test=test.jsonl", *settings)
    assert result.exit_code == 2
    assert "test.jsonl:4: no training row has the label 'goood'" in result.stderr
    assert result.stderr.endswith("did you mean good?\n")
    write_jsonl(tmp_path / "rows.jsonl", rows[::3])
    result = llmkit("finetune", "classify", *settings)
    assert result.exit_code == 2
    assert "all rows have the label 'good'" in result.stderr
    result = llmkit("check", "classify", "data.test=test.jsonl", *settings[:-2])
    assert result.exit_code == 2
    assert "all rows have the label 'good'" in result.stderr
    assert not (tmp_path / "run").exists()


def test_further_test_sets_groups_and_what_was_forgotten(llmkit, tiny_gpt2, tmp_path, fork_server):
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


@pytest.mark.parametrize(("name", "better"), [("summarize", max), ("qa", max), ("translate", max)])
def test_the_best_reference_is_scored_against_the_others(name, better):
    task = TASKS[name]
    rows = [["a big cat sat here", "the big cat sat", "dogs"], ["alone"], ["one two", "two one"]]
    made = score_references(task, rows)
    assert list(made) == ["best of the references, 2 rows"]
    said = [each.text for each in made["best of the references, 2 rows"].predictions]
    metric = next(iter(task.scores))
    for accepted, best in zip((rows[0], rows[2]), said, strict=True):
        alone = {
            text: task.score([Prediction(text)], [[o for o in accepted if o is not text]])[metric]
            for text in accepted
        }
        assert alone[best] == better(alone.values())
    others = [
        [o for o in accepted if o != best]
        for accepted, best in zip((rows[0], rows[2]), said, strict=True)
    ]
    scores = task.score(list(map(Prediction, said)), others)
    assert made["best of the references, 2 rows"].scores == pytest.approx(scores)
    assert score_references(task, [["one"], ["two"]]) == {}
    assert score_references(TASKS["classify"], [["one", "two"]]) == {}


def test_random_sentences_are_the_documents_and_depend_on_its_id_alone():
    draw = TASKS["summarize"].baselines["random-3"]
    sentences = [f"Sentence number {number}." for number in range(9)]
    document = " ".join(sentences)
    drawn = [draw({"id": str(number), "document": document}) for number in range(20)]
    assert len(set(drawn)) > 10
    assert drawn[3] == draw({"id": "3", "document": document})
    for text in drawn:
        picked = [sentence for sentence in sentences if sentence in text]
        assert len(picked) == 3
        assert text == " ".join(picked)
    assert draw({"id": "1", "document": "One. Two."}) == "One. Two."


def test_a_tracker_has_to_be_installed(llmkit, tiny_gpt2, rows):
    result = llmkit(
        "finetune", "summarize", f"model={tiny_gpt2}", f"data.train={rows}", "trackers=[wandb]"
    )
    assert result.exit_code == 2
    assert result.stderr == "llmkit: trackers: wandb is not installed; pip install wandb\n"


def test_tensorboard_gets_the_figures_of_the_log(llmkit, tiny_gpt2, rows, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = llmkit(
        "finetune", "summarize", f"model={tiny_gpt2}", f"data.train={rows}", *SHORT,
        "trackers=tensorboard", "train.log_every=1", "--run-dir", "run",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    events = EventAccumulator(str(tmp_path / "run" / "llmkit")).Reload()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    for name, tag, is_validation in (
        ("loss", "loss", False),
        ("learning_rate", "learning_rate", False),
        ("rougeL", "validation/rougeL", True),
    ):
        wanted = [(x["step"], x[name]) for x in lines if ("split" in x) == is_validation]
        logged = [(event.step, event.value) for event in events.Scalars(tag)]
        assert [step for step, _ in logged] == [step for step, _ in wanted]
        assert [v for _, v in logged] == pytest.approx([v for _, v in wanted], rel=1e-6)


@pytest.mark.parametrize(
    ("task", "metric", "expected"),
    [
        ("reason", "majority_vote", "it needs evaluation.votes above 1"),
        ("qa", "NoAns_f1", "it needs rows with and rows without an answer"),
    ],
)
def test_a_metric_that_the_validation_rows_leave_undefined_is_refused_first(
    llmkit, tiny_gpt2, tmp_path, task, metric, expected
):
    rows = OTHER_TASKS.get(task) or [
        {"context": f"{TEXT[i % 3]} {i}", "question": "Who?", "answers": "Mara"} for i in range(60)
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    settings = (
        f"model={tiny_gpt2}",
        "data.train=rows.jsonl",
        *SHORT,
        f"evaluation.metric={metric}",
    )
    for command in (("check", task), ("finetune", task, "--run-dir", "run")):
        result = llmkit(*command, *settings, f"evaluation.metric={metric}")
        assert result.exit_code == 2
        assert expected in result.stderr
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize("name", ["general-text", "General-Text"])
def test_test_sets_that_would_share_a_folder_are_refused(llmkit, tmp_path, name):
    settings = (f"data.tests.{name}=a.jsonl", "data.train=a.jsonl")
    result = llmkit("check", "summarize", *settings, "evaluation.general_text=embedded")
    assert result.exit_code == 2
    assert f"data.tests.{name}: evaluation.general_text is scored under this name" in result.stderr
    result = llmkit("check", "summarize", "data.tests.Ferry=a.jsonl", *settings,
                    "data.tests.ferry=a.jsonl")  # fmt: skip
    assert result.exit_code == 2
    assert "data.tests.ferry: choose a name" in result.stderr
