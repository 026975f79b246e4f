"""The work of `llmkit check`: everything that can be said about a recipe's rows before training."""

from functools import partial

from accelerate import Accelerator
from datasets import Dataset

from llmkit.config.generation import Generation
from llmkit.config.schema import Data, Recipe, Train
from llmkit.data.answers import count_answers, encode_labels
from llmkit.data.batches import batch_capacity
from llmkit.data.bpe import bpe_of
from llmkit.data.duplicates import find_near_copies
from llmkit.data.encode import (
    EncodingOptions,
    TokenizedExample,
    encode_rows,
    encode_segments,
    encode_tokenized,
    max_prompt_tokens,
)
from llmkit.data.encoded_rows import EncodedRows
from llmkit.data.findings import (
    Finding,
    by_severity,
    find_in_split,
    find_kept,
    find_near,
    find_rows_in_quotes,
    find_same_ids,
    find_spellings,
    find_unfinished,
    find_unreadable,
    find_unscorable,
)
from llmkit.data.preview import Check, SplitCheck, is_bad, sample_blocks, sample_rows
from llmkit.data.recipe_task import prompt_warnings, recipe_task
from llmkit.data.splits import open_splits
from llmkit.evaluation.evaluation_set import encode_scored_prompts
from llmkit.generation.constraint import check_constraint
from llmkit.model.load import check_max_length, open_model
from llmkit.model.trainable import trainable_model
from llmkit.runtime.devices import start_accelerator
from llmkit.scoring.deciding_metric import check_metric, choose_metric
from llmkit.scoring.testset import TestSet
from llmkit.tasks import to_example
from llmkit.training.batch_schedule import BatchSchedule
from llmkit.training.memory import BEST_TOKENS, limit_of, plan_memory
from llmkit.training.optim import warm_up_warning


def check(recipe: Recipe, num_samples: int) -> Check:
    """Read, encode and compare all rows of a recipe, without training.

    Args:
        num_samples: How many training rows to show as the model sees them.

    Raises:
        UserError: Nothing can be read, or training would refuse the recipe.
    """
    accelerator = start_accelerator(recipe.train.device, recipe.train.mixed_precision, recipe.seed)
    task = recipe_task(recipe)
    metric = choose_metric(task, recipe.evaluation.metric)
    splits = open_splits(recipe.data, task, recipe.evaluation, skips_unreadable=True)
    model, tokenizer = open_model(
        recipe.model, recipe.train.forward, recipe.seed, partial(bpe_of, splits["train"])
    )
    check_max_length(recipe.data.max_length, model)
    check_constraint(recipe.generation, tokenizer)
    model = trainable_model(model, recipe.train)

    read = {split: list(rows.read_all()) for split, rows in splits.items()}
    errors = {split: list(filter(is_bad, all_rows)) for split, all_rows in read.items()}
    rows = {split: [row for row in read[split] if not is_bad(row)] for split in splits}
    findings: list[Finding] = []
    for split in splits:
        findings += find_unreadable(split, errors[split], are_skipped=recipe.data.skip_invalid)
        findings += find_rows_in_quotes(split, splits[split])

    options = EncodingOptions.of(recipe.data)
    encoded, train_report = encode_rows(rows["train"], task, tokenizer, options)
    reports = {"train": train_report}
    findings += find_in_split("train", train_report, None)
    findings += find_spellings("train", rows["train"], task)
    findings += find_unfinished("train", rows["train"], task)
    findings += find_kept(splits["train"].kept_in_train)
    answers = count_answers(rows["train"], task)
    labels = encode_labels(answers, tokenizer) if task.output == "label" else {}

    for split in (name for name in splits if name != "train"):
        examples = [to_example(row, task) for row in rows[split]]
        tokenized = list(encode_segments(examples, tokenizer))
        options_of_scored = EncodingOptions.of(recipe.data, is_scored=True)
        _, reports[split] = encode_tokenized(
            tokenized, task, tokenizer.eos_token_id, options_of_scored
        )
        test = TestSet.of_examples(rows[split], examples, task, answers)
        check_prompts(tokenized, test, labels, recipe.data, recipe.generation)
        findings += find_in_split(split, reports[split], train_report)
        findings += find_unscorable(split, test.examples, test.task)
        if split == "validation":
            check_metric(metric.name, test, recipe.evaluation.votes)
        else:
            findings += find_same_ids(split, test.rows)
    findings += find_near(find_near_copies(rows, task), findings)

    samples = (
        sample_blocks(encoded, num_samples, tokenizer)
        if task.output == "text"
        else sample_rows(rows["train"][:num_samples], task, tokenizer, options)
    )
    schedule = make_schedule(encoded, recipe.train, recipe.data, recipe.seed, accelerator)
    memory = {}
    if schedule is not None:
        use = plan_memory(model, recipe.train, schedule.rows, accelerator).use
        memory = use.parts(schedule.largest_size(0))
    return Check(
        task.shown_prompt,
        prompt_warnings(recipe.data, task),
        {
            split: SplitCheck(
                splits[split].source.name, splits[split].shape, reports[split], errors[split]
            )
            for split in splits
        },
        by_severity(findings),
        samples,
        schedule.num_steps if schedule else 0,
        schedule.padding_share() if schedule else 0.0,
        warm_up_warning(schedule.num_steps, recipe.train) if schedule else None,
        memory,
    )


def make_schedule(
    encoded: Dataset, train: Train, data: Data, seed: int, accelerator: Accelerator
) -> BatchSchedule | None:
    """The batches that training would use, before memory is measured; None without rows."""
    if not len(encoded):
        return None
    return BatchSchedule(
        EncodedRows(encoded),
        train,
        seed=seed,
        capacity=batch_capacity(data, train.forward),
        limit=limit_of(train, BEST_TOKENS),
        num_processes=accelerator.num_processes,
    )


def check_prompts(
    tokenized: list[TokenizedExample],
    test: TestSet,
    labels: dict[str, list[int]],
    data: Data,
    generation: Generation,
) -> None:
    """Raise UserError if a scored prompt does not fit, or a label is not among `labels`."""
    if test.task.output == "text":
        return
    unlabeled = {example.where for example in test.unlabeled}
    scored = [pair for pair in tokenized if pair[0].where not in unlabeled]
    max_tokens = max_prompt_tokens(data.max_length, generation.max_new_tokens, labels)
    encode_scored_prompts(scored, labels, max_tokens)
