"""Constrained decoding with llguidance: only tokens that can still lead to a permitted text."""

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

NUM_PROBED_TOKENS = 8  # of a permitted text, to detect grammars that exceed llguidance's limits


class ConstraintError(UserError):
    """A constraint that is invalid or cannot be met."""

    def __init__(self, key: str, reason: str) -> None:
        """key: The invalid key of `generation`."""
        super().__init__(f"generation.{key}: {reason}")
        self.key = key
        self.reason = reason


class Constraint:
    """The state of constrained decoding for one completion.

    GPT-2 tokenizes a word together with the space before it, so the completion may begin with a
    space that is not part of the permitted text, unless permitted texts may begin with a space
    themselves.
    """

    def __init__(self, generation: Generation, tokenizer: PreTrainedTokenizerBase) -> None:
        """Raises ConstraintError if the constraint is invalid, too complex or permits no text, if
        the tokenizer is not byte-level, or if llguidance is not installed.

        Thread-safe: the tokenizer is only copied, because encoding with it would change its state.

        generation: Decoding settings with a constraint.
        """
        key = generation.constraint
        try:
            matcher, self.may_begin_with_space = _compile(tokenizer, *_grammar_rule(generation))
        except ImportError:
            raise ConstraintError(
                key, "requires llguidance: pip install 'llmkit[constraints]'"
            ) from None
        except ValueError as error:
            raise ConstraintError(key, str(error)) from None
        _check_choice_lengths(generation, tokenizer)
        self._matcher = matcher.deep_copy()

    def apply(self, logits: Tensor) -> None:
        """Set the logits (vocab_size,) of tokens that cannot lead to a permitted text to -inf, in
        place. End-of-text is permitted only after a complete text."""
        permitted = _permitted_tokens(self._matcher)[: len(logits)]
        is_excluded = torch.ones(len(logits), dtype=torch.bool)
        is_excluded[: len(permitted)] = torch.from_numpy(~permitted)
        logits.masked_fill_(is_excluded.to(logits.device), -torch.inf)

    def accept(self, token_id: int) -> None:
        """Advance the state by a generated token."""
        self._matcher.consume_token(token_id)

    @property
    def is_finished(self) -> bool:
        """Whether the text is complete and cannot be continued."""
        return self._matcher.is_stopped() and not self.has_failed

    @property
    def has_failed(self) -> bool:
        """Whether llguidance's limits were exceeded, so that the text is incomplete."""
        return self._matcher.is_error()


def check_constraint(generation: Generation, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise ConstraintError for a constraint that is invalid or cannot be met; call it before
    generating."""
    if generation.constraint:
        Constraint(generation, tokenizer)


def _grammar_rule(generation: Generation) -> tuple[str, str]:
    """The permitted texts as a rule of llguidance's Lark grammar: its name, in upper case for a
    regular expression, and its body."""
    from llguidance import regex_to_lark

    if generation.constraint == "json_schema":
        # At most one space between JSON tokens; small models might generate spaces forever.
        options = {"whitespace_pattern": " ?"}
        return "body", f"%json {json.dumps({**generation.json_schema, 'x-guidance': options})}"
    escaped = ["".join(f"\\x{{{ord(c):x}}}" for c in text) for text in generation.choices]
    regex = generation.regex or "|".join(escaped)
    if re.fullmatch(r"(\\.|[^\\])*\\", regex, re.DOTALL):  # llguidance would ignore it
        raise ValueError("ends with a single backslash; double it")
    return "BODY", f"/{regex_to_lark(regex, use_ascii='')}/"


@lru_cache(maxsize=16)
def _compile(tokenizer: PreTrainedTokenizerBase, name: str, body: str) -> tuple["LLMatcher", bool]:
    """A matcher at the start of a text, and whether it permits a space before the text.

    Raises ValueError, or ImportError without llguidance.
    """
    guide = _llguidance_tokenizer(tokenizer)
    matcher = _new_matcher(guide, f"start: {name}\n{name}: {body}")
    if matcher.validate_tokens(guide.tokenize_str(" ")):
        return matcher, False
    text = "TEXT" if name.isupper() else "text"
    return _new_matcher(guide, f'start: {text}\n{text}: " "? {name}\n{name}: {body}'), True


@lru_cache(maxsize=4)
def _llguidance_tokenizer(tokenizer: PreTrainedTokenizerBase) -> "LLTokenizer":
    """The tokenizer in llguidance's form; creating it takes about a second for GPT-2."""
    from llguidance.hf import from_tokenizer

    try:
        return from_tokenizer(tokenizer)
    except ValueError:
        raise ValueError("constraints require a byte-level tokenizer such as GPT-2's") from None


def _new_matcher(guide: "LLTokenizer", grammar: str) -> "LLMatcher":
    """A matcher; raises ValueError if the grammar is invalid, too complex or permits no text."""
    from llguidance import LLMatcher

    matcher = LLMatcher(guide, grammar, log_level=0)
    if matcher.is_error():
        raise ValueError(f"llguidance rejects it: {_reason(matcher.get_error())}")
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
    """Mask of the tokens that may come next: (N,), bool, with N at least the tokenizer's size."""
    bits = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
    return np.unpackbits(bits, bitorder="little").astype(bool)


def _reason(message: str) -> str:
    """llguidance's message on one line, without the position in the grammar and the carets."""
    message = re.split(r"\n *\d+ \||\n<state>", message)[0]
    lines = [line.strip() for line in message.splitlines()]
    text = " ".join(line for line in lines if line.strip("^"))
    for superfluous in (r"^(at )?\d+\(\d+\): ", r'^invalid regex ".*?" \(in regex\): ',
                        r"^failed to compile JSON schema: "):  # fmt: skip
        text = re.sub(superfluous, "", text)
    return printable(re.sub(r"regex parse error: (.*) error: ", r"\1: ", text))


def _check_choice_lengths(generation: Generation, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise ConstraintError for a choice that is longer than max_new_tokens."""
    num_tokens, choice = _longest_choice(tokenizer, tuple(generation.choices))
    if num_tokens > generation.max_new_tokens:
        raise ConstraintError(
            "choices",
            f"{printable(choice, 40)!r} has {num_tokens} tokens, but a completion has at most "
            f"{generation.max_new_tokens}",
        )


@lru_cache(maxsize=16)
def _longest_choice(
    tokenizer: PreTrainedTokenizerBase, choices: tuple[str, ...]
) -> tuple[int, str]:
    """The longest choice: its number of tokens, and its text."""
    guide = _llguidance_tokenizer(tokenizer) if choices else None
    return max(
        (
            (min(len(guide.tokenize_str(text)) for text in (choice, f" {choice}")), choice)
            for choice in choices
        ),
        default=(0, ""),
    )
