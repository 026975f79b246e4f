"""The model card: metadata of the hub, scores, a program, settings; no local path."""

import io
import logging
from collections import Counter

import numpy as np
import pytest
import yaml
from rich.console import Console

from llmkit.config.generation import Generation
from llmkit.config.schema import Data, Train
from llmkit.families import GPT2
from llmkit.metrics.prediction import Prediction
from llmkit.reports.model_card import card_of_form, interval_note, is_hub_id, model_card
from llmkit.reports.terminal import show_results
from llmkit.scoring import testset
from llmkit.scoring.comparison import compare_with_others
from llmkit.scoring.deciding_metric import choose_metric
from llmkit.scoring.scores import score_predictions
from llmkit.tasks import TASKS


def card_of(num_rows=12, base_model="gpt2", **settings):
    rows = [
        {"id": str(i), "document": f"Mara left at {i}.", "summary": f"Mara left at {i}."}
        for i in range(num_rows)
    ]
    test = testset.TestSet.of(rows, TASKS["summarize"], Counter())
    predictions = [Prediction(f"Mara left at {i % 7}.") for i in range(num_rows)]
    statistics = test.task.row_statistics(predictions, test.references)
    systems = {"fine-tuned": score_predictions(test.task, statistics, predictions)}
    results = compare_with_others(test, systems, "fine-tuned", choose_metric(test.task, None))
    data = Data(train="/home/someone/rows.jsonl")
    given = {"data": data, "generation": Generation(), "train": Train(max_steps=5), **settings}
    return results, model_card("mine", results, GPT2, base_model=base_model, seed=3, **given)


def test_the_card_has_metadata_scores_and_settings():
    results, card = card_of(train=Train(max_steps=5, learning_rate=0.5))
    _, metadata, text = card.split("---\n", 2)
    metadata = yaml.safe_load(metadata)
    assert metadata["base_model"] == "gpt2"
    assert {"llmkit", "gpt2", "summarize"} == set(metadata["tags"])
    (model,) = metadata["model-index"]
    values = {m["type"]: m["value"] for r in model["results"] for m in r["metrics"]}
    assert values == {k: round(v, 4) for k, v in results.main_system.scores.items()}
    assert results.verdict in text
    assert "| lead-3 |" in text
    assert "12 test rows; 95% intervals in brackets" in text
    assert "- learning_rate: 0.5" in text
    assert "- seed: 3" in text
    assert "prompt = '{document}\\n\\nTL;DR:'" in text
    assert "/home/someone" not in card


def test_too_few_rows_have_no_intervals():
    _, card = card_of(num_rows=3)
    assert "3 test rows; no intervals for fewer than 10" in card
    assert "[" not in card.split("|")[-2]


def test_the_intervals_of_few_long_texts_are_explained():
    """They come from blocks, of which there are more than texts."""
    task = TASKS["pretrain"]
    test = testset.TestSet.of([{"id": "0", "text": "Mara left."}], task, Counter())
    blocks = {"likelihood": np.array([[30.0 + i, 12, 40] for i in range(12)])}
    systems = {"fine-tuned": score_predictions(task, blocks, [])}
    results = compare_with_others(test, systems, "fine-tuned", choose_metric(task, None))
    assert systems["fine-tuned"].intervals
    assert "95% intervals" in interval_note(results)
    console = Console(file=io.StringIO(), width=100)
    show_results(console, {"test": results})
    assert "each score with its 95% interval" in console.file.getvalue()
    assert "no interval" not in console.file.getvalue()


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_the_program_decodes_as_the_recipe_does(temperature):
    _, card = card_of(generation=Generation(temperature=temperature, max_new_tokens=9))
    program = card.split("```python\n")[1].split("```")[0]
    compile(program, "card", "exec")
    assert "max_new_tokens=9" in program
    assert f"do_sample={temperature > 0}" in program
    assert ("temperature=0.7" in program) == (temperature > 0)


def test_the_program_stops_as_the_recipe_does_and_names_its_constraint():
    _, card = card_of(generation=Generation(stop=["\n", "'"], repetition_penalty=1.5))
    program = card.split("```python\n")[1].split("```")[0]
    compile(program, "card", "exec")
    assert """stop_strings=['\\n', "'"], tokenizer=tokenizer""" in program
    assert "repetition_penalty=1.5" in program
    _, card = card_of(generation=Generation(choices=["yes", "no"]))
    assert "choices" not in card.split("```python\n")[1].split("```")[0]
    assert "completions constrained by `choices` of the recipe" in card


def test_only_models_of_the_hub_are_named_as_base_model(tmp_path):
    assert is_hub_id("gpt2")
    assert not is_hub_id(str(tmp_path))
    assert not is_hub_id("embedded")
    _, card = card_of(base_model=str(tmp_path))
    assert "base_model" not in card
    assert str(tmp_path) not in card


@pytest.mark.parametrize("library", ["transformers", "peft", "gguf", "llmkit"])
def test_another_form_has_no_scores_and_no_program_that_cannot_open_it(tmp_path, library):
    _, card = card_of()
    (tmp_path / "README.md").write_text(card, "utf-8")
    _, metadata, text = card_of_form(tmp_path, library, "\n## Export\n").split("---\n", 2)
    metadata = yaml.safe_load(metadata)
    assert metadata["library_name"] == library
    assert metadata["base_model"] == "gpt2"
    assert "model-index" not in metadata
    assert ("AutoModelForCausalLM" in text) == (library in ("transformers", "peft"))
    assert text.index("# mine") < text.index("## Training") < text.index("## Export")


@pytest.mark.parametrize("card", ["", "# mine\n", "---\n[\n---\n# mine\n"])
def test_a_card_without_metadata_is_kept(tmp_path, card, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "propagate", True)
    (tmp_path / "README.md").write_text(card, "utf-8")
    assert card_of_form(tmp_path, "gguf", "\n## Export\n") == card + "\n## Export\n"
    assert caplog.records == []
