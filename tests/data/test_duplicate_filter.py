"""Removal of duplicates from a stream of rows."""

import random

import numpy as np
import pytest
from checked_rows import clean_rows, found, renamed, sentence
from hypothesis import given
from hypothesis import strategies as st
from recipe_mistakes import mistakes

from llmkit.data import digest_set
from llmkit.data.duplicate_filter import (
    BAND_SIZE,
    DUPLICATE,
    NEAR_DUPLICATE,
    NUM_BANDS,
    DuplicateFilter,
    row_digests,
    without_duplicates,
)
from llmkit.data.duplicates import jaccard, shingles
from llmkit.tasks import get_task

PRETRAIN = get_task("pretrain")


def row(text: str) -> dict:
    return {"id": "", "where": text, "text": text}


def kept_texts(texts, kind, held_out=(), removed=None):
    on_removed = (lambda row, outcome: None) if removed is None else removed
    rows, others = map(row, texts), map(row, held_out)
    return [r["text"] for r in without_duplicates(rows, PRETRAIN, kind, others, on_removed)]


def random_text(rng: random.Random, length: int) -> str:
    return " ".join(f"w{rng.randrange(10**6)}" for _ in range(length))


@given(st.lists(st.sampled_from(["a", "b", " b ", "c d", "", "  "]), max_size=30))
def test_the_first_of_equal_texts_is_kept(texts):
    first = {}
    for index, text in enumerate(texts):
        first.setdefault(text.strip() or index, text)  # a text that is empty repeats nothing
    assert kept_texts(texts, "exact") == list(first.values())


def test_near_duplicates_are_removed_and_different_texts_kept():
    rng = random.Random(0)
    texts = [random_text(rng, 200) for _ in range(50)]
    edited = [f"{text.upper()}, and an end" for text in texts[:20]]
    removed = []
    kept = kept_texts(
        [*texts, *edited, texts[7]], "near", removed=lambda row, outcome: removed.append(outcome)
    )
    assert kept == texts
    assert removed == [NEAR_DUPLICATE] * 20 + [DUPLICATE]
    assert kept_texts([*texts, *edited, texts[7]], "exact") == [*texts, *edited]


@pytest.mark.parametrize("kind", ["exact", "near"])
def test_copies_of_held_out_texts_are_removed(kind):
    rng = random.Random(1)
    texts = [random_text(rng, 100) for _ in range(6)]
    held_out = [f" {texts[2]}\n", f"{texts[4]} more", ""]
    copies = {texts[2], texts[4]} if kind == "near" else {texts[2]}
    assert kept_texts([*texts, ""], kind, held_out) == [
        text for text in [*texts, ""] if text not in copies
    ]


@pytest.mark.parametrize("num_replaced", [8, 12, 20, 30])
def test_near_duplicates_are_found_with_the_documented_probability(num_replaced):
    """Words are replaced one by one, so the similarity of each pair is known."""
    rng, pairs = random.Random(num_replaced), 300
    similarities, num_found = [], 0
    known = DuplicateFilter(1 + NUM_BANDS)
    texts, copies = [], []
    for _ in range(pairs):
        words = random_text(rng, 150).split()
        texts.append([" ".join(words)])
        for place in rng.sample(range(len(words)), num_replaced):
            words[place] = f"x{rng.randrange(10**6)}"
        copies.append([" ".join(words)])
        similarities.append(jaccard(shingles(texts[-1][0]), shingles(copies[-1][0])))
    assert set(known.outcomes(row_digests(texts, "near"))) == {None}
    num_found = known.outcomes(row_digests(copies, "near")).count(NEAR_DUPLICATE)
    probabilities = 1 - (1 - np.array(similarities) ** BAND_SIZE) ** NUM_BANDS
    deviation = np.sqrt((probabilities * (1 - probabilities)).sum())
    assert abs(num_found - probabilities.sum()) < 4 * deviation


def test_the_result_depends_neither_on_chunks_nor_on_a_restart(monkeypatch):
    monkeypatch.setattr(digest_set, "BUFFER", 16)
    rng = random.Random(2)
    originals = [random_text(rng, 60) for _ in range(40)]
    texts = [[rng.choice(originals) + rng.choice(["", " again", " and again"])] for _ in range(200)]
    digests = row_digests(texts, "near")

    def outcomes(chunk: int, restarted_at: int = 0, earlier=()) -> list[str | None]:
        known, result = DuplicateFilter(digests.shape[1]), list(earlier)
        is_kept = np.array([outcome is None for outcome in earlier], bool)
        known.add(digests[:restarted_at][is_kept])
        for start in range(restarted_at, len(digests), chunk):
            result += known.outcomes(digests[start : start + chunk])
        return result

    whole = outcomes(200)
    assert 40 <= whole.count(None) < 200
    assert {DUPLICATE, NEAR_DUPLICATE} < set(whole)
    assert outcomes(1) == outcomes(7) == whole
    assert outcomes(30, restarted_at=90, earlier=whole[:90]) == whole


@pytest.mark.parametrize("task", ["summarize", "chat", "pretrain"])
def test_check_counts_removed_rows_and_no_longer_reports_them(check, task):
    train, test = renamed(clean_rows(60, seed=1), task), renamed(clean_rows(10, seed=2), task)
    train[40], train[50] = dict(train[3]), dict(test[5])
    code, report = check(train, test, "data.remove_duplicates=exact", task=task)
    assert code == 0
    counts = report["splits"]["train"]["rows"]
    assert counts["duplicate"] == 2
    assert sum(counts.values()) == report["splits"]["train"]["rows_read"] == 60
    assert found(report, "duplicate") == {"train.jsonl:41", "train.jsonl:51"}
    assert not found(report, "repeated")
    assert not found(report, "in train", "test")


def test_near_duplicates_are_removed_from_the_rows_of_a_recipe(check):
    rng = random.Random(3)
    train = [{"text": sentence(rng, 80)} for _ in range(30)]
    test = [{"text": sentence(rng, 80)} for _ in range(4)]
    train[20] = {"text": train[4]["text"].upper() + "!"}
    train[25] = {"text": test[2]["text"] + " more"}
    _, report = check(train, test, "data.remove_duplicates=near", task="pretrain")
    assert found(report, "near duplicate") == {"train.jsonl:21", "train.jsonl:26"}
    assert not found(report, "nearly repeated")
    assert not found(report, "nearly in train", "test")


def test_near_duplicates_of_other_tasks_are_rejected():
    (mistake,) = mistakes("qa", "data.remove_duplicates=near")
    assert "use exact" in mistake
