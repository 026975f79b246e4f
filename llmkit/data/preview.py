"""The report of `llmkit check` on the data: counts, lengths, findings and sample rows."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from llmkit.data.batches import MicroBatchLimit
from llmkit.data.encode import EncodingOptions, encode_examples
from llmkit.data.encoding_report import EncodingReport
from llmkit.data.findings import Finding
from llmkit.data.mixed_rows import DrawnSet
from llmkit.data.row_records import Encoded
from llmkit.data.shapes import Shape
from llmkit.errors import UserError
from llmkit.tasks import Row, Task

PERCENTILES = (50, 90, 99, 100)


@dataclass(frozen=True)
class SplitCheck:
    """The report on one split."""

    source: str
    shape: Shape | None
    """The shape of instruction data that its rows have, if any."""
    encoding_report: EncodingReport
    errors: list[UserError]
    """A message for each row that cannot be read."""

    @property
    def num_rows(self) -> int:
        """Rows read, by outcome or unreadable."""
        return self.encoding_report.num_rows + len(self.errors)

    @property
    def lengths(self) -> dict[str, list[int]]:
        """PERCENTILES of the tokens of prompt and completion (with end-of-text) as read."""
        parts = ("prompt", "completion")
        lengths = {part: self.encoding_report.column(f"{part}_tokens") for part in parts}
        if not self.encoding_report.num_rows:
            return {part: [0] * len(PERCENTILES) for part in lengths}
        return {
            part: np.percentile(values, PERCENTILES, method="inverted_cdf").astype(int).tolist()
            for part, values in lengths.items()
        }


@dataclass(frozen=True)
class Piece:
    """A part of a row with one role."""

    text: str
    role: str
    """`prompt`, `truncated` or `supervised`."""


@dataclass(frozen=True)
class Sample:
    """A training row as the model sees it."""

    where: str
    outcome: str
    pieces: list[Piece]


def is_bad(row: Row | UserError) -> bool:
    return isinstance(row, UserError)


def sample_rows(
    rows: Iterable[Row], task: Task, tokenizer: PreTrainedTokenizerBase, options: EncodingOptions
) -> list[Sample]:
    """Split each row into its prompt, supervised and truncated text."""
    return [
        Sample(example.where, encoded.outcome, list(pieces_of(ids, encoded, tokenizer)))
        for example, ids, encoded in encode_examples(rows, task, tokenizer, options)
    ]


def sample_blocks(encoded: Dataset, count: int, tokenizer: PreTrainedTokenizerBase) -> list[Sample]:
    """Encoded rows of plain language modelling: all tokens but the first are supervised."""
    rows = encoded.select(range(min(count, len(encoded))))
    return [
        Sample(
            row["where"],
            f"{len(row['input_ids'])} tokens from here on",
            [
                Piece(tokenizer.decode(row["input_ids"][:1]), "prompt"),
                Piece(tokenizer.decode(row["input_ids"][1:]), "supervised"),
            ],
        )
        for row in rows
    ]


def pieces_of(
    ids: list[list[int]], encoded: Encoded, tokenizer: PreTrainedTokenizerBase
) -> Iterator[Piece]:
    """Yields the prompt, truncated and supervised text of a row, with end-of-text spelled out."""
    *prompt_ids, completion = ids
    kept = encoded.prompt if len(encoded.prompt) == len(prompt_ids) else [[]] * len(prompt_ids)
    for index, (whole, tokens) in enumerate(zip(prompt_ids, kept, strict=True)):
        role = "supervised" if index in encoded.supervised_segments else "prompt"
        yield Piece(tokenizer.decode(tokens), role)
        yield Piece(tokenizer.decode(whole[len(tokens) :]), "truncated")
    yield Piece(tokenizer.decode(encoded.completion), "supervised")
    yield Piece(tokenizer.decode(completion[len(encoded.completion) :]), "truncated")


@dataclass(frozen=True)
class TrainingCheck:
    """Steps, micro-batches and memory of the training on this machine."""

    num_steps: int
    """Number of optimizer steps."""
    padding_share: float
    """Share of padding in the model's input."""
    steps: str
    """Number of steps and micro-batches, as printed by `llmkit finetune`."""
    limit: MicroBatchLimit
    activation_checkpointing: bool
    memory: dict[str, int]
    """Estimated peak memory in bytes by part, without the libraries."""
    warm_up_warning: str | None
    """A problem of the learning rate warm-up, if there is one."""
    mix: list[DrawnSet] = field(default_factory=list)
    """Contribution of each set of a mix to an epoch; empty for a single set."""

    @property
    def warnings(self) -> list[str]:
        """Problems of the learning rate warm-up and of the mix."""
        return list(filter(None, (self.warm_up_warning, *(drawn.warning for drawn in self.mix))))

    def to_json(self) -> dict[str, Any]:
        return {
            "num_steps": self.num_steps,
            "padding_share": self.padding_share,
            "micro_batch_size": self.limit.rows,
            "micro_batch_tokens": self.limit.tokens,
            "activation_checkpointing": self.activation_checkpointing,
            "memory": self.memory,
            "mix": [asdict(drawn) | {"passes": drawn.passes} for drawn in self.mix],
        }


@dataclass(frozen=True)
class Check:
    """The result of `llmkit check`. All texts are in memory while it is computed."""

    prompt: str | None
    """The prompt with {placeholders}; None for plain language modelling."""
    prompt_warnings: list[str]
    """Contradictions between the prompt and the data."""
    splits: dict[str, SplitCheck]
    findings: list[Finding]
    samples: list[Sample]
    training: TrainingCheck | None
    """None if no rows are left to train on."""

    def to_json(self) -> dict[str, Any]:
        splits = {
            name: {
                "source": split.source,
                "shape": split.shape.name if split.shape else None,
                "rows_read": split.num_rows,
                "rows": {**split.encoding_report.outcomes, "unreadable": len(split.errors)},
                "tokens": split.encoding_report.tokens,
                "supervised_share": split.encoding_report.supervised_share,
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
            **(self.training.to_json() if self.training else {"num_steps": 0}),
            "samples": [asdict(sample) for sample in self.samples],
        }
