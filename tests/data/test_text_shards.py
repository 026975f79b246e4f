"""The files of one part, which are complete or absent."""

import json

import pytest
from megatron_reader import read_documents

from llmkit.data.text_chunks import Document
from llmkit.data.text_shards import PartWriter, finished_parts, join_held_out
from llmkit.errors import UserError
from llmkit.io.indexed_tokens import token_type

DTYPE = token_type(300)
DOCUMENTS = [
    (Document("train", "a.jsonl:1", "One."), [5, 6]),
    (Document("validation", "a.jsonl:2", "Zwölf.", "r2", {"topic": "x"}), [7]),
    (Document("train", "a.jsonl:3", " "), [8]),
    (Document("train", "a.jsonl:4", "", error=UserError("a.jsonl:4: broken")), []),
]


def write_part(folder, number):
    part = PartWriter(folder, number, 4 * number, ["validation"], DTYPE, 0)
    for document, ids in DOCUMENTS:
        part.add(document, ids)
    part.rows[1] += len(DOCUMENTS)
    return part


def test_a_part_contains_its_documents_by_split(tmp_path):
    written = write_part(tmp_path, 1).publish()
    assert read_documents(tmp_path / "train-00001") == [[5, 6, 0]]
    assert read_documents(tmp_path / "validation-00001") == [[7, 0]]
    row = json.loads((tmp_path / "validation-00001.jsonl").read_text("utf-8"))
    assert row == {"id": "r2", "where": "a.jsonl:2", "text": "Zwölf.", "by": {"topic": "x"}}
    assert written["rows"] == [4, 8]
    assert written["splits"]["train"] == {"documents": 1, "tokens": 3}
    assert not list(tmp_path.glob("*.partial"))


def test_files_of_incomplete_parts_are_deleted(tmp_path):
    parts = [write_part(tmp_path, number).publish() for number in range(3)]
    write_part(tmp_path, 3)  # killed
    (tmp_path / "train-00002.bin").write_bytes(b"12")
    (tmp_path / "notes.txt").touch()
    assert finished_parts(tmp_path) == json.loads(json.dumps(parts[:2]))
    names = {name for part in parts[:2] for name in part["files"]}
    assert {path.name for path in tmp_path.iterdir()} == names | {
        "part-00000.json", "part-00001.json", "notes.txt"
    }  # fmt: skip


def test_an_abandoned_part_leaves_no_files(tmp_path):
    write_part(tmp_path, 0).abandon()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("num_parts", [1, 3])
def test_held_out_pieces_are_joined(tmp_path, num_parts):
    for number in range(num_parts):
        write_part(tmp_path, number).publish()
    files = join_held_out(tmp_path, "validation", num_parts, DTYPE)
    assert read_documents(tmp_path / "validation") == [[7, 0]] * num_parts
    assert len((tmp_path / "validation.jsonl").read_text("utf-8").splitlines()) == num_parts
    assert sorted(files) == ["validation.bin", "validation.idx", "validation.jsonl"]
