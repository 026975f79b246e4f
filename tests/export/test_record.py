"""verification.json."""

import json

from llmkit.export.record import ExportRecord


def test_a_record_survives_the_file(full, tmp_path):
    figures = full.original.compare(full.original.outputs, 12)
    record = ExportRecord("gguf:f16", 4, figures, figures)
    record.write(tmp_path)
    assert ExportRecord.read(tmp_path) == record
    assert json.loads((tmp_path / "verification.json").read_text())["name"] == "gguf:f16"
