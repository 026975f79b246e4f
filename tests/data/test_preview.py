"""Rows as `check` shows them: what the model sees, what is supervised, what is truncated."""

from checked_rows import clean_rows, found


def test_a_completion_is_truncated_only_if_the_recipe_allows_it(check):
    rows = clean_rows(40, seed=1)
    rows[3]["summary"] = "long " * 200
    _, report = check(rows, None, "data.truncate_completion=true", "--rows", "4")
    assert found(report, "completion truncated") == {"train.jsonl:4"}
    pieces = report["samples"][3]["pieces"]
    text = {role: "".join(p["text"] for p in pieces if p["role"] == role) for role in ROLES}
    assert (text["supervised"] + text["truncated"][-len("long ") :]).count("long") > 20
    assert "<|endoftext|>" not in text["supervised"]


ROLES = ("prompt", "truncated", "supervised")
