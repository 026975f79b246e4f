"""Starting a run: its folder, its lock and what it records."""

import json

import yaml

from llmkit.runs.folder import recipe_path, record_path
from llmkit.runs.record import ModelRecord, RunRecord, SplitRecord
from llmkit.runs.start import claim_run_dir, is_training, run_lock, start_run


def test_default_names_do_not_collide(tmp_path):
    run = tmp_path / "runs" / "qa-20260101-120000"
    claimed = [claim_run_dir(run) for _ in range(3)]
    assert [path.name for path in claimed] == [run.name, f"{run.name}-2", f"{run.name}-3"]
    assert all(path.is_dir() for path in claimed)


RECORD = RunRecord(
    findings=[], seed=0, device="cpu", mixed_precision="no", float32_matmul_precision="highest",
    deterministic=True, num_processes=1, model=ModelRecord("embedded", "0" * 64, None),
    data={"train": SplitRecord("rows.jsonl", 3, "1" * 64)}, train_rows={"whole": 3}, labels=[],
    micro_batch_size=4, num_steps=2,
)  # fmt: skip


def test_a_run_records_its_recipe_and_what_it_is_made_of(tmp_path):
    start_run(tmp_path, {"task": "qa", "seed": 3}, RECORD, {"train.device": "auto"})
    assert yaml.safe_load(recipe_path(tmp_path).read_text("utf-8")) == {"task": "qa", "seed": 3}
    record = json.loads(record_path(tmp_path).read_text("utf-8"))
    assert record["data"]["train"]["rows"] == 3
    assert record["given"] == {"train.device": "auto"}
    assert {"llmkit", "torch", "transformers"} <= record["libraries"].keys()


def test_a_resumed_run_keeps_the_time_of_its_start(tmp_path):
    record_path(tmp_path).write_text('{"started": "2026-01-01T00:00:00+00:00"}', "utf-8")
    start_run(tmp_path, {}, RECORD, {})
    record = json.loads(record_path(tmp_path).read_text("utf-8"))
    assert record["started"] == "2026-01-01T00:00:00+00:00"


def test_only_a_locked_folder_is_training(tmp_path):
    assert not is_training(tmp_path)
    with run_lock(tmp_path):
        assert is_training(tmp_path)
    assert not is_training(tmp_path)
