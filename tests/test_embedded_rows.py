"""The embedded rows: their form, no leaks between splits, and no success for simple heuristics."""

from __future__ import annotations

import json
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROWS = ROOT / "llmkit" / "embedded" / "rows"
SCRIPT = ROOT / "scripts" / "make_rows.py"
sys.path.insert(0, str(SCRIPT.parent))

import make_rows  # noqa: E402
from make_rows import texts_of  # noqa: E402
from world import lexicon  # noqa: E402
from world.corpus import MIXES, Corpus  # noqa: E402
from world.leaks import NearCopies, shingles  # noqa: E402
from world.lexicon import MEN, WOMEN  # noqa: E402
from world.place_attributes import THING_NAMES  # noqa: E402

# Every list of the lexicon, and the names of the places without their article.
CANDIDATES = [value for value in vars(lexicon).values() if isinstance(value, list)]
CANDIDATES += [WOMEN + MEN, [name.removeprefix("the ") for name in THING_NAMES]]

COLUMNS = {
    "summarize": ["id", "document", "summary"],
    "translate": ["id", "en", "de"],
    "qa": ["id", "context", "question", "answers"],
    "classify": ["id", "text", "label"],
    "reason": ["id", "question", "answer"],
    "chat": ["id", "messages"],
    "instruct": ["id", "instruction", "input", "output"],
    "pretrain": ["id", "text"],
}
COUNTS = {"train": 1600, "validation": 200, "test": 200}
NEAR = dict.fromkeys(COLUMNS, (3, 0.6)) | {"translate": (2, 0.7)}
FORBIDDEN = ["TL;DR:", "Question:", "Answer:", "Context:", "English:", "German:"]


