"""Encoded rows, and the record of the outcome of each row."""

from dataclasses import dataclass
from typing import Any

from datasets import Features, Value

from llmkit.constants import END_OF_TEXT, IGNORE_INDEX
from llmkit.data.encoding_report import INVALID
from llmkit.data.text_records import digest_of
from llmkit.errors import UserError
from llmkit.tasks import Example

# Input of `EncodingReport`: one record for each row read, whatever its outcome. Tokens are counted
# as read; end-of-text counts as a token of the completion or supervised segment that it ends.
RECORD = Features(
    {
        "where": Value("string"),  # file:line of the row
        "outcome": Value("string"),  # `Encoded.outcome`, or INVALID
        "prompt_tokens": Value("int64"),
        "completion_tokens": Value("int64"),  # including supervised prompt segments
        "kept_prompt_tokens": Value("int64"),
        "supervised_tokens": Value("int64"),
        "has_end_of_text": Value("bool"),  # `<|endoftext|>` is typed in a text
        "is_over_tokenized": Value("bool"),
        "has_empty_input": Value("bool"),
        "note": Value("string"),  # ignored fields, or the error of an invalid row
        "digest": Value("int64"),  # hash of prompt and completion; 0 for a row that is left out
        "source_digest": Value("int64"),  # hash of the source
    }
)
MAX_TOKENS_PER_CHARACTER = 0.8  # English has about 0.25 with GPT-2's tokenizer
MIN_CHARACTERS = 20  # shorter texts say nothing about how well the tokenizer fits


@dataclass(frozen=True)
class Encoded:
    """Token ids of an example after truncation, and which of them are supervised."""

    prompt: list[list[int]]
    """The token ids of each prompt segment after truncation."""
    completion: list[int]
    """Token ids of the completion, ending with end-of-text unless it was truncated; empty if the
    row is left out."""
    outcome: str
    """`whole`, `prompt truncated` or `completion truncated`; or, for a row that is left out,
    `completion too long` or `empty`."""
    supervised_segments: tuple[int, ...] = ()
    """Indices of prompt segments that are supervised too, each with its end-of-text."""

    @property
    def input_ids(self) -> list[int]:
        return [token for tokens in self.prompt for token in tokens] + self.completion

    @property
    def labels(self) -> list[int]:
        """The supervised tokens in their own positions (not shifted), IGNORE_INDEX elsewhere."""
        if not self.supervised_segments:
            return [IGNORE_INDEX] * sum(map(len, self.prompt)) + self.completion
        prompt = [
            token if index in self.supervised_segments else IGNORE_INDEX
            for index, tokens in enumerate(self.prompt)
            for token in tokens
        ]
        return prompt + self.completion


def row_record(example: Example, ids: list[list[int]], encoded: Encoded) -> dict[str, Any]:
    """A row's RECORD. ids: the tokens read of its prompt segments and of its completion."""
    *prompt_ids, completion = ids
    # A text of plain language modelling has no prompt of its own, only an end-of-text before it.
    kept = encoded.prompt if prompt_ids else []
    supervised = [index for index, segment in enumerate(example.prompt) if segment.is_supervised]
    num_supervised = sum(len(prompt_ids[index]) for index in supervised)
    num_supervised_kept = sum(len(kept[index]) for index in supervised) if kept else 0
    supervised_tokens = len(encoded.completion) + num_supervised_kept
    prompt_text = example.prompt_text
    texts = [*(segment.text for segment in example.prompt), example.completion]
    sources = (s.text for s in example.prompt if s.is_source or s.turn is not None)
    source = "".join(sources) or example.completion
    is_kept = supervised_tokens > 0
    return {
        "where": example.where,
        "outcome": encoded.outcome,
        "prompt_tokens": sum(map(len, prompt_ids)) - num_supervised,
        "completion_tokens": len(completion) + 1 + num_supervised,
        "kept_prompt_tokens": sum(map(len, kept)) - num_supervised_kept,
        "supervised_tokens": supervised_tokens,
        "has_end_of_text": END_OF_TEXT in prompt_text + example.completion,
        "is_over_tokenized": any(map(is_over_tokenized, texts, ids)),
        "has_empty_input": any(s.is_from_row and not s.text.strip() for s in example.prompt),
        "note": ", ".join(example.ignored),
        "digest": digest_of(f"{prompt_text}\0{example.completion.strip()}") if is_kept else 0,
        "source_digest": digest_of(source.strip()) if is_kept else 0,
    }


def invalid_row_record(error: UserError) -> dict[str, Any]:
    """The RECORD of a row that cannot be read."""
    return removed_row_record(str(error).partition(": ")[0], INVALID, str(error))


def removed_row_record(where: str, outcome: str, note: str = "") -> dict[str, Any]:
    """The RECORD of a row that is left out before it is tokenized."""
    empty = {"string": "", "int64": 0, "bool": False}
    record = {name: empty[value.dtype] for name, value in RECORD.items()}
    return record | {"where": where, "outcome": outcome, "note": note}


def is_over_tokenized(text: str, ids: list[int]) -> bool:
    """Whether a text has too many tokens for a tokenizer that covers its language."""
    return len(text) >= MIN_CHARACTERS and len(ids) > MAX_TOKENS_PER_CHARACTER * len(text)
