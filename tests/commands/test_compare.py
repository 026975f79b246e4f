"""`compare`: files that do not name their task."""

import json

from rows import write_jsonl

ROWS = [{"id": str(n), "prediction": "yes", "references": ["yes"]} for n in range(12)]


def test_files_without_a_task_need_the_option(llmkit, tmp_path):
    for name in ("a.jsonl", "b.jsonl"):
        write_jsonl(tmp_path / name, ROWS)
    result = llmkit("compare", "a.jsonl", "b.jsonl")
    assert result.exit_code == 2
    assert "--task NAME" in result.stderr
    result = llmkit("compare", "a.jsonl", "b.jsonl", "--task", "qa", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["num_rows"] == 12
