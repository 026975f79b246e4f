"""The decisions of a run: its recipe.yaml leaves nothing open and equals the given recipe."""

import pytest
import yaml
from rich.console import Console
from runs import forget_accelerator
from stopped_runs import run_to_the_end, run_until, six_steps, traces

from llmkit.config.decided import DECIDED_KEYS, with_values
from llmkit.config.recipe import load_recipe, recipe_keys, with_absolute_paths
from llmkit.config.schema import Data
from llmkit.errors import UserError
from llmkit.model.load import load_model
from llmkit.model.trainable import trainable_model
from llmkit.runs.find import has_recipe, recipe_of
from llmkit.runs.folder import recipe_path
from llmkit.runs.start import start_run
from llmkit.runtime.devices import start_accelerator
from llmkit.tasks import TASKS
from llmkit.training.optim import learning_rate_at
from llmkit.workflows.decide import decided_values, dropout_choice, metric_choices, prompt_choices
from llmkit.workflows.training_setup import setup_training

OPEN = (
    "train.mixed_precision=auto", "train.device=auto", "train.dropout=null",
    "train.micro_batch_size=null", "train.schedule=warmup_stable_decay", "train.decay_steps=null",
    "evaluation.every=null", "evaluation.metric=null", "data.template=null",
)  # fmt: skip
# Keys about which there is nothing to decide, without a model or rows of the hub, or BERTScore, or
# which only earlier versions decided.
ABSENT = {
    "model.revision", "data.revision", "evaluation.bertscore.layer", "train.micro_batch_size",
}  # fmt: skip
LANGUAGES = {"data.source_language", "data.target_language"}
WITHOUT_TEMPLATE = ("chat", "pretrain")
SCORED_BY_BLEU = ("qa", "translate")


def set_up(recipe):
    forget_accelerator()
    accelerator = start_accelerator(recipe.train.device, recipe.train.mixed_precision, recipe.seed)
    return setup_training(recipe, accelerator, Console(quiet=True))


@pytest.mark.parametrize("task", sorted(TASKS))
def test_decided_recipe_of_every_task_is_complete_and_trains_and_scores_alike(task, tmp_path):
    given = load_recipe(task, overrides=(*OPEN, "data.limit=60"))
    setup = set_up(given)
    decided = decided_values(setup)
    recipe = with_values(given, decided)
    expected = {*DECIDED_KEYS} - ABSENT
    expected -= {"data.template"} if task in WITHOUT_TEMPLATE else set()
    expected -= LANGUAGES if task != "translate" else set()
    expected -= {"evaluation.bleu.tokenize"} if task not in SCORED_BY_BLEU else set()
    assert decided.keys() == expected
    assert None not in decided.values()
    assert "auto" not in decided.values()
    keys = recipe_keys(given)
    resolved = with_values(with_absolute_paths(given), decided).model_dump(mode="json")
    start_run(tmp_path, resolved, setup.record, {key: keys[key] for key in decided})
    assert recipe_keys(load_recipe(str(recipe_path(tmp_path)))) == recipe_keys(recipe)
    assert recipe_keys(recipe_of(tmp_path)) == recipe_keys(given)

    again = set_up(recipe)
    assert decided_values(again) == {}
    assert again.record == setup.record, "the same tokens, precision and batches"
    assert again.metric == setup.metric
    assert [each.task for each in again.rows.scored.values()] == [
        each.task for each in setup.rows.scored.values()
    ]
    steps = range(setup.schedule.num_steps)
    rates = [learning_rate_at(s, len(steps), given.train) for s in steps]
    assert [learning_rate_at(s, len(steps), recipe.train) for s in steps] == rates
    assert dropout_choice(again.model) == dropout_choice(setup.model)


def test_languages_are_decided_only_if_the_template_names_them():
    columns = {"source": "fr", "target": "text"}
    assert prompt_choices("translate", Data(columns=columns)) == {
        "data.template": "{source_language}: {source}\n{target_language}:",
        "data.source_language": "French",
        "data.target_language": "German",
    }
    data = Data(columns=columns, template="In {target_language}: {source} =")
    assert prompt_choices("translate", data) == {
        "data.template": data.template,
        "data.target_language": "German",
    }


def test_dropout_of_adapters_does_not_count_and_differing_rates_stay_open(tiny_gpt2):
    model, _ = load_model(str(tiny_gpt2))
    train = load_recipe(
        "summarize", overrides=("train.method=lora", "train.lora.lora_dropout=0.3",
                                "train.dropout=null"),
    ).train  # fmt: skip
    assert dropout_choice(trainable_model(model, train)) == 0.1
    model, _ = load_model(str(tiny_gpt2))
    model.transformer.drop.p = 0.2
    assert dropout_choice(model) is None


def test_tokenizer_of_bleu_stays_open_if_test_sets_need_different_ones():
    translate = TASKS["translate"]
    german, chinese = (
        translate.with_metrics_for([[text]]) for text in ("Der Hund schläft.", "狗在睡觉。")
    )
    assert metric_choices([german, german])["evaluation.bleu.tokenize"] == "13a"
    assert metric_choices([chinese])["evaluation.bleu.tokenize"] == "zh"
    assert metric_choices([german, chinese])["evaluation.bleu.tokenize"] is None


@pytest.fixture(scope="module")
def open_recipe(tiny_gpt2, tmp_path_factory):
    """A recipe that leaves everything it can to the run."""
    return six_steps(tiny_gpt2, tmp_path_factory.mktemp("rows"), *OPEN, "evaluation.every=null")


@pytest.mark.parametrize("is_given", [True, False], ids=["given", "decided"])
def test_resume_with_the_given_or_the_decided_recipe_is_bit_identical(
    open_recipe, tmp_path, monkeypatch, is_given
):
    run = tmp_path / "stopped"
    run_to_the_end(open_recipe, tmp_path / "whole")
    run_until(open_recipe, run, monkeypatch, 4)
    decided = load_recipe(str(recipe_path(run)))
    assert (decided.train.decay_steps, decided.evaluation.every) == (1, 3)
    changed = decided.model_copy(update={"seed": 7})
    longer = with_values(decided, {"evaluation.every": 4})
    for recipe in (open_recipe, decided):
        assert has_recipe(run, recipe_keys(recipe))
    for recipe in (changed, longer):
        assert not has_recipe(run, recipe_keys(recipe))
    with pytest.raises(UserError, match=r"evaluation\.every: None in the run, 4 now; restore it"):
        run_to_the_end(longer, run, resume=True)
    run_to_the_end(open_recipe if is_given else decided, run, resume=True)
    assert traces(run) == traces(tmp_path / "whole")
    assert yaml.safe_load(recipe_path(run).read_text()) == yaml.safe_load(
        recipe_path(tmp_path / "whole").read_text()
    )
