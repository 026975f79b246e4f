"""`adapter`: the adapters of a LoRA run without the base model, for peft."""

from importlib.metadata import version
from pathlib import Path

from torch import nn

from llmkit.constants import SCRATCH
from llmkit.data.splits import open_splits
from llmkit.errors import UserError
from llmkit.export.hugging_face import HuggingFaceRuntime
from llmkit.export.source import Source
from llmkit.io.atomic import CorruptFolder, disk_errors, verify
from llmkit.model.load import find_model, restore_mode
from llmkit.model.recipe_model import open_model
from llmkit.model.trainable import add_lora
from llmkit.runs.folder import checkpoint_dir
from llmkit.scoring.results import read_results
from llmkit.training.checkpoint import restore


def unsupported(source: Source, precision: str) -> str | None:
    """The reason why the run has no adapter to export; None if it has one."""
    if source.recipe.train.method != "lora":
        return "the run trained all weights and has no adapter; export safetensors"
    if source.recipe.model.name == SCRATCH:
        return "the run started from random weights, which no one else has; export safetensors"
    try:
        find_model(source.recipe.model.name, source.recipe.model.revision)
    except UserError as error:  # the base model is no longer there
        return str(error)
    checkpoint = best_checkpoint(source)
    try:
        verify(checkpoint)
    except (CorruptFolder, OSError) as error:
        return (
            f"the adapters are in {checkpoint}, which is missing or damaged ({error}); export "
            "safetensors, whose weights contain them"
        )
    return None


def best_checkpoint(source: Source) -> Path:
    """The checkpoint of the best weights."""
    results = read_results(source.run)
    return checkpoint_dir(source.run, (results and results.best_step) or 0)


def write(source: Source, precision: str, folder: Path) -> None:
    """Write the config and the weights of the adapters, and the tokenizer."""
    model = adapted_model(source)
    name, config = source.recipe.model.name, model.peft_config["default"]
    is_local = name == "embedded" or Path(name).is_dir()
    config.base_model_name_or_path = str(find_model(name).resolve()) if is_local else name
    config.revision = source.recipe.model.revision
    with disk_errors(folder):
        model.save_pretrained(folder, save_embedding_layers=False)
    source.tokenizer.save_pretrained(folder)
    restore_mode(folder)


def adapted_model(source: Source) -> nn.Module:
    """The model that training started from, with the best adapters."""
    recipe = source.recipe
    train = open_splits(recipe.data, source.task, recipe.evaluation)["train"]
    model, _ = open_model(recipe, train)
    adapted = add_lora(model, recipe.train.lora, recipe.train.freeze_layers)
    try:
        restore(best_checkpoint(source), adapted, None)
    except CorruptFolder as error:
        raise UserError(f"{best_checkpoint(source)}: {error}; export safetensors") from None
    return adapted


def open_folder(folder: Path) -> HuggingFaceRuntime:
    """Open the adapters in peft, on the base model that their config names."""
    from peft import PeftConfig, PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = PeftConfig.from_pretrained(folder)
    base = AutoModelForCausalLM.from_pretrained(
        config.base_model_name_or_path, revision=config.revision or "main"
    )
    model = PeftModel.from_pretrained(base, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return HuggingFaceRuntime(f"peft {version('peft')}", model, tokenizer)
