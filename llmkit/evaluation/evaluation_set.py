"""Test rows as token ids: each row is templated once and tokenized once, before any scoring."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from llmkit.config.generation import Generation
from llmkit.config.schema import Data
from llmkit.data.answers import check_labels, encode_labels
from llmkit.data.encode import (
    CHUNK_ROWS,
    EncodingOptions,
    TokenizedExample,
    encode_prompts,
    encode_segments,
    encode_tokenized,
    max_prompt_tokens,
)
from llmkit.data.encoded_rows import count_tokens, encode_with_bytes
from llmkit.data.encoding_report import EncodingReport
from llmkit.data.findings import find_same_ids, refuse_errors
from llmkit.data.rows import Rows
from llmkit.data.splits import open_general_text
from llmkit.scoring.testset import TestSet
from llmkit.tasks import Example, Task

GENERAL_TEXT = "general text"  # name of the test set of evaluation.general_text


@dataclass(frozen=True)
class EvaluationSet(TestSet):
    """Rows that a model is scored on, as token ids of one tokenizer."""

    prompts: list[list[int]]
    """Token ids of each prompt; empty for plain language modelling."""
    encoded: Dataset
    """Prompts with their completions, for the loss."""
    encoding_report: EncodingReport
    """The outcome of encoding each row."""
    labels: dict[str, list[int]]
    """Classification: token ids of each label to choose from, end-of-text last."""
    num_bytes: np.ndarray | None
    """Plain language modelling: bytes of text of the predicted tokens of each encoded row."""


def read_test_sets(
    splits: dict[str, Rows],
    task: Task,
    answers: Counter[str],
    names: Iterable[str],
    general_text: str | None,
) -> dict[str, TestSet]:
    """Read and template the rows of `test`, of the further test sets and of general text.

    Args:
        answers: How often each answer occurs in the training rows, see `count_answers`.
        names: Names of the further test sets.
        general_text: The recipe's evaluation.general_text.

    Raises:
        UserError: For rows with the same id, and for a classification set without labels.
    """
    tests = {name: TestSet.of(splits[name], task, answers) for name in ("test", *names)}
    refuse_errors(
        [finding for name, test in tests.items() for finding in find_same_ids(name, test.rows)]
    )
    if general_text is not None:
        rows = open_general_text(general_text)
        tests[GENERAL_TEXT] = TestSet.of(rows, rows.task, Counter())
    return tests


def encode_test_sets(
    tests: Mapping[str, TestSet],
    tokenizer: PreTrainedTokenizerBase,
    data: Data,
    generation: Generation,
) -> dict[str, EvaluationSet]:
    """Tokenize several sets by the recipe's settings; see `encode_test_set`."""
    options = EncodingOptions.of(data, is_scored=True)
    return {
        name: encode_test_set(test, tokenizer, options, generation.max_new_tokens)
        for name, test in tests.items()
    }


def encode_test_set(
    test: TestSet,
    tokenizer: PreTrainedTokenizerBase,
    options: EncodingOptions,
    max_new_tokens: int,
) -> EvaluationSet:
    """Tokenize the rows once; prompts and encoded rows are made of the same token ids.

    Raises UserError if nothing can be scored: a prompt leaves no room for what follows it, a label
    does not occur in the training rows, or no token is left to predict.
    """
    labels = encode_labels(test.answers, tokenizer) if test.task.output == "label" else {}
    sizes: list[np.ndarray] = []
    prompts: list[list[int]] = []
    if test.task.output == "text":
        tokenized = _tokenize_with_bytes(test.examples, tokenizer, sizes)
    else:
        tokenized = list(encode_segments(test.examples, tokenizer))
        max_tokens = max_prompt_tokens(options.max_length, max_new_tokens, labels)
        prompts = encode_scored_prompts(tokenized, labels, max_tokens)
    encoded, report = encode_tokenized(tokenized, test.task, tokenizer.eos_token_id, options)
    report.require_supervised(options.max_length, options.truncate_completion)
    num_bytes = predicted_bytes(encoded, report, sizes) if sizes else None
    return EvaluationSet(**vars(test), prompts=prompts, encoded=encoded, encoding_report=report,
                         labels=labels, num_bytes=num_bytes)  # fmt: skip


def encode_scored_prompts(
    tokenized: list[TokenizedExample], labels: dict[str, list[int]], max_tokens: int
) -> list[list[int]]:
    """Token ids of each prompt, at most `max_tokens` of them.

    Raises UserError if a prompt does not fit, or a row has a label that is not among `labels`.
    """
    if labels:
        check_labels([example for example, _ in tokenized], labels)
    return encode_prompts(tokenized, max_tokens)


def _tokenize_with_bytes(
    examples: Iterable[Example], tokenizer: PreTrainedTokenizerBase, sizes: list[np.ndarray]
) -> Iterator[TokenizedExample]:
    """Texts of plain language modelling with their token ids; the bytes of the tokens of each text
    are appended to `sizes`."""
    examples = iter(examples)
    while chunk := list(islice(examples, CHUNK_ROWS)):
        ids, sizes_of_chunk = encode_with_bytes([e.completion for e in chunk], tokenizer)
        sizes += sizes_of_chunk
        yield from ((example, [tokens]) for example, tokens in zip(chunk, ids, strict=True))


def predicted_bytes(
    encoded: Dataset, report: EncodingReport, sizes: list[np.ndarray]
) -> np.ndarray:
    """Bytes of text of the predicted tokens, which are all except the first, of each encoded row.

    The encoded rows are pieces of one stream, in which end-of-text follows each document.

    Args:
        sizes: Bytes of each token and of the end-of-text, for each document.
    """
    kept = [of_text for of_text, is_kept in zip(sizes, report.is_encoded, strict=True) if is_kept]
    sums = np.cumsum(np.concatenate([[0], *kept]))
    num_predicted = count_tokens(encoded)[0] - 1
    return np.diff(sums[np.cumsum([0, *num_predicted])])
