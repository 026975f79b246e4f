"""Exports of runs: whole or not there, the same model or refused."""

import errno
import json
import os
import shutil
import signal
from dataclasses import replace

import pytest
from exported import compute_in_this_process
from rich.console import Console

from llmkit.errors import UserError
from llmkit.export import formats
from llmkit.export.formats import FORMATS, Target
from llmkit.io.atomic import verify
from llmkit.runs.folder import export_dirs
from llmkit.runtime.signals import Stopped
from llmkit.workflows import export
from llmkit.workflows.export import export_run

QUIET = Console(quiet=True)
FLOAT32 = Target("safetensors", "float32")


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """Open exports in this process, which is quicker; see tests/export/test_fresh_process.py."""
    monkeypatch.setattr(export, "compute_in_fresh_process", compute_in_this_process)


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def spoil(monkeypatch, change):
    """Let `safetensors` change what it has written."""
    written = FORMATS["safetensors"]

    def write(source, precision, folder):
        written.write(source, precision, folder)
        change(folder)

    monkeypatch.setitem(formats.FORMATS, "safetensors", replace(written, write=write))


def test_an_export_is_complete_and_in_the_card_and_the_report(run):
    (written,) = export_run(str(run), [FLOAT32], (), QUIET)
    assert written.reasons == []
    assert written.folder == run / "exports" / "safetensors-float32"
    verify(written.folder)
    card = (written.folder / "README.md").read_text("utf-8")
    assert card.startswith("---\n")
    assert "| safetensors:float32 |" in card
    assert '"safetensors:float32"' in (run / "report.html").read_text("utf-8")
    assert export_dirs(run) == [written.folder]
    record = json.loads((written.folder / "verification.json").read_text())
    assert record["num_rows"] == 4
    assert record["export"]["identical_texts"] == 100


def test_an_existing_export_is_replaced_only_by_force(run, monkeypatch):
    (written,) = export_run(str(run), [FLOAT32], (), QUIET)
    before = (written.folder / "verification.json").stat().st_ino
    with pytest.raises(UserError, match="exists already; add --force to replace it"):
        export_run(str(run), [FLOAT32], (), QUIET)
    with monkeypatch.context() as patch:
        spoil(patch, lambda folder: (folder / "config.json").unlink())
        (refused,) = export_run(str(run), [FLOAT32], (), QUIET, is_forced=True)
    assert refused.reasons
    verify(written.folder)  # a refused export replaces nothing
    assert (written.folder / "verification.json").stat().st_ino == before
    (again,) = export_run(str(run), [FLOAT32], (), QUIET, is_forced=True)
    assert again.reasons == []
    assert (written.folder / "verification.json").stat().st_ino != before


def test_a_folder_that_is_no_export_is_never_replaced(run):
    mine = run / "exports" / "safetensors-float32"
    mine.mkdir(parents=True)
    (mine / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="did not write it"):
        export_run(str(run), [FLOAT32], (), QUIET, is_forced=True)
    assert (mine / "notes.txt").read_text() == "mine"
    link = mine.with_name("safetensors-bf16")
    link.symlink_to("nowhere")
    with pytest.raises(UserError, match="is a symbolic link"):
        export_run(str(run), [Target("safetensors", "bf16")], (), QUIET, is_forced=True)


def test_a_full_disk_leaves_nothing(run, monkeypatch):
    def fill(folder):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    spoil(monkeypatch, fill)
    with pytest.raises(OSError, match="No space left"):
        export_run(str(run), [FLOAT32], (), QUIET)
    assert list((run / "exports").iterdir()) == []


def test_a_stopped_export_leaves_nothing(run, monkeypatch):
    def stop(folder):
        raise Stopped(signal.SIGTERM)

    spoil(monkeypatch, stop)
    with pytest.raises(Stopped):
        export_run(str(run), [FLOAT32], (), QUIET)
    assert list((run / "exports").iterdir()) == []


def test_leftovers_of_a_killed_export_are_replaced_and_not_mistaken_for_an_export(run):
    left = run / "exports" / "safetensors-float32.partial"
    left.mkdir(parents=True)
    (left / "verification.json").write_text("{}")
    assert export_dirs(run) == []
    (written,) = export_run(str(run), [FLOAT32], (), QUIET)
    assert written.reasons == []
    assert export_dirs(run) == list((run / "exports").iterdir()) == [written.folder]


def test_a_kill_between_two_renames_does_not_lose_the_export(run):
    (written,) = export_run(str(run), [FLOAT32], (), QUIET)
    written.folder.rename(written.folder.with_name("safetensors-float32.replaced"))
    with pytest.raises(UserError, match="exists already"):
        export_run(str(run), [FLOAT32], (), QUIET)
    verify(written.folder)


def test_an_export_can_use_other_test_rows_and_another_folder(run, tmp_path):
    (written,) = export_run(
        str(run), [FLOAT32], ("evaluation.test_rows=2",), QUIET, output=str(tmp_path / "mine")
    )
    assert written.folder == tmp_path / "mine" / "safetensors-float32"
    assert written.record.num_rows == 2
    assert not (run / "exports").exists()


def test_a_format_that_cannot_hold_the_model_is_refused_before_any_work(run):
    with pytest.raises(UserError, match="--to adapter:float32: the run trained all weights"):
        export_run(str(run), [FLOAT32, Target("adapter", "float32")], (), QUIET)
    assert not (run / "exports").exists()
