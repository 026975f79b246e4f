"""`llmkit check`: what can be known about a recipe's rows before training, without training."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from llmkit.account import EncodingReport
from llmkit.data import open_splits
from llmkit.devices import start_accelerator
from llmkit.duplicates import find_near_copies
from llmkit.encode import (
    Encoded,
    EncodingOptions,
    encode_examples,
    encode_rows,
    encoding_options,
)
from llmkit.errors import UserError
from llmkit.evaluation import count_answers, encode_labels, prepare_prompts
from llmkit.findings import (
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
from llmkit.order import BatchSchedule
from llmkit.prepare import check_max_length, open_model, trainable_model
from llmkit.schema import Recipe
from llmkit.scores import TestSet, check_metric, choose_metric
from llmkit.shapes import Shape
from llmkit.tasks import Row, Task, prompt_warnings, recipe_task

PERCENTILES = (50, 90, 99, 100)


@dataclass(frozen=True)
class SplitCheck:
    """What was read of one split."""

    source: str
    shape: Shape | None
    """The shape of instruction data that its rows have."""
    account: EncodingReport
    errors: list[UserError]
    """A message for each row that cannot be read."""

    @property
    def num_rows(self) -> int:
        """Rows read, by fate or unreadable."""
        return self.account.num_rows + len(self.errors)

    @property
    def lengths(self) -> dict[str, list[int]]:
        """PERCENTILES of prompt and completion (end-of-text included) as read; tokens."""
        lengths = {part: self.account.column(part) for part in ("prompt", "completion")}
        if not self.account.num_rows:
            return {part: [0] * len(PERCENTILES) for part in lengths}
        return {
            part: np.percentile(values, PERCENTILES, method="inverted_cdf").astype(int).tolist()
            for part, values in lengths.items()
        }


@dataclass(frozen=True)
class Piece:
    """A part of a row as the model sees it."""

    text: str
    role: str
    """`prompt`, `cut` or `trained`."""


@dataclass(frozen=True)
class Sample:
    """A training row in pieces."""

    where: str
    fate: str
    pieces: list[Piece]


@dataclass(frozen=True)
class Check:
    """All of it. The texts of all splits are in memory while it is made."""

    prompt: str | None
    """How prompts look; None for plain language modelling."""
    prompt_warnings: list[str]
    """What in the prompt contradicts the data."""
    splits: dict[str, SplitCheck]
    findings: list[Finding]
    samples: list[Sample]
    order: BatchSchedule | None
    """The steps of the run; None where nothing is left to train on."""

    def to_json(self) -> dict[str, Any]:
        splits = {
            name: {
                "source": split.source,
                "shape": split.shape.name if split.shape else None,
                "rows_read": split.num_rows,
                "rows": {**split.account.fates, "unreadable": len(split.errors)},
                "tokens": split.account.tokens,
                "supervised_share": split.account.supervised_share,
                "lengths": {
                    part: dict(zip(map(str, PERCENTILES), values, strict=True))
                    for part, values in split.lengths.items()
                },
            }
            for name, split in self.splits.items()
        }
        findings = [{"severity": f.severity, **asdict(f)} for f in self.findings]
        return {
            "prompt": self.prompt,
            "prompt_warnings": self.prompt_warnings,
            "splits": splits,
            "findings": findings,
            "num_steps": self.order.num_steps if self.order else 0,
            "padding_share": self.order.padding_share() if self.order else 0.0,
            "samples": [asdict(sample) for sample in self.samples],
        }


def check(recipe: Recipe, num_samples: int) -> Check:
    """Read, encode and compare all rows of a recipe; raises UserError where nothing can be read."""
    accelerator = start_accelerator(recipe)
    task = recipe_task(recipe)
    metric, _ = choose_metric(recipe, task)
    splits = open_splits(recipe.data, task, recipe.evaluation, skips_unreadable=True)
    model, tokenizer = open_model(recipe, splits["train"], recipe.model)
    check_max_length(recipe, model)
    trainable_model(model, recipe)

    read = {split: list(rows.read_all()) for split, rows in splits.items()}
    rows = {split: [row for row in all if not is_bad(row)] for split, all in read.items()}
    checks: dict[str, SplitCheck] = {}
    findings: list[Finding] = []
    for split in splits:
        limits = encoding_options(recipe, is_scored=split != "train")
        encoded, account = encode_rows(rows[split], task, tokenizer, limits)
        errors = list(filter(is_bad, read[split]))
        checks[split] = SplitCheck(splits[split].source, splits[split].shape, account, errors)
        findings += find_unreadable(split, errors, are_skipped=recipe.data.skip_invalid)
        findings += find_rows_in_quotes(split, splits[split])
        if split == "train":
            findings += find_in_split(split, account, None)
            findings += find_spellings(split, rows[split], task)
            findings += find_unfinished(split, rows[split], task)
            findings += find_kept(splits[split].kept)
            answers = count_answers(rows[split], task)
            labels = encode_labels(answers, tokenizer) if task.chooses else {}
            order = BatchSchedule(encoded, recipe, accelerator) if len(encoded) else None
            if task.is_language_modelling:
                samples = sample_blocks(encoded, num_samples, tokenizer)
            else:
                samples = sample_rows(rows[split][:num_samples], task, tokenizer, limits)
        else:
            findings += find_in_split(split, account, checks["train"].account)
            test = TestSet.of(rows[split], task, answers)
            findings += find_unscorable(split, test.examples, test.task)
            prepare_prompts(test.examples, task, tokenizer, recipe, labels)
            if split == "validation":
                check_metric(metric, test, recipe.evaluation.votes)
            else:
                findings += find_same_ids(split, test.rows)
    findings += find_near(find_near_copies(rows, task), findings)
    warnings = prompt_warnings(recipe, task)
    return Check(task.shown_prompt, warnings, checks, by_severity(findings), samples, order)


def is_bad(row: Row | UserError) -> bool:
    return isinstance(row, UserError)


def sample_rows(
    rows: Iterable[Row], task: Task, tokenizer: PreTrainedTokenizerBase, limits: EncodingOptions
) -> list[Sample]:
    """Each row in the pieces that the model sees, does not see, and learns."""
    return [
        Sample(example.where, encoded.fate, list(pieces_of(ids, encoded, tokenizer)))
        for example, ids, encoded in encode_examples(rows, task, tokenizer, limits)
    ]


def sample_blocks(encoded: Dataset, count: int, tokenizer: PreTrainedTokenizerBase) -> list[Sample]:
    """Encoded rows of plain language modelling: all but the first token is learnt."""
    rows = encoded.select(range(min(count, len(encoded))))
    return [
        Sample(
            row["where"],
            f"{len(row['input_ids'])} tokens from here on",
            [
                Piece(tokenizer.decode(row["input_ids"][:1]), "prompt"),
                Piece(tokenizer.decode(row["input_ids"][1:]), "trained"),
            ],
        )
        for row in rows
    ]


def pieces_of(
    ids: list[list[int]], encoded: Encoded, tokenizer: PreTrainedTokenizerBase
) -> Iterator[Piece]:
    """Prompt, what was cut from it, and what is trained, end-of-text written out."""
    *prompt_ids, completion = ids
    kept = encoded.prompt if len(encoded.prompt) == len(prompt_ids) else [[]] * len(prompt_ids)
    for index, (whole, tokens) in enumerate(zip(prompt_ids, kept, strict=True)):
        yield Piece(tokenizer.decode(tokens), "trained" if index in encoded.learnt else "prompt")
        yield Piece(tokenizer.decode(whole[len(tokens) :]), "cut")
    yield Piece(tokenizer.decode(encoded.completion), "trained")
    yield Piece(tokenizer.decode(completion[len(encoded.completion) :]), "cut")
