"""Graphs for ONNX Runtime."""

import logging

import pytest

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from llmkit.export.formats import FORMATS  # noqa: E402
from llmkit.export.onnx_folder import FILE, quietly  # noqa: E402
from llmkit.export.verification import exceeded, problems  # noqa: E402


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "lora"])
def test_onnx_runtime_computes_the_same(request, export, kind, capfd):
    of_run = request.getfixturevalue(kind)
    written = export(of_run, "onnx")
    assert problems(written.outputs, of_run.original.outputs) == []
    assert exceeded(written.figures, FORMATS["onnx"].precisions["float32"]) == []
    assert capfd.readouterr().out == ""  # the exporter reports its progress there
    session = onnxruntime.InferenceSession(written.folder / FILE)
    assert [each.name for each in session.get_inputs()] == [
        "input_ids", "past_key_values.0.key", "past_key_values.0.value",
        "past_key_values.1.key", "past_key_values.1.value", "position_ids",
    ]  # fmt: skip
    assert [each.name for each in session.get_outputs()] == [
        "logits", "present.0.key", "present.0.value", "present.1.key", "present.1.value",
    ]  # fmt: skip


def test_the_exporter_is_quiet_and_logging_continues(capsys, caplog):
    with quietly():
        print("progress")
        logging.getLogger("torch.onnx").warning("torchvision is not installed")
    assert capsys.readouterr().out == ""
    logging.getLogger("torch.onnx").warning("something else")
    assert caplog.messages == ["something else"]
