"""The outputs of a program for the inputs of a comparison, and their file."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from llmkit.export.inputs import Inputs
from llmkit.export.runtime import Runtime

NUM_TIMED = 8  # prompts completed one at a time, to measure the speed
LOG_PROBABILITIES = "log_probabilities.npy"


@dataclass(frozen=True)
class Outputs:
    """The outputs of a program."""

    tool: str
    """Name and version of the program."""
    log_probabilities: np.ndarray
    """Log-probabilities of the next token at all positions of all rows, (sum of the numbers of
    positions, vocab_size); NaN where the program does not return them."""
    nll: list[float]
    """Negative log-likelihood of the targets of each scored row, in nats."""
    completions: list[str]
    """Greedy completion of each prompt; stop strings are not applied."""
    tokenized_texts: list[list[int]]
    """Token ids of each of the texts to tokenize."""
    end_tokens: list[int]
    """Ids of the tokens at which a completion ends."""
    tokens_per_second: float
    """Generated tokens per second, one prompt at a time, including the time to read the prompt. One
    prompt before them is not timed."""

    def write(self, folder: Path) -> None:
        content = asdict(self)
        np.save(folder / LOG_PROBABILITIES, content.pop("log_probabilities"))
        (folder / "outputs.json").write_text(json.dumps(content), "utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Outputs":
        content = json.loads((folder / "outputs.json").read_text("utf-8"))
        return cls(log_probabilities=np.load(folder / LOG_PROBABILITIES), **content)


def compute_outputs(runtime: Runtime, inputs: Inputs) -> Outputs:
    """Compute all outputs of a program."""
    log_probabilities = [
        runtime.log_probabilities(row, positions)
        for row, positions in zip(inputs.rows, inputs.positions, strict=True)
    ]
    nll = [
        sum(runtime.token_nll(row, targets))
        for row, targets in zip(inputs.scored, inputs.targets, strict=True)
    ]
    timed, others = inputs.prompts[:NUM_TIMED], inputs.prompts[NUM_TIMED:]
    runtime.complete(timed[:1], inputs.max_new_tokens)  # programs prepare at their first prompt
    started = time.perf_counter()
    completions = [runtime.complete([prompt], inputs.max_new_tokens)[0] for prompt in timed]
    seconds = time.perf_counter() - started
    speed = count_tokens(completions, inputs.max_new_tokens) / seconds
    completions += runtime.complete(others, inputs.max_new_tokens) if others else []
    return Outputs(
        tool=runtime.tool,
        log_probabilities=np.concatenate(log_probabilities),
        nll=nll,
        completions=[runtime.decode(ids) for ids in completions],
        tokenized_texts=[runtime.tokenize(text) for text in inputs.texts],
        end_tokens=runtime.end_tokens,
        tokens_per_second=speed,
    )


def count_tokens(completions: Sequence[list[int]], max_new_tokens: int) -> int:
    """Number of generated tokens, including those that end a completion."""
    return sum(len(ids) + (len(ids) < max_new_tokens) for ids in completions)
