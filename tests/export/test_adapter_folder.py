"""Adapters for peft."""

import shutil
from dataclasses import replace

import pytest

from llmkit.export.adapter_folder import best_checkpoint, unsupported
from llmkit.export.verification import exceeded, problems


def test_the_adapters_on_their_base_model_are_the_merged_model(lora, export, tiny_gpt2):
    written = export(lora, "adapter")
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {
        path.name for path in written.folder.iterdir()
    }
    modes = {path.stat().st_mode for path in written.folder.iterdir()}
    assert len(modes) == 1, "safetensors lets only the owner read what it writes"
    assert str(tiny_gpt2) in (written.folder / "adapter_config.json").read_text()
    assert problems(written.outputs, lora.original.outputs) == []
    assert written.figures.logit_difference < 1e-4
    assert written.figures.identical_texts == 100


def test_the_adapters_are_those_of_the_best_weights(lora, export, tiny_gpt2):
    """And change the model: the untuned one is another."""
    from llmkit.export.formats import EXACT
    from llmkit.export.hugging_face import LlmkitRuntime
    from llmkit.export.outputs import compute_outputs
    from llmkit.model.load import load_model

    untuned = compute_outputs(LlmkitRuntime(*load_model(tiny_gpt2)), lora.original.inputs)
    assert exceeded(lora.original.compare(untuned, 1), EXACT)


def test_a_run_without_adapters_is_refused(full):
    assert "trained all weights" in unsupported(full.source, "float32")


def test_adapters_of_random_weights_are_refused(lora):
    recipe = lora.source.recipe
    scratch = recipe.model_copy(
        update={"model": recipe.model.model_copy(update={"name": "scratch"})}
    )
    assert "random weights" in unsupported(replace(lora.source, recipe=scratch), "float32")


def test_a_lost_base_model_is_named(lora, tmp_path):
    recipe = lora.source.recipe
    name = str(tmp_path / "gone")
    lost = recipe.model_copy(update={"model": recipe.model.model_copy(update={"name": name})})
    assert f"model: {name}: no such folder" in unsupported(
        replace(lora.source, recipe=lost), "float32"
    )


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_lost_checkpoint_is_named(lora, tmp_path, is_gone):
    run = shutil.copytree(lora.source.run, tmp_path / "run")
    source = replace(lora.source, run=run)
    assert unsupported(source, "float32") is None
    checkpoint = best_checkpoint(source)
    if is_gone:
        shutil.rmtree(checkpoint)
    else:
        (checkpoint / "weights.safetensors").write_bytes(b"")
    assert f"{checkpoint}, which is missing or damaged" in unsupported(source, "float32")
