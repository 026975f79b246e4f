"""The `generation` section of a recipe: how text is generated."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from llmkit.config.section import OneOrMore, Section
from llmkit.errors import UserError
from llmkit.paths import expand
from llmkit.units import show_bytes

MAX_SCHEMA_BYTES = 2**15  # recipe.yaml contains the schema and is limited in size itself

CONSTRAINTS = ("choices", "regex", "json_schema")  # mutually exclusive


def _require_text(text: str | None) -> str | None:
    if text == "":
        raise ValueError("an empty text; give it at least one character")
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        raise ValueError("not valid Unicode text") from None
    return text


def _require_distinct_texts(texts: list[str]) -> list[str]:
    seen = set()
    for text in texts:
        _require_text(text)
        if text in seen:
            raise ValueError(f"{text!r} appears twice; remove one")
        seen.add(text)
    return texts


def _as_plain_data(schema: Any) -> Any:
    """A copy of a JSON Schema without shared objects, which YAML would write as aliases."""
    if schema is None:
        return None
    if not isinstance(schema, dict):
        raise ValueError("requires a JSON Schema: a mapping, or the path of a .json file")
    try:
        text = json.dumps(schema, allow_nan=False)
    except RecursionError:
        raise ValueError("the schema is nested too deeply") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"the schema is not JSON ({error})") from None
    if len(text) > MAX_SCHEMA_BYTES:
        raise ValueError(f"the schema is larger than the limit of {show_bytes(MAX_SCHEMA_BYTES)}")
    return json.loads(text)


Texts = Annotated[list[str], OneOrMore, AfterValidator(_require_distinct_texts)]


class Generation(Section):
    """Decoding: greedy by default, beam search with num_beams, sampling with temperature."""

    max_new_tokens: int = Field(64, ge=1)
    """Maximum length of a completion, in tokens."""
    min_new_tokens: int = Field(0, ge=0)
    """Minimum length of a completion, in tokens."""
    temperature: float = Field(0.0, ge=0)
    """Sampling temperature: tokens are sampled from softmax(logits / temperature). 0: greedy
    decoding."""
    top_k: int = Field(0, ge=0)
    """Number of most likely tokens to sample from. 0: all."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Sample from the smallest set of most likely tokens whose probabilities add up to this."""
    min_p: float = Field(0.0, ge=0, le=1)
    """Sample from the tokens with at least this fraction of the highest probability. 0: all."""
    repetition_penalty: float = Field(1.0, ge=0.01, le=100)
    """Penalty on tokens that already occur in the prompt or completion: their positive logits are
    divided by it, negative ones multiplied (Keskar et al. 2019, arXiv 1909.05858). 1: none."""
    no_repeat_ngram_size: int = Field(0, ge=0)
    """Size of the n-grams, in tokens, that may occur only once in prompt and completion. 0: no
    limit."""
    num_beams: int = Field(1, ge=1)
    """Number of beams of a beam search. 1: no beam search."""
    length_penalty: float = Field(1.0, ge=-10, le=10)
    """The log-probability of a beam is divided by its length to this power: above 0 favors longer
    completions. Requires num_beams above 1."""
    num_return_sequences: int = Field(1, ge=1)
    """Number of completions per prompt."""
    stop: Texts = Field([])
    """Stop strings: a completion ends before the first one that it contains."""
    choices: Texts = Field([])
    """Constraint: the completion is one of these texts."""
    regex: Annotated[str | None, AfterValidator(_require_text)] = None
    """Constraint: the whole completion matches this regular expression (Rust's syntax, without
    look-around and back-references)."""
    json_schema: Annotated[
        dict[str, Any] | None,
        BeforeValidator(_as_plain_data, json_schema_input_type=dict[str, Any] | str | None),
    ] = None
    """Constraint: the completion is JSON that conforms to this JSON Schema (a mapping or the path
    of a .json file). Constraints require the extra `constraints`."""

    @property
    def constraint(self) -> Literal["choices", "regex", "json_schema"] | None:
        """The key that constrains the completion; None for unconstrained text."""
        return next(iter(self._constraints()), None)

    def _constraints(self) -> list[str]:
        return [name for name in CONSTRAINTS if getattr(self, name) not in (None, [])]

    def without_constraint(self) -> "Generation":
        """The same settings without the constraint."""
        return self.model_copy(update={"choices": [], "regex": None, "json_schema": None})

    @model_validator(mode="after")
    def _settings_agree(self) -> "Generation":
        sampling = self.temperature > 0
        if not sampling and (self.top_k or self.top_p < 1 or self.min_p):
            raise ValueError("top_k, top_p and min_p require a temperature above 0")
        if not sampling and self.num_return_sequences > self.num_beams:
            raise ValueError(
                "num_return_sequences requires a temperature above 0, or at least as many num_beams"
            )
        if 0 < self.temperature < 1e-3:
            raise ValueError("a temperature below 0.001 overflows; set it to 0 to decode greedily")
        if self.num_return_sequences > self.num_beams > 1:
            raise ValueError("num_return_sequences must not exceed num_beams")
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError("min_new_tokens must not exceed max_new_tokens")
        if self.length_penalty != 1 and self.num_beams == 1:
            raise ValueError("length_penalty requires num_beams above 1")
        return self

    @model_validator(mode="after")
    def _the_constraint_can_be_met(self) -> "Generation":
        names = self._constraints()
        if len(names) > 1:
            raise ValueError(f"{' and '.join(names)} are mutually exclusive; set only one")
        excluded = {
            "num_beams above 1": self.num_beams > 1,
            "min_new_tokens": self.min_new_tokens > 0,
            "no_repeat_ngram_size": self.no_repeat_ngram_size > 0,
            "stop": bool(self.stop),
        }
        for setting, is_set in excluded.items():
            if self.constraint and is_set:
                raise ValueError(f"{self.constraint} cannot be combined with {setting}")
        return self


def read_json_schema(name: str | Path) -> Any:
    """Read a JSON Schema from a file. Raises UserError if the file cannot be read, is too large or
    is not JSON."""
    path = expand(str(name))
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the path of a JSON Schema")
    if path.stat().st_size > MAX_SCHEMA_BYTES:
        raise UserError(
            f"{path}: too large; a JSON Schema may have at most {show_bytes(MAX_SCHEMA_BYTES)}"
        )
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except RecursionError:
        raise UserError(f"{path}: JSON nested too deeply; flatten it") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: not JSON ({error.msg})") from None
    except ValueError as error:  # not UTF-8, or thousands of digits
        raise UserError(f"{path}: not JSON ({error})") from None
