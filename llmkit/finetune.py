"""The main job, in order: rows, encoded rows, training, scores, report."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import (
    broadcast_object_list,
    gather_object,
    is_bf16_available,
    set_seed,
)
from datasets import Dataset
from rich.console import Console
from torch import nn
from transformers import PreTrainedTokenizerBase

from llmkit import report
from llmkit.cache import encode_cached
from llmkit.data import Rows, open_splits
from llmkit.encode import count_tokens, fingerprint, limits_of
from llmkit.engine import check_config
from llmkit.errors import UserError
from llmkit.evaluation import EvaluationSet, baseline_scores, evaluate, prepare_evaluation
from llmkit.files import expand
from llmkit.findings import find_in_split, find_unscorable, refuse_errors
from llmkit.log import RunLog
from llmkit.memory import fitting_tokens
from llmkit.model import (
    add_lora,
    commit_of,
    freeze_layers,
    load_model,
    save_model,
    scratch_model,
    set_dropout,
    unmap_weights,
    weights_fingerprint,
)
from llmkit.run import (
    is_run,
    log_path,
    model_dir,
    predictions_path,
    results_path,
    start_run,
    write_json,
    write_jsonl,
)
from llmkit.schema import Recipe
from llmkit.tasks import Scores, Task, get_task
from llmkit.train import StepOrder, train
from llmkit.tuner import BF16_PAYS, tune_cpu


@dataclass(frozen=True)
class Prepared:
    """All that training needs, made and checked before anything is written."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    train_rows: Rows
    order: StepOrder
    """The encoded training rows, step by step."""
    validation: EvaluationSet
    test: EvaluationSet
    metric: tuple[str, bool]
    """Score that chooses the best weights, and whether higher is better."""
    facts: dict
    """What the run's record says of data and model."""


def finetune(recipe: Recipe, run: Path, console: Console) -> dict[str, Scores]:
    """Run a recipe into the folder `run`; returns the final scores by model or baseline."""
    started = time.perf_counter()
    accelerator = start_accelerator(recipe)
    if not accelerator.is_main_process:
        console = Console(quiet=True)
    (run,) = broadcast_object_list([run])  # its name may hold the time of each process's start
    console.print(f"run     {run}")
    prepared = prepare(recipe, accelerator, console)
    if not prepared.test.task.is_language_modelling:
        baseline_scores(prepared.test, num_rows=1)  # a metric that cannot run fails now
    if accelerator.is_main_process:
        start_run(run, recipe, prepared.facts)
    accelerator.wait_for_everyone()

    training = train_in_run(prepared, recipe, run, accelerator, console)
    accelerator.free_memory()
    prepared.model.cpu()  # its place on the device is for others now

    def score(model: nn.Module) -> tuple[Scores, list[str]]:
        model.to(accelerator.device)
        return evaluate(model, prepared.tokenizer, prepared.test, recipe, accelerator)

    num_rows = len(prepared.test.rows)
    console.print(f"scoring the best weights and the untuned model on {num_rows} test rows")
    tuned, predictions = score(load_model(str(model_dir(run)))[0])
    untuned, _ = score(open_model(recipe, prepared.train_rows, recipe.model)[0])
    table = {"fine-tuned": tuned, "untuned": untuned, **baseline_scores(prepared.test)}
    if accelerator.is_main_process:
        write_predictions(predictions_path(run), prepared.test, predictions)
        seconds = round(time.perf_counter() - started, 1)
        results = {"scores": table, "seconds": seconds, **training}
        results["signature"] = signature(prepared.test.task)
        write_json(results_path(run), results)
        report.show_results(console, prepared.test, table, predictions)
        console.print(
            f"\n{seconds:.0f} s in all, {training['train_seconds']:.0f} s of them training"
        )
        console.print(f"model: {model_dir(run)}; llmkit generate --model {run} --prompt TEXT")
    return table


