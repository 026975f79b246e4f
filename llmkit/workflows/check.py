"""The `check` command: inspect the rows of a recipe, without training."""

from itertools import chain

from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedTokenizerBase

from llmkit.config.generation import Generation
from llmkit.config.schema import Data, Recipe, Train
from llmkit.data.answers import count_answers, encode_labels
from llmkit.data.duplicate_filter import REMOVED
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
from llmkit.data.encoded_train import TRAIN_SET, EncodedTrain, mix, name_in_run, rows_of_mix
from llmkit.data.encoding_report import EncodingReport, join_reports
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
from llmkit.data.mixed_rows import MixedRows, drawn_sets
from llmkit.data.preview import (
    Check,
    Sample,
    SplitCheck,
    TrainingCheck,
    is_bad,
    sample_blocks,
    sample_rows,
)
from llmkit.data.recipe_task import prompt_warnings, recipe_task
from llmkit.data.rows import MixedIn, Rows
from llmkit.data.splits import held_out_rows, open_splits
from llmkit.errors import UserError
from llmkit.evaluation.evaluation_set import encode_scored_prompts
from llmkit.model.trainable import trainable_model
from llmkit.runtime.devices import start_accelerator
from llmkit.scoring.deciding_metric import check_metric, choose_metric
from llmkit.scoring.testset import TestSet
from llmkit.tasks import Row, Task, to_example
from llmkit.training.optim import warm_up_warning
from llmkit.workflows.training_setup import open_model_to_train, plan_training, steps_line


def check(recipe: Recipe, num_samples: int) -> Check:
    """Read, encode and compare all rows of a recipe, without training.

    Args:
        num_samples: Number of training rows to show as the model sees them.

    Raises:
        UserError: Nothing can be read, or training would refuse the recipe.
    """
    accelerator = start_accelerator(recipe.train.device, recipe.train.mixed_precision, recipe.seed)
    task = recipe_task(recipe)
    metric = choose_metric(task, recipe.evaluation.metric)
    splits = open_splits(recipe.data, task, recipe.evaluation, skips_unreadable=True)
    model, tokenizer = open_model_to_train(recipe, task, splits["train"])
    model = trainable_model(model, recipe.train)

    mixed = rows_of_mix(splits["train"])
    opened = splits | mixed
    rows, errors = read_splits(opened)
    findings = find_in_files(opened, errors, are_skipped=recipe.data.skip_invalid)
    of_train = {name: rows[name] for name in (TRAIN_SET, *mixed)}
    sets = encode_sets(of_train, splits, tokenizer, recipe.data)
    reports = {name: of_set.report for name, of_set in sets.items()}
    train_report = join_reports(list(reports.values()))
    findings += find_in_train(splits["train"], rows["train"], train_report)
    answers = count_answers(rows["train"], task)
    labels = encode_labels(answers, tokenizer) if task.output == "label" else {}
    for split in (name for name in splits if name != "train"):
        examples = [to_example(row, task) for row in rows[split]]
        tokenized = list(encode_segments(examples, tokenizer))
        reports[split] = report_on_scored(tokenized, task, tokenizer, recipe.data)
        test = TestSet.of_examples(rows[split], examples, task, answers)
        check_prompts(tokenized, test, labels, recipe.data, recipe.generation)
        if split == "validation":
            check_metric(metric.name, test, recipe.evaluation.votes)
        findings += find_in_scored(split, test, reports[split], train_report)
    kept = without_removed(of_train, train_report)
    read = {split: rows[split] for split in splits} | {"train": kept}
    findings += find_near(find_near_copies(read, task), findings)

    return Check(
        task.shown_prompt,
        prompt_warnings(recipe.data, task),
        split_checks(opened, reports, errors),
        by_severity(findings),
        samples_of_train(kept, sets["train"], task, tokenizer, recipe.data, num_samples),
        check_training(
            model,
            rows_to_train(sets, splits["train"].mixed),
            recipe.train,
            recipe.data,
            recipe.seed,
            accelerator,
        ),
    )


def read_splits(
    splits: dict[str, Rows],
) -> tuple[dict[str, list[Row]], dict[str, list[UserError]]]:
    """The rows of each split, and a message for each of its rows that cannot be read."""
    read = {split: list(rows.read_all()) for split, rows in splits.items()}
    rows = {split: [row for row in read[split] if not is_bad(row)] for split in splits}
    return rows, {split: list(filter(is_bad, read[split])) for split in splits}


