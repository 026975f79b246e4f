"""Write llmkit's embedded rows, or a corpus for pretraining, from a seed.

    python scripts/make_rows.py                                  write the rows
    python scripts/make_rows.py --check                          compare them with the files
    python scripts/make_rows.py --corpus FILE --documents N --mix copying --seed 0
                                                                 write a pretraining corpus

The same seed gives the same bytes on every Python version from 3.10 on. Only the standard library
is used, and all facts in the texts are invented.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from world.corpus import MIXES, Corpus
from world.instructions import draw_instruction
from world.leaks import NearCopies
from world.news import draw_report
from world.patterns import draw_pair
from world.quiz import draw_question
from world.reviews import draw_review
from world.sums import draw_sum
from world.talks import draw_talk

ROWS = Path(__file__).resolve().parent.parent / "llmkit" / "embedded" / "rows"
# Test and validation are drawn first, so that rows too similar to them never reach train.
SPLITS = {"test": 200, "validation": 200, "train": 1600}
COLUMNS = {
    "summarize": ["document", "summary"],
    "translate": ["en", "de"],
    "qa": ["context", "question", "answers"],
    "classify": ["text", "label"],
    "reason": ["question", "answer"],
    "chat": ["messages"],
    "instruct": ["instruction", "input", "output"],
    "pretrain": ["text"],
}
# The size of the compared word n-grams and the highest allowed Jaccard similarity.
NEAR = {
    "summarize": (3, 0.6),
    "translate": (2, 0.7),
    "qa": (3, 0.6),
    "classify": (3, 0.6),
    "reason": (3, 0.6),
    "chat": (3, 0.6),
    "instruct": (3, 0.6),
    "pretrain": (3, 0.6),
}
# Columns that must not occur in pretraining: the sources and, if it is a sentence, the target.
SECRET = {"summarize": ["document", "summary"], "translate": ["en", "de"], "qa": ["context"]}
SECRET["pretrain"] = ["text"]

Row = dict[str, object]
Tables = dict[str, dict[str, list[Row]]]


def draw_summarize(rng: random.Random) -> Row:
    """A report and its summary."""
    report = draw_report(rng)
    return {"document": report.document, "summary": report.summary}


def draw_translate(rng: random.Random) -> Row:
    """An English sentence of 6 to 16 words and its translation."""
    pair = draw_pair(rng, low=6)
    return {"en": pair.en, "de": pair.de}


def draw_qa(rng: random.Random) -> Row:
    """A portrait, a question about it and the accepted answers."""
    portrait, query = draw_question(rng)
    return {"context": portrait.text, "question": query.question, "answers": query.answers}


def draw_classify(rng: random.Random) -> Row:
    """An entry of a guest book and its verdict."""
    review = draw_review(rng)
    return {"text": review.text, "label": review.verdict}


def draw_reason(rng: random.Random) -> Row:
    """A sum in a story and its worked answer."""
    return draw_sum(rng)._asdict()


def draw_chat(rng: random.Random) -> Row:
    """A conversation about a portrait."""
    return {"messages": draw_talk(rng)}


def draw_instruct(rng: random.Random) -> Row:
    """An instruction, often about a text, and its response."""
    return draw_instruction(rng)._asdict()


def full_text(row: Row) -> str:
    """All text of a row."""
    return " ".join(texts_of(list(row.values())))


def texts_of(value: object) -> Iterator[str]:
    """All texts in a value, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from texts_of(each)
    elif isinstance(value, dict):
        yield from texts_of(value["content"])


def build_task(task: str, draw: Callable[[], Row]) -> dict[str, list[Row]]:
    """Draw the rows of a task; near copies of accepted rows are drawn again."""
    accepted = NearCopies(*NEAR[task])
    table: dict[str, list[Row]] = {}
    for split, count in SPLITS.items():
        table[split] = []
        while len(table[split]) < count:
            row = draw()
            if accepted.is_near(full_text(row)):
                continue
            accepted.add(full_text(row))
            number = len(table[split]) + 1
            table[split].append({"id": f"{task}-{split}-{number:04d}", **row})
    return table


def held_out(tables: Tables) -> list[str]:
    """All texts of validation and test rows that no corpus may contain."""
    return [
        str(row[column])
        for task, table in tables.items()
        for split in ("validation", "test")
        for row in table[split]
        for column in SECRET[task]
    ]


def build_rows(seed: int) -> Tables:
    """Build all rows; each task has its own random stream."""
    draws = {"summarize": draw_summarize, "translate": draw_translate, "qa": draw_qa}
    tables: Tables = {}
    for number, (task, draw) in enumerate(draws.items(), start=1):
        rng = random.Random(seed * 1000 + number)
        tables[task] = build_task(task, lambda draw=draw, rng=rng: draw(rng))
    corpus = Corpus(random.Random(seed * 1000 + 4), held_out(tables), "looking-up")
    tables["pretrain"] = build_task("pretrain", lambda: {"text": corpus.document()})
    # No corpus contains texts of these kinds, so none of them must be held out.
    more = {
        "classify": draw_classify,
        "reason": draw_reason,
        "chat": draw_chat,
        "instruct": draw_instruct,
    }
    for number, (task, draw) in enumerate(more.items(), start=6):
        rng = random.Random(seed * 1000 + number)
        tables[task] = build_task(task, lambda draw=draw, rng=rng: draw(rng))
    return tables


def to_jsonl(rows: list[Row]) -> str:
    """One JSON object per line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def rendered(tables: Tables) -> Iterator[tuple[Path, str]]:
    """All row files, each with its content."""
    for task, table in tables.items():
        for split, rows in table.items():
            yield ROWS / task / f"{split}.jsonl", to_jsonl(rows)


def write_rows(tables: Tables) -> None:
    """Write all files."""
    for path, text in rendered(tables):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8"))


def changed_files(tables: Tables) -> list[str]:
    """The files that are missing or differ from the generated text."""
    return [
        str(path.relative_to(ROWS))
        for path, text in rendered(tables)
        if not path.is_file() or path.read_bytes() != text.encode("utf-8")
    ]


def write_corpus(path: Path, documents: int, mix: str, seed: int, tables: Tables) -> None:
    """Write a pretraining corpus that contains nothing of validation or test."""
    corpus = Corpus(random.Random(seed * 1000 + 5), held_out(tables), mix)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for number in range(1, documents + 1):
            row = {"id": f"corpus-{number:06d}", "text": corpus.document()}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Write the embedded rows or a corpus.")
    parser.add_argument("--check", action="store_true", help="compare the rows with the files")
    parser.add_argument("--corpus", type=Path, metavar="FILE", help="write a pretraining corpus")
    parser.add_argument("--documents", type=int, help="documents in the corpus")
    parser.add_argument("--mix", choices=MIXES, help="kinds of documents in the corpus")
    parser.add_argument("--seed", type=int, help="seed of the corpus")
    args = parser.parse_args()
    settings = [args.documents, args.mix, args.seed]
    if [setting is not None for setting in settings] != [args.corpus is not None] * 3:
        parser.error("--corpus goes with --documents, --mix and --seed")
    return args


def main() -> int:
    """Run the command line; return the exit status."""
    args = parse_args()
    tables = build_rows(seed=1)
    if args.corpus:
        write_corpus(args.corpus, args.documents, args.mix, args.seed, tables)
        return 0
    if args.check:
        changed = changed_files(tables)
        print("\n".join(changed) if changed else "rows unchanged")
        return 1 if changed else 0
    write_rows(tables)
    return 0


if __name__ == "__main__":
    sys.exit(main())
