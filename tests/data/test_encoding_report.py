"""Counts of rows and tokens add up."""

from checked_rows import clean_rows

from llmkit.data.encode import encode_text
from llmkit.model.load import load_model
from llmkit.tasks import get_task, to_example


def test_counts_of_rows_and_tokens_add_up(check):
    rows = clean_rows(60, seed=1)
    rows[1]["document"] = " "
    rows[2]["document"] *= 9
    rows[3]["summary"] *= 60
    _, report = check(rows)
    train = report["splits"]["train"]
    assert sum(train["rows"].values()) == train["rows_read"] == 60
    assert train["rows"]["whole"] == 57
    tokens = train["tokens"]
    assert all(tokens[use] > 0 for use in ("supervised", "prompt", "truncated", "left out"))
    _, tokenizer = load_model("embedded")
    task = get_task("summarize")
    examples = [to_example({"id": "", **row}, task) for row in rows]
    texts = [[e.prompt[0].text, e.prompt[1].text, e.completion] for e in examples]
    read = [[len(ids) for ids in encode_text(row, tokenizer)] for row in texts]
    assert sum(tokens.values()) == sum(sum(counts) + 1 for counts in read)
    assert tokens["left out"] == sum(sum(read[i]) + 1 for i in (1, 3))
    lengths = train["lengths"]
    assert lengths["prompt"]["100"] == max(source + cue for source, cue, _ in read)
    assert lengths["completion"]["100"] == max(target for *_, target in read) + 1
    assert 0 <= report["padding_share"] < 1
    assert report["num_steps"] > 0
