"""What the original model and each export are asked, so that their answers can be compared."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from llmkit.evaluation.evaluation_set import EvaluationSet
from llmkit.evaluation.samples import evenly_spaced, split_point

NUM_ROWS = 32  # test rows whose logits are compared
NUM_POSITIONS = 4  # positions in each of them
NUM_SCORED = 32  # tokens of each text of plain language modelling whose likelihood is computed
NUM_TEXTS = 32  # test rows whose text is tokenized
# Contractions, numbers, runs of white space and several scripts, which tokenizers split by rules.
TEXT = "It's 1,234.50 — we'll   see\n\n\tnaïve façades, 日本語 и 🙂🙂! <|endoftext|> "


@dataclass(frozen=True)
class Questions:
    """Token ids to compute with, and texts to tokenize."""

    rows: list[list[int]]
    """Rows whose logits are compared."""
    positions: list[list[int]]
    """The positions in each of them."""
    scored: list[list[int]]
    """Rows whose likelihood decides the score: texts of plain language modelling, or prompts with
    each label."""
    targets: list[list[int]]
    """Indices of their tokens whose likelihood is computed."""
    prompts: list[list[int]]
    """Prompts to complete greedily."""
    max_new_tokens: int
    texts: list[str]
    """Texts to tokenize."""

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def read(cls, path: Path) -> "Questions":
        return cls(**json.loads(path.read_text("utf-8")))


def questions_about(
    test: EvaluationSet,
    tokenizer: PreTrainedTokenizerBase,
    max_new_tokens: int,
    num_positions: int,
) -> Questions:
    """The questions about a test set.

    Args:
        max_new_tokens: The recipe's maximum length of a completion.
        num_positions: Length of the model's context.
    """
    rows = [
        test.encoded[index]["input_ids"] for index in evenly_spaced(len(test.encoded), NUM_ROWS)
    ]
    scored, targets, prompts = [], [], test.prompts
    match test.task.output:
        case "text":
            scored = [row["input_ids"] for row in test.encoded]
            targets = [[at + 1 for at in spread_over(row[:-1], NUM_SCORED)] for row in scored]
            prompts = [row[: split_point(row, tokenizer)] for row in rows]
            max_new_tokens = min(max_new_tokens, num_positions // 2)
        case "label":
            labels = test.labels.values()
            scored = [prompt + label for prompt in prompts for label in labels]
            targets = [
                list(range(len(prompt), len(prompt) + len(label)))
                for prompt in prompts
                for label in labels
            ]
            prompts = [prompts[index] for index in evenly_spaced(len(prompts), NUM_ROWS)]
            max_new_tokens = max(map(len, labels))
    examples = [test.examples[index] for index in evenly_spaced(len(test.examples), NUM_TEXTS)]
    texts = [example.prompt_text + example.completion for example in examples]
    return Questions(
        rows,
        [spread_over(row[:-1], NUM_POSITIONS) for row in rows],
        scored,
        targets,
        prompts,
        max_new_tokens,
        [*texts, TEXT],
    )


def spread_over(row: Sequence[int], count: int) -> list[int]:
    """Evenly spaced positions of a row, at most `count` of them, the last one among them."""
    return [len(row) - 1 - index for index in reversed(evenly_spaced(len(row), count))]
