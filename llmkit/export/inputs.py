"""The inputs that the original model and each export are run on, to compare their outputs."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from llmkit.evaluation.evaluation_set import EvaluationSet
from llmkit.evaluation.samples import evenly_spaced, split_point

NUM_ROWS = 32  # test rows whose logits are compared
NUM_POSITIONS = 4  # positions in each of them
NUM_SCORED_TOKENS = 32  # tokens of each block of language modelling whose likelihood is computed
NUM_TEXTS = 32  # test rows whose text is tokenized
# Contractions, numbers, white space and several scripts, which tokenizers split by rules.
HARD_TEXT = "It's 1,234.50 — we'll   see\n\n\tnaïve façades, 日本語 и 🙂🙂! <|endoftext|> "


@dataclass(frozen=True)
class Inputs:
    """Token ids, and texts to tokenize."""

    rows: list[list[int]]
    """Rows whose logits are compared."""
    positions: list[list[int]]
    """Positions in each of them."""
    scored: list[list[int]]
    """Rows whose likelihood is scored: blocks of plain language modelling, or prompts with each
    label."""
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
    def read(cls, path: Path) -> "Inputs":
        return cls(**json.loads(path.read_text("utf-8")))


def make_inputs(
    test: EvaluationSet,
    tokenizer: PreTrainedTokenizerBase,
    max_new_tokens: int,
    max_length: int,
) -> Inputs:
    """The inputs for a test set.

    Args:
        max_new_tokens: Maximum length of a completion, from the recipe.
        max_length: Length of the model's context.
    """
    rows = [
        test.encoded[index]["input_ids"] for index in evenly_spaced(len(test.encoded), NUM_ROWS)
    ]
    scored, targets, prompts = [], [], test.prompts
    match test.task.output:
        case "text":
            scored = list(test.encoded["input_ids"])
            targets = [
                [at + 1 for at in spread_over(len(row) - 1, NUM_SCORED_TOKENS)] for row in scored
            ]
            prompts = [row[: split_point(row, tokenizer)] for row in rows]
            max_new_tokens = min(max_new_tokens, max_length // 2)
        case "label":
            pairs = [(prompt, label) for prompt in prompts for label in test.labels.values()]
            scored = [prompt + label for prompt, label in pairs]
            targets = [
                list(range(len(prompt), len(prompt) + len(label))) for prompt, label in pairs
            ]
            prompts = [prompts[index] for index in evenly_spaced(len(prompts), NUM_ROWS)]
            max_new_tokens = max(map(len, test.labels.values()))
    examples = [test.examples[index] for index in evenly_spaced(len(test.examples), NUM_TEXTS)]
    texts = [example.prompt_text + example.completion for example in examples]
    return Inputs(
        rows=rows,
        positions=[spread_over(len(row) - 1, NUM_POSITIONS) for row in rows],
        scored=scored,
        targets=targets,
        prompts=prompts,
        max_new_tokens=max_new_tokens,
        texts=[*texts, HARD_TEXT],
    )


def spread_over(length: int, count: int) -> list[int]:
    """At most `count` evenly spaced indices below `length`, the last one among them."""
    return [length - 1 - index for index in reversed(evenly_spaced(length, count))]
