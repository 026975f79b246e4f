"""Scores of texts in other scripts: tokenizers chosen by the references, and what is warned of."""

import json
import os
import random
import sys
from functools import partial
from types import SimpleNamespace

import pytest
import sacrebleu.sacrebleu
from rows import write_jsonl
from runs import SHORT

from llmkit.data.findings import find_unscorable
from llmkit.metrics import misjudged_as
from llmkit.metrics.prediction import Prediction
from llmkit.tasks import TASKS, Example
from scripts import SENTENCES, needs


@pytest.mark.parametrize("tokenizer", SENTENCES)
def test_scores_are_those_of_sacrebleus_command_with_the_same_tokenizer(
    tokenizer, tmp_path, monkeypatch
):
    needs(tokenizer)
    generator = random.Random(0)
    references = [generator.choice(SENTENCES[tokenizer]) for _ in range(40)]
    said = [text[: generator.randrange(len(text) // 2, len(text) + 1)] for text in references]
    for name, texts in (("references", references), ("said", said)):
        (tmp_path / name).write_text("".join(f"{text}\n" for text in texts), "utf-8")
    asian = ["--ter-normalized", "--ter-asian-support"] if tokenizer in ("zh", "ja-mecab") else []
    monkeypatch.setattr(
        sys, "argv",
        ["sacrebleu", str(tmp_path / "references"), "-i", str(tmp_path / "said"), "-w", "12",
         "-m", "bleu", "chrf", "ter", "-tok", tokenizer, *asian],
    )  # fmt: skip
    # The command opens the files of its streams anew.
    for name, path, mode in (
        ("stdin", os.devnull, os.O_RDONLY),
        ("stdout", tmp_path / "scores", os.O_WRONLY | os.O_CREAT),
    ):
        stream = SimpleNamespace(fileno=partial(os.open, path, mode))
        monkeypatch.setattr(sys, name, stream)
    sacrebleu.sacrebleu.main()
    sys.stdin.close()
    sys.stdout.close()
    monkeypatch.undo()
    theirs = {each["name"]: each for each in json.loads((tmp_path / "scores").read_text("utf-8"))}
    task = TASKS["translate"].with_metrics_for([[text] for text in references])
    ours = task.score(list(map(Prediction, said)), [[text] for text in references])
    for score, name in (("bleu", "BLEU"), ("chrf", "chrF2"), ("ter", "TER")):
        assert f"{ours[score]:.12f}" == f"{theirs[name]['score']:.12f}"
        signature = theirs[name]["signature"].removeprefix("nrefs:1|")
        assert signature.partition("|version")[0] in task.signature()


@pytest.mark.parametrize(
    ("metric", "text", "kind"),
    [
        ("rouge", "القط ينام على السرير الكبير 7 GPT", "not read"),
        ("rouge", "Паром ушёл в полдень в 2024 году", "not read"),
        ("rouge", "👍", "not read"),
        ("rouge", "Die Fähre verließ den Hafen", None),
        ("rouge", "Příliš žluťoučký kůň of Brno went home at noon", None),
        ("rouge", "", None),
        ("squad", "北京市", "not segmented"),
        ("squad:characters", "北京市", None),
        ("squad", "القط ينام", None),
        ("bleu:13a", "第7号很好我们都喜欢这个数字", "not segmented"),
        ("bleu:zh", "第7号很好我们都喜欢这个数字", None),
        ("chrf", "第7号很好我们都喜欢这个数字", None),
        ("bleu:13a", "a red dog", "too short"),
        ("bleu:13a", "a red dog.", None),
        ("bleu:13a:effective", "a red dog", None),
        ("bleu:zh", "北京市", "too short"),
        ("bleu:char", "ไทย", "too short"),
        ("ter:western", "ร้านอาหารเปิดทุกวันจันทร์", "not segmented"),
    ],
)
def test_references_that_a_metric_misjudges_are_recognized(metric, text, kind):
    assert misjudged_as(metric, text) == kind


@pytest.mark.parametrize(("num_short", "is_told"), [(12, True), (7, True), (6, False)])
def test_references_too_short_for_bleu_are_reported_if_most_are(num_short, is_told):
    texts = [("a red dog" if i < num_short else "a red dog slept there") for i in range(12)]
    examples = [Example(str(i), [], text, [text, "a dog"]) for i, text in enumerate(texts)]
    for name, kinds in (("translate", ["too short"] * is_told), ("qa", [])):
        task = TASKS[name].with_metrics_for([example.references for example in examples])
        assert [finding.kind for finding in find_unscorable("test", examples, task)] == kinds


def test_a_bleu_of_0_for_short_references_is_explained(llmkit, tmp_path):
    rows = [{"id": i, "en": f"Dog {i}.", "de": f"Hund {i}"} for i in range(12)]
    said = [{"id": row["id"], "prediction": row["de"]} for row in rows]
    train = [{"id": f"t{i}", "en": f"Cat {i}.", "de": f"Katze {i}"} for i in range(40)]
    for name, content in (("rows", rows), ("said", said), ("train", train)):
        write_jsonl(tmp_path / f"{name}.jsonl", content)
    settings = ("data.train=train.jsonl", "data.validation=rows.jsonl", "data.test=rows.jsonl",
                "data.columns.source=en", "data.columns.target=de")  # fmt: skip
    for arguments in (
        ("evaluate", "--recipe", "translate", "--predictions", "said.jsonl", *settings),
        ("check", "translate", *settings),
    ):
        result = llmkit(*arguments)
        assert result.exit_code == 0, result.output
        assert "12 rows: references of fewer than 4 tokens" in " ".join(result.output.split())


def test_a_translation_into_chinese_is_trained_and_scored_by_characters(
    llmkit, tiny_gpt2, tmp_path
):
    rows = [
        {"source": f"Number {i} is good.", "target": f"第{i}号很好我们都喜欢"} for i in range(60)
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    result = llmkit(
        "finetune", "translate", f"model={tiny_gpt2}", "data.train=rows.jsonl", *SHORT,
        "data.columns.source=source", "data.columns.target=target", "data.target_language=Chinese",
        "--run-dir", "run",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "tok:zh" in json.loads((tmp_path / "run" / "metrics.json").read_text())["signature"]
    predictions = [json.loads(line) for line in (tmp_path / "run" / "predictions.jsonl").open()]
    right = [row | {"prediction": row["references"][0]} for row in predictions]
    write_jsonl(tmp_path / "right.jsonl", right)
    result = llmkit("compare", "run", "right.jsonl", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["second"]["bleu"] == pytest.approx(100)
    result = llmkit(
        "evaluate", "--predictions", "right.jsonl", "--recipe", "run/recipe.yaml",
        "evaluation.bleu.tokenize=13a", "--output", "by-words",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "without spaces, which count as a single word" in " ".join(result.output.split())
    result = llmkit("compare", "run", "by-words")
    assert result.exit_code == 2
    assert "bleu:13a, bleu:zh" in result.stderr
