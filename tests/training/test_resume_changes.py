"""What may change between a run and its resume, and what is refused."""

import json
import shutil
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file, save_file
from stopped_runs import KEEP_ALL, files_of, run_to_the_end, run_until, traces

from llmkit.config.recipe_files import to_yaml
from llmkit.errors import UserError
from llmkit.io.atomic import write_manifest
from llmkit.model.load import load_model
from llmkit.model.trainable import trainable_model
from llmkit.runs.find import recipe_of
from llmkit.training.resume import check_reproducibility, has_dropout
from llmkit.training.state import DROPOUT_VERSION, ReproducibilityKey


def test_resumed_run_can_be_made_longer_but_not_shorter_than_it_is(recipe, tmp_path, monkeypatch):
    run_until(recipe("train.schedule=constant"), tmp_path / "run", monkeypatch, 5)
    allowed = ("train.max_steps",)
    other = recipe("train.schedule=constant", "train.max_steps=4")
    with pytest.raises(
        UserError, match="saved after step 5, but the run now ends at step 4; raise"
    ):
        run_to_the_end(other, tmp_path / "run", resume=True, allowed_changes=allowed)
    other = recipe("train.schedule=constant", "train.max_steps=8")
    run_to_the_end(other, tmp_path / "run", resume=True, allowed_changes=allowed)
    run_to_the_end(other, tmp_path / "whole")
    assert traces(tmp_path / "run") == traces(tmp_path / "whole")


@pytest.mark.parametrize(
    ("key", "value"), [("train.micro_batch_size", 1), ("train.micro_batch_tokens", 50)]
)
def test_resume_obeys_an_allowed_change_of_the_micro_batches(stopped, recipe, key, value):
    run, _ = stopped
    before = json.loads((run / "checkpoints/step-00000004/state.json").read_text())["progress"]
    name = key.removeprefix("train.")
    assert before[name] != value
    run_to_the_end(recipe(*KEEP_ALL, f"{key}={value}"), run, resume=True, allowed_changes=(key,))
    assert traces(run)["progress"][name] == value


def test_refused_resume_leaves_the_run_unchanged(stopped, recipe):
    run, _ = stopped
    before = files_of(run)
    shorter = recipe(*KEEP_ALL, "train.max_steps=3")
    with pytest.raises(UserError, match="the run now ends at step 3"):
        run_to_the_end(shorter, run, resume=True, allowed_changes=("train.max_steps",))
    assert files_of(run) == before


def test_rows_and_model_may_move_before_a_resume(recipe, tmp_path, monkeypatch, tiny_gpt2):
    settings = recipe()
    run_until(settings, tmp_path / "run", monkeypatch, 3)
    shutil.copytree(tiny_gpt2, tmp_path / "gpt2")
    (tmp_path / "rows.jsonl").rename(tmp_path / "moved.jsonl")
    places = {split: str(tmp_path / "moved.jsonl") for split in ("train", "validation", "test")}
    moved = settings.model_copy(
        update={
            "model": settings.model.model_copy(update={"name": str(tmp_path / "gpt2")}),
            "data": settings.data.model_copy(update=places),
        }
    )
    run_to_the_end(moved, tmp_path / "run", resume=True)


def test_changed_keys_and_rows_are_refused_by_name(tmp_path, recipe, monkeypatch):
    settings, run = recipe(*KEEP_ALL), tmp_path / "run"
    run_until(settings, run, monkeypatch, 4)
    other = settings.model_copy(
        update={"seed": 7, "data": settings.data.model_copy(update={"max_length": 100})}
    )
    with pytest.raises(UserError) as caught:
        run_to_the_end(other, run, resume=True)
    first, second = str(caught.value).splitlines()
    assert first.startswith("seed: 0 in the run, 7 now")
    assert second.startswith("data.max_length: 128 in the run, 100 now")
    assert "--allow-change data.max_length" in second

    rows = tmp_path / "rows.jsonl"
    content = rows.read_text("utf-8")
    rows.write_text(content.replace("ferry", "barge"), "utf-8")
    with pytest.raises(UserError, match=r"data.train: the rows, or their tokens, are not those of"):
        run_to_the_end(settings, run, resume=True)
    allowed = ("data.train", "data.validation", "data.test")
    run_to_the_end(settings, run, resume=True, allowed_changes=allowed)
    with pytest.raises(UserError, match="this run has finished"):
        run_to_the_end(settings, run, resume=True)


