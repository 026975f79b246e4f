"""The process that opens an export."""

import re
import shutil
import sys

import numpy as np
import pytest

from llmkit.export.fresh_process import CannotOpen, compute_in_fresh_process, main


@pytest.mark.slow
def test_a_fresh_process_computes_what_the_run_computed(full, tmp_path, monkeypatch):
    """A run's own folder is an export, too."""
    if sys.version_info >= (3, 11):  # earlier ones import it
        (tmp_path / "numpy.py").write_text("raise SystemExit('imported from the current folder')")
    monkeypatch.chdir(tmp_path)
    outputs = compute_in_fresh_process("safetensors", full.source.folder, full.original.inputs)
    expected = full.original.outputs
    assert outputs.tool.startswith("transformers ")
    assert np.allclose(outputs.log_probabilities, expected.log_probabilities, atol=1e-4)
    assert outputs.completions == expected.completions
    assert outputs.tokenized_texts == expected.tokenized_texts
    assert outputs.end_tokens == expected.end_tokens


def test_a_folder_that_is_no_model_cannot_be_opened(full, tmp_path):
    """As the process finds out, and as the process that started it reports."""
    export, scratch = tmp_path / "export", tmp_path / "scratch"
    export.mkdir()
    scratch.mkdir()
    main("safetensors", str(export), str(scratch))
    reason = (scratch / "reason.txt").read_text("utf-8")
    assert re.match(r"\w+Error: .*(config\.json|model_type)", reason)
    assert list(scratch.iterdir()) == [scratch / "reason.txt"]


def test_a_process_that_fails_is_an_export_that_cannot_be_opened(full, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(CannotOpen, match="exit code 1"):
        compute_in_fresh_process("safetensors", tmp_path, full.original.inputs)


@pytest.mark.parametrize(
    ("name", "reason"), [("KILL", "memory ran out"), ("SEGV", "crashed with SIGSEGV")]
)
def test_a_process_that_a_signal_ends_is_named_by_it(full, tmp_path, monkeypatch, name, reason):
    """Not by the last line that it printed."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho a warning >&2\nkill -s {name} $$\n", "utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(CannotOpen, match=reason):
        compute_in_fresh_process("safetensors", tmp_path, full.original.inputs)
