"""Classification of pairs of texts: NLI, paraphrases, questions with a sentence."""

import json

import pytest
from rows import TEXT, write_jsonl
from runs import SHORT

from llmkit.data.columns import read_columns, shape_of
from llmkit.data.encode import encode_example, encode_text
from llmkit.errors import UserError
from llmkit.model.load import load_model
from llmkit.tasks import TASKS, to_example, with_template

CLASSIFY = TASKS["classify"]
PAIR = {"text": "Mara keeps a goat.", "text_pair": "Mara has a pet."}


def prompt_of(raw, task=CLASSIFY, columns=None):
    columns = columns or {}
    row = read_columns(raw, task, columns, shape_of(raw, task, columns), "rows.jsonl:1")
    return to_example({"id": "0", "where": "rows.jsonl:1", **row}, task).prompt_text


@pytest.mark.parametrize(
    "names",
    [
        ("premise", "hypothesis"), ("sentence1", "sentence2"), ("question1", "question2"),
        ("text", "text_pair"), ("question", "sentence"), ("Premise", "Hypothesis"),
    ],
)  # fmt: skip
def test_pairs_of_texts_are_recognized_by_their_columns(names):
    raw = {"idx": 3, **dict(zip(names, PAIR.values(), strict=True)), "label": 1}
    assert prompt_of(raw) == "Mara keeps a goat.\nMara has a pet.\nLabel:"


def test_columns_of_the_recipe_take_precedence_over_pairs():
    raw = {"premise": "P.", "hypothesis": "H.", "question": "Q?", "label": "yes"}
    columns = {"text": "question", "text_pair": "premise"}
    assert prompt_of(raw, columns=columns) == "Q?\nP.\nLabel:"
    assert prompt_of(raw, columns={"text": "premise"}) == "P.\nLabel:"
    assert prompt_of({**raw, "text": "T."}) == "T.\nLabel:"


def test_a_template_without_the_second_text_reads_only_the_first():
    task = with_template(CLASSIFY, "If {text} then {text_pair} ->")
    assert prompt_of({**PAIR, "label": "yes"}, task) == (
        "If Mara keeps a goat. then Mara has a pet. ->"
    )
    task = with_template(CLASSIFY, "{text}\nTopic:")
    assert prompt_of({**PAIR, "label": "yes"}, task) == "Mara keeps a goat.\nTopic:"
    with pytest.raises(
        UserError, match="no column 'text'; the columns are: premise, hypothesis, label"
    ):
        prompt_of({"premise": "P.", "hypothesis": "H.", "label": "yes"}, task)


@pytest.mark.parametrize(
    ("num_first", "num_second", "room", "kept"),
    [(40, 5, 30, (25, 5)), (5, 40, 30, (5, 25)), (40, 38, 30, (15, 15)), (3, 4, 30, (3, 4))],
)
def test_the_longer_text_of_a_pair_is_truncated_first(tiny_gpt2, num_first, num_second, room, kept):
    _, tokenizer = load_model(str(tiny_gpt2))
    texts = {"text": " a" * num_first, "text_pair": "a " * num_second}
    example = to_example({"id": "0", "label": "yes", **texts}, CLASSIFY)
    ids = encode_text([*(s.text for s in example.prompt), example.completion], tokenizer)
    fixed = len(ids[-2]) + len(ids[-1]) + 1  # the cue, the label, end-of-text
    added = [
        len(tokens) - number for tokens, number in zip(ids, (num_first, num_second), strict=False)
    ]
    max_length = room + fixed + sum(added)
    encoded = encode_example(example, ids, tokenizer.eos_token_id, max_length, False)
    lengths = [len(tokens) for tokens in encoded.prompt[:2]]
    assert sum(lengths) == min(room, num_first + num_second) + sum(added)
    for length, number, extra in zip(lengths, kept, added, strict=True):
        assert abs(length - number - extra) <= 1
    assert encoded.prompt[2] == ids[2]


def nli_rows(count):
    return [
        {"premise": f"{TEXT[i % 3]} {i}", "hypothesis": f"It is number {i}.", "label": i % 3}
        for i in range(count)
    ]


def test_a_run_trains_on_pairs_of_texts(llmkit, tiny_gpt2, tmp_path):
    write_jsonl(tmp_path / "nli.jsonl", nli_rows(60))
    recipe = ("classify", f"model={tiny_gpt2}", "data.train=nli.jsonl", *SHORT)
    result = llmkit("check", *recipe)
    assert result.exit_code == 0, result.output
    assert "pairs of texts: premise, hypothesis" in result.output
    result = llmkit("finetune", *recipe, "--run-dir", "run")
    assert result.exit_code == 0, result.output
    row = json.loads((tmp_path / "run" / "predictions.jsonl").read_text().splitlines()[0])
    number = row["prompt"].partition("It is number ")[2].partition(".")[0]
    assert row["prompt"] == f"{TEXT[int(number) % 3]} {number}\nIt is number {number}.\nVerdict:"
    write_jsonl(tmp_path / "new.jsonl", [{"premise": "P.", "hypothesis": "H."}])
    result = llmkit("generate", "--model", "run", "--input", "new.jsonl", "--output", "out.jsonl")
    assert result.exit_code == 0, result.output
    (said,) = (json.loads(line) for line in (tmp_path / "out.jsonl").open())
    assert said["prediction"] in ("0", "1", "2")
    assert sum(said["probabilities"].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("rows", "arguments", "expected"),
    [
        (nli_rows(9), ["data.template='{text} ->'", "data.columns.text_pair=hypothesis"],
         "data.columns.text_pair: the template does not contain {text_pair}"),
        ([*nli_rows(3), {"premise": "P.", "label": 0}], [], "nli.jsonl:4: the row does not have"),
    ],
)  # fmt: skip
def test_a_row_with_only_one_text_of_a_pair_is_refused(
    llmkit, tiny_gpt2, tmp_path, rows, arguments, expected
):
    write_jsonl(tmp_path / "nli.jsonl", rows)
    named = [f"data.{split}=nli.jsonl" for split in ("train", "validation", "test")]
    result = llmkit("finetune", "classify", f"model={tiny_gpt2}", *named, *SHORT, *arguments)
    assert result.exit_code == 2
    assert expected in result.stderr
