"""Constrained decoding: only tokens that can still lead to a permitted text, by llguidance."""

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from llmkit.config.generation import Generation
from llmkit.errors import UserError, printable

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

NUM_PROBED_TOKENS = 8  # of a text, which show whether a grammar exceeds llguidance's limits


class ConstraintError(UserError):
    """A constraint that cannot be read or cannot be met."""

    def __init__(self, key: str, reason: str) -> None:
        """key: The key of `generation` that is wrong."""
        super().__init__(f"generation.{key}: {reason}")
        self.key = key
        self.reason = reason


class Constraint:
    """How far one completion has come in a permitted text.

    The completion may begin with a space before the permitted text, since GPT-2 tokenizes a word
    with the space before it, unless a permitted text itself may begin with a space.
    """

    def __init__(self, generation: Generation, tokenizer: PreTrainedTokenizerBase) -> None:
        """Raises ConstraintError if the constraint is invalid, too complex or permits no text, if
        the tokenizer is not byte-level, or if llguidance is not installed."""
        key = generation.constraint
        try:
            matcher, self.may_begin_with_space = _compile(tokenizer, *_body(generation))
        except ImportError:
            raise ConstraintError(
                key, "requires llguidance: pip install 'llmkit[constraints]'"
            ) from None
        except ValueError as error:
            raise ConstraintError(key, str(error)) from None
        _check_room(generation, tokenizer)
        self._matcher = matcher.deep_copy()

    def apply(self, logits: Tensor) -> None:
        """Set the logits (vocab_size,) of tokens that lead to no permitted text to -inf, in place.

        End-of-text leads to one only after a complete text.
        """
        permitted = _permitted_tokens(self._matcher)[: len(logits)]
        is_excluded = torch.ones(len(logits), dtype=torch.bool)
        is_excluded[: len(permitted)] = torch.from_numpy(~permitted)
        logits.masked_fill_(is_excluded.to(logits.device), -torch.inf)

    def accept(self, token_id: int) -> None:
        """Append a token to the completion."""
        self._matcher.consume_token(token_id)

    @property
    def is_finished(self) -> bool:
        """Whether the text is complete and cannot be continued."""
        return self._matcher.is_stopped() and not self.has_failed

    @property
    def has_failed(self) -> bool:
        """Whether the text exceeded llguidance's limits: it is then incomplete."""
        return self._matcher.is_error()


def check_constraint(generation: Generation, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise ConstraintError, before anything is generated, for a constraint that cannot be met."""
    if generation.constraint:
        Constraint(generation, tokenizer)


def _body(generation: Generation) -> tuple[str, str]:
    """The permitted texts as a rule of llguidance's Lark: its name, in upper case if it is a
    regular expression, and its content."""
    from llguidance import regex_to_lark

    if generation.constraint == "json_schema":
        # One space at most between the tokens of JSON: small models would not stop writing them.
        options = {"whitespace_pattern": " ?"}
        return "body", f"%json {json.dumps({**generation.json_schema, 'x-guidance': options})}"
    escaped = ["".join(f"\\x{{{ord(c):x}}}" for c in text) for text in generation.choices]
    regex = generation.regex or "|".join(escaped)
    if re.fullmatch(r"(\\.|[^\\])*\\", regex, re.DOTALL):  # which llguidance would ignore
        raise ValueError("ends in a single backslash; double it")
    return "BODY", f"/{regex_to_lark(regex, use_ascii='')}/"


@lru_cache(maxsize=16)
def _compile(tokenizer: PreTrainedTokenizerBase, name: str, body: str) -> tuple["LLMatcher", bool]:
    """A matcher at the start of a text, and whether it permits a space before the text.

    Raises ValueError, or ImportError without llguidance.
    """
    guide = _guide(tokenizer)
    matcher = _new_matcher(guide, f"start: {name}\n{name}: {body}")
    if matcher.validate_tokens(guide.tokenize_str(" ")):
        return matcher, False
    text = "TEXT" if name.isupper() else "text"
    return _new_matcher(guide, f'start: {text}\n{text}: " "? {name}\n{name}: {body}'), True


@lru_cache(maxsize=4)
def _guide(tokenizer: PreTrainedTokenizerBase) -> "LLTokenizer":
    """llguidance's view of a tokenizer, which takes a second to compute for GPT-2's."""
    from llguidance.hf import from_tokenizer

    try:
        return from_tokenizer(tokenizer)
    except ValueError:
        raise ValueError("constraints require a byte-level tokenizer such as GPT-2's") from None


def _new_matcher(guide: "LLTokenizer", grammar: str) -> "LLMatcher":
    """A matcher that permits some text; raises ValueError for a grammar without one."""
    from llguidance import LLMatcher

    matcher = LLMatcher(guide, grammar, log_level=0)
    if matcher.is_error():
        raise ValueError(f"llguidance refuses it: {_reason(matcher.get_error())}")
    probe = matcher.deep_copy()
    for position in range(NUM_PROBED_TOKENS):
        tokens = np.flatnonzero(_permitted_tokens(probe))
        tokens = tokens[tokens != guide.eos_token]
        if not len(tokens) and position == 0 and "TooComplex" not in probe.stop_reason():
            raise ValueError("permits no text")
        if probe.is_error():
            raise ValueError(f"too complex: {_reason(probe.get_error())}; simplify it")
        if not len(tokens):
            break
        probe.consume_token(int(tokens[0]))
    return matcher


def _permitted_tokens(matcher: "LLMatcher") -> np.ndarray:
    """(at least the tokenizer's size,), bool: whether each token may come next."""
    bits = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
    return np.unpackbits(bits, bitorder="little").astype(bool)


def _reason(message: str) -> str:
    """llguidance's message on one line, without its place in the grammar and the marks below it."""
    message = re.split(r"\n *\d+ \||\n<state>", message)[0]
    lines = [line.strip() for line in message.splitlines()]
    text = " ".join(line for line in lines if line.strip("^"))
    for superfluous in (r"^(at )?\d+\(\d+\): ", r'^invalid regex ".*?" \(in regex\): ',
                        r"^failed to compile JSON schema: "):  # fmt: skip
        text = re.sub(superfluous, "", text)
    return printable(re.sub(r"regex parse error: (.*) error: ", r"\1: ", text))


def _check_room(generation: Generation, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise ConstraintError for a choice that max_new_tokens would cut off."""
    num_tokens, choice = _longest_choice(tokenizer, tuple(generation.choices))
    if num_tokens > generation.max_new_tokens:
        raise ConstraintError(
            "choices",
            f"{printable(choice, 40)!r} has {num_tokens} tokens, more than the "
            f"{generation.max_new_tokens} that a completion may have",
        )


@lru_cache(maxsize=16)
def _longest_choice(
    tokenizer: PreTrainedTokenizerBase, choices: tuple[str, ...]
) -> tuple[int, str]:
    """The number of tokens of the longest choice, and the choice."""
    if not choices:
        return 0, ""
    with_space = [f" {choice}" for choice in choices]
    alone, after_space = (
        [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
        for texts in (list(choices), with_space)
    )
    return max(zip(map(min, alone, after_space), choices, strict=True))
