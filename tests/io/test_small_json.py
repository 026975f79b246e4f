"""Small JSON files from anyone: an object, or a reason in a few words."""

import pytest

from llmkit.io.small_json import UnreadableJson, read_json


def test_an_object_is_read(tmp_path):
    (tmp_path / "a.json").write_text('{"text": "Zürich"}', "utf-8")
    assert read_json(tmp_path / "a.json") == {"text": "Zürich"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "a.json is missing"),
        (b"[1]", "a.json is not a JSON object"),
        (b"{", "a.json is not JSON"),
        (b"\xff{}", "a.json is not JSON"),
        (b"[" * 100_000, "a.json is JSON nested too deeply"),
        (b" " * 101, "a.json has 101 B; at most 100 B are read"),
    ],
)
def test_anything_else_is_refused_with_a_reason(tmp_path, content, reason):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    max_bytes = 100 if content == b" " * 101 else 2**20
    with pytest.raises(UnreadableJson, match=reason):
        read_json(path, max_bytes)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(UnreadableJson, match="is not a regular file"):
        read_json(tmp_path)