def evaluate_model(
    name: str, recipe: Recipe, console: Console, output: str | None
) -> dict[str, Scores]:
    """Score a model on the recipe's test rows, beside the recipe's own untuned model."""
    folder = check_output_folder(output)
    accelerator = start_accelerator(recipe)
    task = get_task(recipe.task, recipe.template)
    splits = open_splits(recipe.data, task, recipe.evaluation.limits)
    models = {"this model": name}
    if Path(name) != Path(recipe.model):
        models["untuned"] = recipe.model
    table, predictions = {}, {}
    for label, which in models.items():
        model, tokenizer = open_model(recipe, splits["train"], which)
        check_max_length(recipe, model)
        test = prepare_evaluation(splits["test"], task, tokenizer, recipe)
        table[label], predictions[label] = evaluate(
            model.to(accelerator.device), tokenizer, test, recipe, accelerator
        )
    table |= baseline_scores(test)
    if accelerator.is_main_process:
        report.show_scores(console, test, table)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            write_predictions(predictions_path(folder), test, predictions["this model"])
            write_json(results_path(folder), {"scores": table, "signature": signature(task)})
    return table


def check_output_folder(output: str | None) -> Path | None:
    """The folder for an evaluation's scores; UserError, before any work, when it cannot be one."""
    if output is None:
        return None
    folder = expand(output)
    if is_run(folder) or folder.is_file():
        raise UserError(f"{folder}: is a run or a file; give --output a folder of its own")
    return folder


def start_accelerator(recipe: Recipe) -> Accelerator:
    """The devices of this run, and the seed."""
    use_cpu = recipe.train.device == "cpu" or not torch.accelerator.is_available()
    if recipe.train.mixed_precision == "fp16" and use_cpu:
        raise UserError("train.mixed_precision: fp16 needs a GPU; use bf16 or no")
    num_local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    num_devices = torch.accelerator.device_count()
    if not use_cpu and num_local > num_devices:
        raise UserError(
            f"--num-processes: {num_local}, but this machine has {num_devices} accelerators; start "
            "one process each, or set train.device=cpu"
        )
    PartialState(cpu=use_cpu)
    (precision,) = broadcast_object_list([choose_precision(recipe, use_cpu)])
    accelerator = Accelerator(cpu=use_cpu, mixed_precision=precision)
    accelerator.gradient_accumulation_steps = 1  # the loop accumulates; the environment may not
    set_seed(recipe.seed)
    return accelerator


def choose_precision(recipe: Recipe, use_cpu: bool) -> str:
    """The recipe's mixed precision; of `auto` the one that is faster here."""
    if use_cpu:
        tuning = tune_cpu()
    if recipe.train.mixed_precision != "auto":
        return recipe.train.mixed_precision
    if use_cpu:
        return "bf16" if tuning.bf16_gain >= BF16_PAYS else "no"
    has_bf16 = torch.accelerator.current_accelerator().type != "cuda" or is_bf16_available()
    return "bf16" if has_bf16 else "no"


def prepare(recipe: Recipe, accelerator: Accelerator, console: Console) -> Prepared:
    """Data and model of a recipe. Every mistake of the user's shows here."""
    task = get_task(recipe.task, recipe.template)
    metric = choose_metric(recipe, task)
    splits = open_splits(recipe.data, task, recipe.evaluation.limits)
    model, tokenizer = open_model(recipe, splits["train"], recipe.model)
    check_max_length(recipe, model)
    encoded, account, was_cached = encode_cached(splits["train"], tokenizer, limits_of(recipe))
    sets = {
        split: prepare_evaluation(splits[split], task, tokenizer, recipe)
        for split in ("validation", "test")
    }
    findings = find_in_split("train", account, None)
    for split, prepared in sets.items():
        findings += find_in_split(split, prepared.account, account)
        findings += find_unscorable(split, prepared.rows, task, metric[0])
    refuse_errors(findings)
    facts = {
        "seed": recipe.seed,
        "device": str(accelerator.device),
        "mixed_precision": accelerator.mixed_precision,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "num_processes": accelerator.num_processes,
        "model": model_facts(recipe, model),
        "data": {
            split: {
                "source": splits[split].source,
                "rows": num_rows,
                "tokens_sha256": fingerprint(rows),
            }
            for split, num_rows, rows in [
                ("train", account.num_rows, encoded),
                *((name, len(s.rows), s.encoded) for name, s in sets.items()),
            ]
        },
        "train_rows": dict(account.fates),
    }
    model = trainable_model(model, recipe).to(accelerator.device)
    order = StepOrder(encoded, recipe, accelerator, fitting(model, encoded, accelerator))
    facts["micro_batch_size"] = order.micro_batch_size
    report.show_start(console, recipe, model, order, account, was_cached, accelerator)
    report.show_findings(console, [f for f in findings if f.severity == "warning"])
    train_rows = splits["train"]
    return Prepared(model, tokenizer, train_rows, order, **sets, metric=metric, facts=facts)