def encode_sets(
    rows: dict[str, list[Row]],
    splits: dict[str, Rows],
    tokenizer: PreTrainedTokenizerBase,
    data: Data,
) -> dict[str, EncodedTrain]:
    """Each set of training rows as tokens. rows: Those of `train` and of the sets of `data.mix`."""
    task, options = splits["train"].task, EncodingOptions.of(data)
    sets = {}
    for name, of_set in rows.items():
        held_out = chain.from_iterable(held_out_rows(splits))
        encoded, report = encode_rows(of_set, task, tokenizer, options, held_out=held_out)
        sets[name] = EncodedTrain(EncodedRows(encoded), report, was_cached=False)
    return sets


def rows_to_train(
    sets: dict[str, EncodedTrain], mixed: dict[str, MixedIn]
) -> EncodedRows | MixedRows | None:
    """The rows that training would read; None if a set has none."""
    if not all(len(of_set.encoded) for of_set in sets.values()):
        return None
    if not mixed:
        return sets[TRAIN_SET].encoded
    named = {TRAIN_SET: sets[TRAIN_SET]} | {name: sets[name_in_run(name)] for name in mixed}
    return mix(named, {name: of_set.share for name, of_set in mixed.items()}).encoded


def without_removed(rows: dict[str, list[Row]], report: EncodingReport) -> list[Row]:
    """The rows of all sets but those that are removed as duplicates."""
    removed = {where for kind in REMOVED for where in report.rows_by_problem.get(kind, [])}
    return [row for row in chain.from_iterable(rows.values()) if row["where"] not in removed]


def report_on_scored(
    tokenized: list[TokenizedExample],
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    data: Data,
) -> EncodingReport:
    """The report on encoding rows that models are scored on."""
    options = EncodingOptions.of(data, is_scored=True)
    _, report = encode_tokenized(tokenized, task, tokenizer.eos_token_id, options)
    return report


def find_in_files(
    splits: dict[str, Rows], errors: dict[str, list[UserError]], *, are_skipped: bool
) -> list[Finding]:
    """Problems of the files. are_skipped: Whether the recipe skips rows that cannot be read."""
    findings: list[Finding] = []
    for split, rows in splits.items():
        findings += find_unreadable(split, errors[split], are_skipped=are_skipped)
        findings += find_rows_in_quotes(split, rows)
    return findings


def find_in_train(split: Rows, rows: list[Row], report: EncodingReport) -> list[Finding]:
    """Problems of the training rows. rows: Those of the split that can be read."""
    return [
        *find_in_split("train", report, None),
        *find_spellings("train", rows, split.task),
        *find_unfinished("train", rows, split.task),
        *find_kept(split.kept_in_train),
    ]


def find_in_scored(
    split: str, test: TestSet, report: EncodingReport, train_report: EncodingReport
) -> list[Finding]:
    """Problems of rows that models are scored on."""
    findings = find_in_split(split, report, train_report)
    findings += find_unscorable(split, test.examples, test.task)
    return findings + (find_same_ids(split, test.rows) if split != "validation" else [])


def split_checks(
    splits: dict[str, Rows],
    reports: dict[str, EncodingReport],
    errors: dict[str, list[UserError]],
) -> dict[str, SplitCheck]:
    return {
        split: SplitCheck(rows.source.name, rows.shape, reports[split], errors[split])
        for split, rows in splits.items()
    }


def samples_of_train(
    rows: list[Row],
    encoded: EncodedTrain,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    data: Data,
    num_samples: int,
) -> list[Sample]:
    """The first training rows as the model sees them; for plain text, blocks of tokens."""
    if task.output == "text":
        return sample_blocks(encoded.encoded.encoded, num_samples, tokenizer)
    return sample_rows(rows[:num_samples], task, tokenizer, EncodingOptions.of(data))


def check_training(
    model: nn.Module,
    rows: EncodedRows | MixedRows | None,
    settings: Train,
    data: Data,
    seed: int,
    accelerator: Accelerator,
) -> TrainingCheck | None:
    """The training that the encoded rows would get on this machine; None without rows."""
    if rows is None:
        return None
    memory, schedule = plan_training(model, rows, settings, data, seed, accelerator)
    return TrainingCheck(
        schedule.num_steps,
        schedule.padding_share(),
        steps_line(schedule),
        schedule.limit,
        memory.activation_checkpointing,
        memory.usage.parts(schedule.largest_size(0)),
        warm_up_warning(schedule.num_steps, settings),
        drawn_sets(rows),
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
