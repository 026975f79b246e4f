"""`llmkit check`: what can be known about a recipe's rows before training, without training."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from llmkit.account import Account
from llmkit.data import open_splits
from llmkit.duplicates import find_near_copies
from llmkit.encode import (
    Encoded,
    Limits,
    encode_examples,
    encode_prompts,
    encode_rows,
    limits_of,
    room_for_prompt,
)
from llmkit.errors import UserError
from llmkit.findings import (
    Finding,
    by_severity,
    find_in_split,
    find_near,
    find_unreadable,
    find_unscorable,
)
from llmkit.finetune import (
    check_max_length,
    choose_metric,
    open_model,
    start_accelerator,
    trainable_model,
)
from llmkit.schema import Recipe
from llmkit.tasks import Row, Task, get_task, to_example
from llmkit.train import StepOrder

PERCENTILES = (50, 90, 99, 100)


@dataclass(frozen=True)
class SplitCheck:
    """What was read of one split."""

    source: str
    account: Account
    errors: list[UserError]
    """A message for each row that cannot be read."""

    @property
    def num_rows(self) -> int:
        """Rows read, by fate or unreadable."""
        return self.account.num_rows + len(self.errors)

    @property
    def lengths(self) -> dict[str, list[int]]:
        """PERCENTILES of prompt and completion (end-of-text included) as read; tokens."""
        return {
            part: np.percentile(self.account.column(part), PERCENTILES, method="inverted_cdf")
            .astype(int)
            .tolist()
            for part in ("prompt", "completion")
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
    """All of it."""

    splits: dict[str, SplitCheck]
    findings: list[Finding]
    samples: list[Sample]
    num_steps: int
    padding_share: float
    """Of what the model would be fed, with the recipe's batches."""

    def to_json(self) -> dict[str, Any]:
        splits = {
            name: {
                "source": split.source,
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
            "splits": splits,
            "findings": findings,
            "num_steps": self.num_steps,
            "padding_share": self.padding_share,
            "samples": [asdict(sample) for sample in self.samples],
        }


def check(recipe: Recipe, num_samples: int) -> Check:
    """Read, encode and compare all rows of a recipe; raises UserError where nothing can be read."""
    accelerator = start_accelerator(recipe)
    task = get_task(recipe.task, recipe.template)
    metric, _ = choose_metric(recipe, task)
    rows = open_splits(recipe.data, task, skips_unreadable=True)
    model, tokenizer = open_model(recipe, rows["train"], recipe.model)
    check_max_length(recipe, model)
    trainable_model(model, recipe)

    encoded, train = encode_rows(rows["train"], task, tokenizer, limits_of(recipe))
    order = StepOrder(encoded, recipe, accelerator)
    accounts = {"train": train}
    findings = find_near(find_near_copies(rows)) + find_in_split("train", train, None)
    for split, limit in recipe.evaluation.limits.items():
        check_prompts(islice(rows[split], limit), task, tokenizer, recipe)
        limits = limits_of(recipe, is_scored=True)
        _, accounts[split] = encode_rows(rows[split], task, tokenizer, limits)
        findings += find_in_split(split, accounts[split], train)
        findings += find_unscorable(split, rows[split], task, metric)
    splits = {}
    for split, account in accounts.items():
        errors = [row for row in rows[split].read_all() if isinstance(row, UserError)]
        findings += find_unreadable(split, errors)
        splits[split] = SplitCheck(rows[split].source, account, errors)
    samples = sample_rows(islice(rows["train"], num_samples), task, tokenizer, limits_of(recipe))
    return Check(splits, by_severity(findings), samples, order.num_steps, order.padding_share())


def check_prompts(
    rows: Iterable[Row], task: Task, tokenizer: PreTrainedTokenizerBase, recipe: Recipe
) -> None:
    """Raise UserError where a prompt leaves no room to generate its completion."""
    if not task.is_language_modelling:
        examples = (to_example(row, task, recipe.template) for row in rows)
        encode_prompts(examples, tokenizer, room_for_prompt(recipe))


def sample_rows(
    rows: Iterable[Row], task: Task, tokenizer: PreTrainedTokenizerBase, limits: Limits
) -> list[Sample]:
    """Each row in the pieces that the model sees, does not see, and learns."""
    return [
        Sample(example.where, encoded.fate, list(pieces_of(ids, encoded, tokenizer)))
        for example, ids, encoded in encode_examples(rows, task, tokenizer, limits)
    ]


def pieces_of(
    ids: list[list[int]], encoded: Encoded, tokenizer: PreTrainedTokenizerBase
) -> Iterator[Piece]:
    """Prompt, what was cut from it, and what is trained, end-of-text written out."""
    *prompt_ids, completion = ids
    kept = encoded.prompt if len(encoded.prompt) == len(prompt_ids) else [[]] * len(prompt_ids)
    for whole, tokens in zip(prompt_ids, kept, strict=True):
        yield Piece(tokenizer.decode(tokens), "prompt")
        yield Piece(tokenizer.decode(whole[len(tokens) :]), "cut")
    yield Piece(tokenizer.decode(encoded.completion), "trained")
    yield Piece(tokenizer.decode(completion[len(encoded.completion) :]), "cut")
