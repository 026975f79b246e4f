"""The answers of the original model and of exports, each computed by its own program."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmkit import __version__
from llmkit.config.generation import Generation
from llmkit.data.encode import encode_text
from llmkit.errors import printable
from llmkit.export.questions import Questions
from llmkit.generation.generate import complete, make_requests
from llmkit.model.load import evaluating

NUM_TIMED = 8  # prompts that are completed one at a time, to measure the speed
LOG_PROBABILITIES = "log_probabilities.npy"
BATCH_SIZE = 16  # of prompts that are completed together


class Runtime(Protocol):
    """A program that has opened an export."""

    tool: str
    """Its name and version."""
    end_tokens: list[int]
    """The tokens at which the export ends a completion."""

    def log_probabilities(self, ids: list[int], positions: list[int]) -> np.ndarray:
        """The logarithm of the probability of each next token, (len(positions), vocab_size), after
        the tokens at the positions; NaN where the program does not tell."""

    def nats(self, ids: list[int], targets: list[int]) -> list[float]:
        """The negative log-likelihood of the tokens at the indices `targets`."""

    def complete(self, prompts: list[list[int]], max_new_tokens: int) -> list[list[int]]:
        """The greedy completion of each prompt, without the token that ends it."""

    def decode(self, ids: list[int]) -> str:
        """The text of tokens."""

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a text."""


@dataclass(frozen=True)
class Answers:
    """What a program computed."""

    tool: str
    log_probabilities: np.ndarray
    """(sum of the numbers of positions, vocab_size), NaN where the program does not tell."""
    nats: list[float]
    """Negative log-likelihood of the scored tokens of each scored row."""
    texts: list[str]
    """The completion of each prompt; stop strings are not applied."""
    tokens: list[list[int]]
    """The tokens of each text."""
    end_tokens: list[int]
    tokens_per_second: float
    """Of completions, one prompt at a time, the reading of the prompt included."""

    def write(self, folder: Path) -> None:
        content = asdict(self)
        np.save(folder / LOG_PROBABILITIES, content.pop("log_probabilities"))
        (folder / "answers.json").write_text(json.dumps(content), "utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Answers":
        content = json.loads((folder / "answers.json").read_text("utf-8"))
        return cls(log_probabilities=np.load(folder / LOG_PROBABILITIES), **content)


def answers_of_runtime(runtime: Runtime, questions: Questions) -> Answers:
    """The answers of an opened export."""
    found = [
        runtime.log_probabilities(row, positions)
        for row, positions in zip(questions.rows, questions.positions, strict=True)
    ]
    nats = [
        sum(runtime.nats(row, targets))
        for row, targets in zip(questions.scored, questions.targets, strict=True)
    ]
    timed, others = questions.prompts[:NUM_TIMED], questions.prompts[NUM_TIMED:]
    started = time.perf_counter()
    completions = [runtime.complete([prompt], questions.max_new_tokens)[0] for prompt in timed]
    seconds = time.perf_counter() - started
    speed = count_tokens(completions, questions.max_new_tokens) / seconds
    completions += runtime.complete(others, questions.max_new_tokens) if others else []
    return Answers(
        runtime.tool,
        np.concatenate(found),
        nats,
        [runtime.decode(ids) for ids in completions],
        [runtime.tokenize(text) for text in questions.texts],
        runtime.end_tokens,
        speed,
    )


def normalized(logits: torch.Tensor) -> np.ndarray:
    """The log-probabilities of logits (..., vocab_size) in any precision."""
    return logits.double().log_softmax(-1).float().numpy()


def nats_of(log_probabilities: np.ndarray, ids: list[int], targets: list[int]) -> list[float]:
    """The negative log-likelihood of the tokens at the indices `targets`, given the probabilities
    (len(targets), vocab_size) of tokens at those places."""
    return [-float(row[ids[at]]) for row, at in zip(log_probabilities, targets, strict=True)]


def count_tokens(completions: Sequence[list[int]], max_new_tokens: int) -> int:
    """The generated tokens, those that end a completion included."""
    return sum(len(ids) + (len(ids) < max_new_tokens) for ids in completions)


class Original:
    """The original model in llmkit's own engine, with the interface of a `Runtime`."""

    tool = f"llmkit {__version__}"

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.end_tokens = [tokenizer.eos_token_id]

    @torch.inference_mode()
    def log_probabilities(self, ids: list[int], positions: list[int]) -> np.ndarray:
        with evaluating(self.model):
            output = self.model(torch.tensor([ids]), logits_to_keep=torch.tensor(positions))
        return normalized(output.logits[0])

    def nats(self, ids: list[int], targets: list[int]) -> list[float]:
        return nats_of(self.log_probabilities(ids, [at - 1 for at in targets]), ids, targets)

    def complete(self, prompts: list[list[int]], max_new_tokens: int) -> list[list[int]]:
        generation = Generation(max_new_tokens=max_new_tokens)
        requests = make_requests(prompts, [(0,)] * len(prompts), generation)
        sequences = complete(self.model, self.tokenizer, requests, BATCH_SIZE)
        return [sequence.token_ids for sequence in sequences]

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    def tokenize(self, text: str) -> list[int]:
        return encode_text([text], self.tokenizer)[0]


class CannotOpen(Exception):
    """A program cannot open an export; the message is its reason."""


def answers_in_fresh_process(format_name: str, folder: Path, questions: Questions) -> Answers:
    """The answers of an export in a process that knows nothing but its folder.

    Raises CannotOpen if the process fails.
    """
    with tempfile.TemporaryDirectory(prefix="llmkit-export-") as name:
        scratch = Path(name)
        questions.write(scratch / "questions.json")
        command = [sys.executable, "-m", "llmkit.export.child", format_name, str(folder), name]
        process = subprocess.run(
            command, env=child_environment(), capture_output=True, text=True, errors="replace"
        )
        reason = scratch / "reason.txt"
        if reason.is_file():
            raise CannotOpen(reason.read_text("utf-8"))
        if process.returncode:
            lines = process.stderr.strip().splitlines() or [f"exit code {process.returncode}"]
            raise CannotOpen(printable(lines[-1]))
        return Answers.read(scratch)


def child_environment() -> dict[str, Any]:
    """The environment of this process, with its number of threads and its copy of llmkit."""
    package_parent = str(Path(__file__).parents[2])
    paths = [package_parent, *filter(None, [os.environ.get("PYTHONPATH")])]
    threads = str(torch.get_num_threads())
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": threads}
