"""Copies and near copies of rows, within a split and across splits."""

import json
import random
from pathlib import Path

import pytest
from checked_rows import clean_rows, conversation, found, renamed, sentence
from rows import SHARED_DATA, summary_rows, write_jsonl

from llmkit.data.findings import KINDS


def test_copies_are_found_in_train_and_across_splits(check):
    train, test = clean_rows(60, seed=1), clean_rows(20, seed=2)
    train[40] = dict(train[3])
    train[50] = {**train[4], "document": train[4]["document"].upper() + "!"}
    test[5] = dict(train[10])
    test[6] = {**train[11], "document": train[11]["document"] + " And more."}
    test[7] = {**train[12], "summary": sentence(random.Random(9), 20)}
    _, report = check(train, test)
    assert found(report, "repeated") == {"train.jsonl:41"}
    assert found(report, "nearly repeated") == {"train.jsonl:51"}
    assert found(report, "in train", "test") == {"test.jsonl:6"}
    assert found(report, "nearly in train", "test") == {"test.jsonl:7"}
    assert found(report, "source in train", "test") == {"test.jsonl:8"}
    near = [f["originals"] for f in report["findings"] if f["kind"] == "nearly in train"]
    assert near[0][0].endswith("train.jsonl:12"), "the original is named"


def test_a_shared_input_of_other_instructions_is_not_a_shared_source(check):
    """Rows are held out by the hash of instruction and input, so these are different sources."""
    train, test = clean_rows(60, seed=1), clean_rows(20, seed=2)
    passage = sentence(random.Random(9), 20)
    for rows in (train, test):
        rows[:] = [
            {"instruction": row["document"], "input": passage, "output": row["summary"]}
            for row in rows
        ]
    test[5] = {**train[10], "output": sentence(random.Random(8), 20)}
    _, report = check(train, test, task="instruct")
    assert found(report, "source in train", "test") == {"test.jsonl:6"}


def test_copies_of_conversations_are_found_despite_other_columns(check):
    train = renamed(clean_rows(60, seed=1), "chat")
    test = renamed(clean_rows(20, seed=2), "chat")
    asked, answered = (message["content"] for message in train[4]["messages"])
    train[40] = conversation(asked, answered)
    train[50] = conversation(f"{asked.upper()}!", answered)
    test[5] = conversation(asked, f"{answered} there")
    for number, row in enumerate([*train, *test]):
        row["topic"] = f"topic {number}"
    _, report = check(train, test, "evaluation.by=topic", task="chat")
    assert found(report, "repeated") == {"train.jsonl:41"}
    assert found(report, "nearly repeated") == {"train.jsonl:51"}
    assert found(report, "nearly in train", "test") == {"test.jsonl:6"}


def test_copies_of_texts_that_differ_in_white_space_are_found(check):
    texts = [row["document"] for row in clean_rows(40, seed=1)]
    train = [{"text": text} for text in [*texts, f"{texts[3]} \n"]]
    _, report = check(train, [{"text": f"\n{texts[5]}"}, {"text": "New."}], task="pretrain")
    assert found(report, "repeated") == {"train.jsonl:41"}
    assert found(report, "in train", "test") == {"test.jsonl:1"}
    (finding,) = (f for f in report["findings"] if f["kind"] == "in train")
    assert Path(finding["originals"][0]).name == "train.jsonl:6"
    assert not found(report, "nearly repeated")
    assert report["samples"][0]["pieces"][0]["text"] == "<|endoftext|>"


def test_questions_about_the_same_text_are_not_copies(check):
    rng = random.Random(4)
    rows = [
        {"context": context, "question": sentence(rng, 8) + "?", "answers": sentence(rng, 2)}
        for context in (sentence(rng, 60) for _ in range(15))
        for _ in range(3)
    ]
    rows[7] = {**rows[6], "question": "So, " + rows[6]["question"]}
    _, report = check(rows, None, "data.max_length=256", task="qa")
    assert found(report, "nearly repeated") == {"train.jsonl:8"}


def test_texts_for_pretraining_are_compared_as_a_whole(check):
    rng = random.Random(4)
    rows = [{"text": sentence(rng, 300)} for _ in range(30)]
    rows[20] = rows[3]
    rows[21] = {"text": "Once more: " + rows[4]["text"]}
    _, report = check(rows, [rows[5], {"text": sentence(rng, 300)}], task="pretrain")
    assert found(report, "repeated") == {"train.jsonl:21"}
    assert found(report, "nearly repeated") == {"train.jsonl:22"}
    assert found(report, "in train", "test") == {"test.jsonl:1"}
    assert report["splits"]["train"]["lengths"]["completion"]["50"] > 300


def test_near_copies_are_found_in_scripts_without_spaces(check):
    rng = random.Random(4)
    letters = [chr(code) for code in range(0x4E00, 0x4F00)]

    def chinese(count):
        return "，".join("".join(rng.choices(letters, k=10)) for _ in range(count))

    rows = [{"document": chinese(5), "summary": chinese(1)} for _ in range(40)]
    rows[30] = {**rows[2], "document": rows[2]["document"].replace(rows[2]["document"][12], "一")}
    _, report = check(rows)
    assert found(report, "nearly repeated") == {"train.jsonl:31"}