def fitting(model: nn.Module, encoded: Dataset, accelerator: Accelerator) -> int:
    """Tokens of a micro-batch that fit into memory in every process, since all deal alike."""
    longest = int(count_tokens(encoded)[0].max())
    precision, num_processes = accelerator.mixed_precision, accelerator.num_processes
    mine = fitting_tokens(model, accelerator.device, precision, longest, num_processes)
    return min(gather_object([mine]))


def choose_metric(recipe: Recipe, task: Task) -> tuple[str, bool]:
    """The score that chooses the best weights, and whether higher is better."""
    metric = recipe.evaluation.metric or next(iter(task.metrics))
    if metric not in task.metrics and metric != "loss":
        names = ", ".join([*task.metrics, "loss"])
        raise UserError(f"evaluation.metric: {task.name} has no score {metric!r}; it has {names}")
    return metric, task.metrics.get(metric, False)


def model_facts(recipe: Recipe, model: nn.Module) -> dict:
    """What the run's record says of the model it starts from."""
    facts = {"name": recipe.model, "sha256": weights_fingerprint(model)}
    return facts | {"commit": commit_of(Path(model.name_or_path))}


def check_max_length(recipe: Recipe, model: nn.Module) -> None:
    n_positions = model.config.n_positions
    if recipe.max_length > n_positions:
        raise UserError(
            f"max_length: {recipe.max_length} is beyond the model's {n_positions} positions; "
            f"set max_length={n_positions} or less"
        )


def open_model(
    recipe: Recipe, train_rows: Rows, name: str
) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """The recipe's model, or another one by name; `scratch` is the same one each time."""
    if name != "scratch":
        model, tokenizer = load_model(name, recipe.model_revision if name == recipe.model else None)
        if recipe.train.engine == "fast":
            check_config(model.config)
        return model, tokenizer
    set_seed(recipe.seed)
    task = train_rows.task
    texts = (row[name] for row in train_rows for name in task.columns)
    flat = (part for text in texts for part in ([text] if isinstance(text, str) else text))
    return scratch_model(recipe.scratch, flat)


def trainable_model(model: nn.Module, recipe: Recipe) -> nn.Module:
    """The model with the recipe's dropout, adapters and frozen layers."""
    settings = recipe.train
    if settings.freeze_layers > model.config.n_layer - (settings.method == "lora"):
        raise UserError(
            f"train.freeze_layers: {settings.freeze_layers} leaves nothing to train; "
            f"the model has {model.config.n_layer} blocks"
        )
    if settings.dropout is not None:
        set_dropout(model, settings.dropout)
    if settings.method == "lora":
        model = add_lora(model, settings.lora, settings.freeze_layers)
    elif settings.freeze_layers:
        freeze_layers(model, settings.freeze_layers)
    unmap_weights(model)
    return model


def train_in_run(
    prepared: Prepared, recipe: Recipe, run: Path, accelerator: Accelerator, console: Console
) -> dict:
    """Train, keep the best weights in the run's model folder; returns facts of the training."""
    started = time.perf_counter()

    def validate() -> Scores:
        return evaluate(
            prepared.model, prepared.tokenizer, prepared.validation, recipe, accelerator
        )[0]

    def keep() -> None:
        if accelerator.is_main_process:
            save_model(prepared.model, prepared.tokenizer, model_dir(run))
        accelerator.wait_for_everyone()

    path = log_path(run) if accelerator.is_main_process else None
    with RunLog(path, prepared.order.num_steps, recipe.train.log_every, console) as log:
        best_step = train(
            prepared.model,
            prepared.order,
            recipe,
            accelerator,
            log,
            validate,
            keep,
            prepared.metric,
        )
    return {"best_step": best_step, "train_seconds": round(time.perf_counter() - started, 1)}


def write_predictions(path: Path, test: EvaluationSet, predictions: list[str]) -> None:
    """id, prompt, prediction and references of each row; nothing for plain language modelling."""
    if test.task.is_language_modelling:
        return
    rows = [
        {
            "id": example.id,
            "prompt": example.prompt_text,
            "prediction": prediction,
            "references": example.references,
        }
        for example, prediction in zip(test.examples, predictions, strict=True)
    ]
    write_jsonl(path, rows)


def signature(task: Task) -> str | None:
    """Settings of the task's metrics, once they have scored something."""
    return task.signature() if task.signature else None
