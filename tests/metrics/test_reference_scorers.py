"""Scores of real rows, beside the command lines that publish such scores."""

import csv
import json
import random

import pytest
from rows import SHARED_DATA

from llmkit.metrics import compute
from llmkit.metrics.rouge import split_lines

needs_data = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the shared data are not here")


def spoilt(text: str, generator: random.Random) -> str:
    """The text with words left out, doubled and exchanged."""
    words = [word for word in text.split() for _ in range(generator.choice([0, 1, 1, 1, 1, 2]))]
    if len(words) > 3 and generator.random() < 0.5:
        words[1], words[2] = words[2], words[1]
    return " ".join(words) or "nothing"


def read(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def command(fork_server, tmp_path):
    """Run the command line of a scorer; returns its output."""

    def run(module, *arguments):
        process = fork_server.start(
            arguments, cwd=tmp_path, program=f"-m {module}", imports="torch"
        )
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        return output

    return run


@needs_data
def test_translation_scores_are_those_of_sacrebleus_command(command, tmp_path):
    generator = random.Random(0)
    (path,) = SHARED_DATA.glob("multi30k-en-de/test*.jsonl")
    references = [row["de"] for row in read(path)][:300]
    second = [spoilt(text, generator) for text in references]
    predictions = [spoilt(text, generator) for text in references]
    for name, texts in (("one", references), ("two", second), ("said", predictions)):
        (tmp_path / name).write_text("".join(f"{text}\n" for text in texts), "utf-8")
    output = command(
        "sacrebleu", "one", "two", "-i", "said", "-m", "bleu", "chrf", "ter", "-w", "12"
    )
    accepted = [list(pair) for pair in zip(references, second, strict=True)]
    for theirs in json.loads(output):
        name = theirs["name"].lower().removesuffix("2")
        ours = compute(name, predictions, accepted)
        assert f"{ours[name]:.12f}" == f"{theirs['score']:.12f}"


@needs_data
def test_summary_scores_are_those_of_rouge_scores_command(command, tmp_path):
    generator = random.Random(0)
    rows = read(SHARED_DATA / "scitldr" / "test.jsonl")[:200]
    references = [row["summary"][0] for row in rows]
    predictions = [spoilt(text, generator) for text in references]
    for name, texts in (("one", references), ("said", predictions)):
        content = "".join("\n".join(split_lines(text)) + "\n%%\n" for text in texts)
        (tmp_path / name).write_text(content, "utf-8")
    command(
        "rouge_score.rouge", "--target_filepattern=one", "--prediction_filepattern=said",
        "--delimiter=\n%%\n", "--use_stemmer", "--output_filename=scores.csv", "--noaggregate",
        "--rouge_types=rouge1,rouge2,rougeL,rougeLsum",
    )  # fmt: skip
    with (tmp_path / "scores.csv").open() as file:
        theirs = list(csv.DictReader(file))
    ours = compute("rouge", predictions, [[text] for text in references])
    for name, value in ours.items():
        mean = sum(float(row[f"{name}-F"]) for row in theirs) / len(theirs)
        assert value == pytest.approx(100 * mean, abs=1e-4)  # the file has six digits of each row