def test_finetune_reports_repeated_texts(llmkit, tiny_gpt2, tmp_path):
    texts = [row["document"] for row in summary_rows(40)]
    path = write_jsonl(tmp_path / "rows.jsonl", [{"text": text} for text in [*texts, texts[3]]])
    test = write_jsonl(
        tmp_path / "test.jsonl", [{"text": text} for text in [texts[5], "A new one."]]
    )
    settings = (
        f"model={tiny_gpt2}", f"data.train={path}", f"data.validation={test}", f"data.test={test}",
        "data.max_length=64", "train.epochs=null", "train.max_steps=1",
    )  # fmt: skip
    result = llmkit("finetune", "pretrain", *settings, "--run-dir", "run")
    assert result.exit_code == 0, result.output
    copy = f"train: 1 row: the same as an earlier row ({path}:41 like {path}:4)"
    leak = f"also in train, so their scores measure memorization ({test}:1 like {path}:6)"
    assert copy in result.output
    assert leak in result.output


REAL = {
    "scitldr": ("summarize", "document", "summary", ()),
    "multi30k-en-de": (
        "translate", "en", "de", ("data.columns.source=en", "data.columns.target=de"),
    ),
}  # fmt: skip


def plant(train: list[dict], test: list[dict], source: str, target: str, rng: random.Random):
    """Faulty rows to append to train; returns them with what must be found, by kind.

    The rows found are numbers (from 0) in the split that a kind is found in.
    """
    planted, expected = [], {}

    def add(split, kind, number, row):
        planted.append(row)
        expected.setdefault((split, kind), set()).add(
            number if number is not None else len(train) + len(planted) - 1
        )

    def reworded(row):
        words = row[source].split()
        words[len(words) // 2] = "elsewhere"
        return {**row, source: " ".join(words) + " !"}

    def long_enough(rows):  # of a short sentence, one word is too large a part
        return [i for i, row in enumerate(rows) if len(row[source].split()) >= 9]

    originals = iter(rng.sample(long_enough(train), 80))
    leaked = iter(rng.sample(long_enough(test), 25))
    for _ in range(20):
        add("train", "repeated", None, train[next(originals)])
        add("train", "nearly repeated", None, reworded(train[next(originals)]))
    for _ in range(15):
        number = next(leaked)
        add("test", "in train", number, test[number])
    for _ in range(10):
        number = next(leaked)
        add("test", "nearly in train", number, reworded(test[number]))
    for _ in range(15):
        words = " ".join(train[i][source] for i in rng.sample(range(len(train)), 150)).split()
        words = words[:1300]  # over 1,024 tokens, but not many times as long as a real row
        rng.shuffle(words)
        row = train[next(originals)]
        add("train", "prompt truncated", None, {**row, source: " ".join(words)})
        rng.shuffle(words)
        add("train", "completion too long", None, {**row, target: " ".join(words)})
    for number in range(10):
        name = (source, target)[number % 2]
        rng.shuffle(words)
        fresh = {source: " ".join(words[:20]), target: " ".join(words[20:30])}
        add("train", "empty", None, {**fresh, name: " \n"[: number % 3]})
    return planted, expected


LONG = (
    "model=scratch", "model.scratch.n_layer=1", "model.scratch.n_positions=1024",
    "data.max_length=1024",     "model.scratch.vocab_size=4000",
)  # fmt: skip


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real data sets are not here")
@pytest.mark.parametrize("name", REAL)
def test_problems_planted_in_a_real_data_set_are_all_found(check, figure, trials, name):
    """Copies (20 exact, 20 near), leaks (15 exact, 10 near), 30 over-long rows and 10 empty ones
    are found; beside them only what is found without them."""
    task, source, target, columns = REAL[name]
    train, test = (
        [json.loads(line) for line in (SHARED_DATA / name / f"{split}.jsonl").open()][: len(count)]
        for split, count in (("train", trials(500, 1500)), ("test", trials(120, 500)))
    )
    for row in train + test:
        row[target] = row[target] if isinstance(row[target], str) else row[target][0]
    planted, expected = plant(train, test, source, target, random.Random(3))

    def found_by_kind(rows):
        _, report = check(rows, test, *LONG, *columns, task=task)
        return {
            (split, kind): {int(row.rpartition(":")[2]) - 1 for row in found(report, kind, split)}
            for split in ("train", "test")
            for kind in KINDS
        }

    before, after = found_by_kind(train), found_by_kind(train + planted)
    new = {key: after[key] - before[key] for key in after if after[key] - before[key]}
    num_found = sum(len(new.get(key, set()) & rows) for key, rows in expected.items())
    figure(f"planted faults that are reported ({name})", num_found, of=105)
    accused = {
        (key[0], row) for key, rows in new.items() for row in rows - expected.get(key, set())
    }
    others = len(train) + len(test)
    figure(f"unchanged rows that are not reported ({name})", others - len(accused), of=others)