def load(task: str, split: str) -> list[dict]:
    """Read one file of rows."""
    text = (ROWS / task / f"{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def full_text(row: dict) -> str:
    """All text of a row except its id."""
    return " ".join(texts_of([value for key, value in row.items() if key != "id"]))


@pytest.mark.parametrize("task", COLUMNS)
def test_row_files_have_the_right_counts_and_columns_and_no_empty_text(task: str) -> None:
    ids = []
    for split, count in COUNTS.items():
        rows = load(task, split)
        assert len(rows) == count
        assert all(list(row) == COLUMNS[task] for row in rows)
        texts = [value for row in rows for name, value in row.items() if name != "input"]
        assert all(texts)
        ids += [row["id"] for row in rows]
    assert len(set(ids)) == len(ids)


def test_row_files_stay_small() -> None:
    assert sum(path.stat().st_size for path in ROWS.rglob("*.jsonl")) < 8_000_000


@pytest.mark.parametrize("task", COLUMNS)
def test_held_out_rows_do_not_resemble_train_rows(task: str) -> None:
    size, limit = NEAR[task]
    train = NearCopies(size, limit)
    for row in load(task, "train"):
        train.add(full_text(row))
    for split in ("validation", "test"):
        assert not [row["id"] for row in load(task, split) if train.is_near(full_text(row))]


@pytest.mark.parametrize(("task", "column"), [("summarize", "document"), ("qa", "context")])
def test_no_source_text_is_shared_between_splits(task: str, column: str) -> None:
    train = {row[column] for row in load(task, "train")}
    for split in ("validation", "test"):
        assert not train & {row[column] for row in load(task, split)}


def test_near_copies_are_measured_exactly() -> None:
    known, new = "the dog sleeps in the garden", "the dog sleeps in the kitchen"
    first, second = shingles(known, 2), shingles(new, 2)
    similarity = len(first & second) / len(first | second)
    for limit, near in ((similarity - 0.01, True), (similarity + 0.01, False)):
        index = NearCopies(2, limit)
        index.add(known)
        assert index.is_near(new) is near
        assert not index.is_near("nothing of this")


def test_held_out_texts_do_not_occur_in_the_pretrain_rows() -> None:
    pretrain = "\n".join(row["text"] for s in COUNTS for row in load("pretrain", s))
    secret = {"summarize": ["document", "summary"], "translate": ["en", "de"], "qa": ["context"]}
    for task, columns in secret.items():
        for split in ("validation", "test"):
            assert not [r["id"] for r in load(task, split) for c in columns if r[c] in pretrain]


def test_task_prompts_do_not_occur_in_the_pretrain_rows() -> None:
    for split in COUNTS:
        for row in load("pretrain", split):
            assert not [text for text in FORBIDDEN if text in row["text"]]
            assert 60 <= len(row["text"].split()) <= 150


def test_texts_have_the_intended_lengths() -> None:
    for row in load("summarize", "test"):
        assert 60 <= len(row["document"].split()) <= 110
        assert 10 <= len(row["summary"].split()) <= 18
    for row in load("translate", "test"):
        assert 6 <= len(row["en"].split()) <= 16
    for row in load("qa", "test"):
        assert 40 <= len(row["context"].split()) <= 80


def split_sentences(text: str) -> list[str]:
    """Split a report into sentences."""
    for mark in (". ", "? ", "! "):
        text = text.replace(mark, mark[0] + "\n")
    return text.split("\n")


@pytest.mark.parametrize("baseline", ["lead 1", "lead 3", "last", "random", "document"])
def test_copied_sentences_make_poor_summaries(baseline: str) -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"], True)
    rng = random.Random(0)
    choose = {
        "lead 1": lambda s: s[0],
        "lead 3": lambda s: " ".join(s[:3]),
        "last": lambda s: s[-1],
        "random": rng.choice,
        "document": " ".join,
    }[baseline]
    rows = load("summarize", "test")
    guesses = [choose(split_sentences(row["document"])) for row in rows]
    scores = [
        scorer.score(row["summary"], guess)["rougeL"].fmeasure
        for row, guess in zip(rows, guesses, strict=True)
    ]
    assert 100 * mean(scores) < 28


@pytest.mark.parametrize("split", COUNTS)
def test_answers_are_spans_of_the_context(split: str) -> None:
    for row in load("qa", split):
        assert 1 <= len(row["answers"]) <= 2
        assert all(answer in row["context"] for answer in row["answers"])
        assert all(1 <= len(answer.split()) <= 3 for answer in row["answers"])


def first_name(row: dict) -> str:
    """The first name of a person in the context."""
    words = row["context"].replace(".", "").replace(",", "").split()
    return next((word for word in words if word in WOMEN + MEN), "")


def most_frequent_capitalised(row: dict) -> str:
    """The capitalised word that occurs most often."""
    words = row["context"].replace(".", "").replace(",", "").split()
    return Counter(word for word in words if word[0].isupper()).most_common(1)[0][0]


def first_candidate(row: dict) -> str:
    """The first word of the context of the same kind as the answer (day, town, name, ...)."""
    words = [word for kind in CANDIDATES if row["answers"][0] in kind for word in kind]
    places = [(match.start(), word) for word in words for match in find(word, row)]
    return min(places, default=(0, ""))[1]


def find(word: str, row: dict) -> Iterator[re.Match]:
    """Occurrences of a word in the context."""
    return re.finditer(rf"\b{re.escape(word)}\b", row["context"])


@pytest.mark.parametrize("trick", [first_name, most_frequent_capitalised, first_candidate])
def test_simple_heuristics_do_not_answer_the_questions(trick) -> None:
    rows = load("qa", "test")
    assert mean(trick(row) in row["answers"] for row in rows) < 0.15


def test_questions_are_varied() -> None:
    assert len({" ".join(row["question"].split()[:2]) for row in load("qa", "test")}) >= 12


def test_the_generator_reproduces_the_held_out_rows_and_the_first_of_train(monkeypatch) -> None:
    monkeypatch.setattr(make_rows, "SPLITS", {"test": 200, "validation": 200, "train": 100})
    for path, text in make_rows.rendered(make_rows.build_rows(seed=1)):
        assert path.read_text(encoding="utf-8").startswith(text), path


@pytest.mark.slow
def test_the_generator_reproduces_the_files(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["make_rows.py", "--check"])
    assert make_rows.main() == 0
    assert capsys.readouterr().out.strip() == "rows unchanged"


@pytest.mark.parametrize("mix", MIXES)
def test_a_corpus_excludes_held_out_texts_and_repeats_none(mix: str) -> None:
    first = Corpus(random.Random(7), [], mix).document()
    second = Corpus(random.Random(7), [first], mix).document()
    assert first != second
    corpus = Corpus(random.Random(7), [], mix)
    assert len({corpus.document() for _ in range(300)}) == 300


def test_labels_are_balanced() -> None:
    counts = Counter(row["label"] for row in load("classify", "train"))
    assert set(counts) == {"positive", "negative", "mixed"}
    assert min(counts.values()) > 450


def test_worked_answers_are_correct() -> None:
    for split in COUNTS:
        for row in load("reason", split):
            *steps, last = row["answer"].split("\n")
            total = None
            for step in steps:
                left, sign, right, equals, result = step.split()
                assert equals == "="
                assert int(result) == int(left) + int(right) * (1 if sign == "+" else -1)
                assert total in (None, left)
                total = result
            assert last == f"#### {total}"
            assert re.search(rf"\b{steps[0].split()[0]}\b", row["question"])


def test_instructions_with_and_without_an_input_are_common() -> None:
    rows = load("instruct", "train")
    assert 0.3 < mean(not row["input"] for row in rows) < 0.6
    openings = Counter(" ".join(row["instruction"].split()[:3]) for row in rows if row["input"])
    assert len(openings) > 20


def test_copy_instructions_are_answered_from_the_input() -> None:
    for row in load("instruct", "test"):
        if row["instruction"].startswith("Copy the"):
            assert row["output"] in row["input"] + row["instruction"]


def test_chat_answers_occur_in_the_first_message() -> None:
    for row in load("chat", "test"):
        told = next(m["content"] for m in row["messages"] if m["role"] == "user")
        answers = [m["content"] for m in row["messages"] if m["role"] == "assistant"]
        assert all(answer.removesuffix(".") in told for answer in answers)