def test_changed_base_model_is_refused(tiny_gpt2, tmp_path, recipe, monkeypatch):
    copy = tmp_path / "gpt2"
    shutil.copytree(tiny_gpt2, copy)
    settings = recipe(f"model={copy}")
    run_until(settings, tmp_path / "run", monkeypatch, 3)
    weights = load_file(copy / "model.safetensors")
    weights["transformer.h.0.ln_1.bias"] += 1e-3
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="model: the base model's weights are not those of the run"):
        run_to_the_end(settings, tmp_path / "run", resume=True)


@pytest.mark.parametrize("deterministic", [True, False])
def test_resume_on_a_gpu_says_that_it_is_not_bit_identical_unless_it_is(capsys, deterministic):
    key = ReproducibilityKey(
        device="cuda:0", mixed_precision="bf16", float32_matmul_precision="high",
        deterministic=deterministic, num_processes=1, threads=1, torch="2.13.0",
        model={"sha256": "0"}, data={},
    )  # fmt: skip
    check_reproducibility(SimpleNamespace(reproducibility_key=key), key, ())
    warning = "".join(capsys.readouterr().err.splitlines())
    expected = "warning: resumed on cuda:0 without train.deterministic: not bit-identical"
    assert warning == ("" if deterministic else expected)


def as_an_earlier_version(run):
    """Give the run the files that an earlier version wrote: their names, and without new fields."""
    record = json.loads((run / "run.json").read_text("utf-8"))
    (run / "recipe.yaml").write_text(to_yaml(recipe_of(run).model_dump(mode="json")), "utf-8")
    assert record.pop("given")
    (run / "run.json").write_text(json.dumps(record), "utf-8")
    for checkpoint in (run / "checkpoints").iterdir():
        state = json.loads((checkpoint / "state.json").read_text("utf-8"))
        assert state.pop("dropout_version") == DROPOUT_VERSION
        assert state.pop("decided")
        state["facts"] = state.pop("reproducibility_key")
        del state["progress"]["num_tokens"]
        state["progress"]["is_validated"] = not state["progress"].pop("validation_pending")
        (checkpoint / "state.json").write_text(json.dumps(state), "utf-8")
        (checkpoint / "manifest.json").unlink()
        write_manifest(checkpoint)


def test_resume_of_an_earlier_version_warns_once_if_the_run_has_dropout(stopped, capsys):
    run, settings = stopped
    as_an_earlier_version(run)
    run_to_the_end(settings, run, resume=True)
    steps = [line for line in traces(run)["log"] if "loss" in line and "split" not in line]
    seen = [line["tokens_seen"] for line in steps]
    assert seen[0] > 0
    assert seen == sorted(seen), "earlier versions did not count the tokens"
    warnings = "".join(capsys.readouterr().err.splitlines())
    assert warnings.count("which seeded dropout differently: from here on") == 1


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("train.dropout=0",), False),
        (("train.dropout=0.1",), True),
        (("train.dropout=null",), True),  # of the model's config
        (("train.method=lora", "train.dropout=0"), False),
        (("train.method=lora", "train.dropout=0", "train.lora.lora_dropout=0.1"), True),
    ],
)
def test_dropout_is_found_in_the_model_and_in_adapters(tiny_gpt2, recipe, overrides, expected):
    model, _ = load_model(str(tiny_gpt2))
    assert has_dropout(trainable_model(model, recipe(*overrides).train)) is expected
