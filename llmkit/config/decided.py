"""Recipe keys with null or auto, whose values a run chooses.

The recipe.yaml of a run contains the chosen values. Its run.json and its checkpoints also contain
the values of the recipe, because a run on another machine or on other rows may choose differently.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from llmkit.config.schema import Section

DECIDED_KEYS = (
    "model.revision",
    "data.revision",
    "data.template",
    "data.source_language",
    "data.target_language",
    "train.activation_checkpointing",
    "train.decay_steps",
    "train.device",
    "train.dropout",
    "train.micro_batch_size",  # decided by earlier versions
    "train.micro_batch_tokens",
    "train.mixed_precision",
    "evaluation.bertscore.layer",
    "evaluation.bleu.tokenize",
    "evaluation.every",
    "evaluation.metric",
)
REVISIONS = ("model.revision", "data.revision")  # a branch or a tag is decided as well, by a commit
Value = bool | str | int | float | None
AnySection = TypeVar("AnySection", bound=Section)


def undecided(keys: Mapping[str, Any], choices: Mapping[str, Value]) -> dict[str, Value]:
    """The choices for keys whose value the recipe leaves to the run.

    Args:
        keys: The recipe's keys, as `recipe_keys` returns them.
        choices: Value by key; None if there is none.
    """
    return {
        key: value
        for key, value in choices.items()
        if value is not None
        and value != keys[key]
        and (keys[key] in (None, "auto") or key in REVISIONS)
    }


def with_values(section: AnySection, values: Mapping[str, Value]) -> AnySection:
    """The recipe, or a section of it, with other values for some dotted keys."""
    for key, value in values.items():
        name, _, rest = key.partition(".")
        if rest:
            value = with_values(getattr(section, name), {rest: value})
        section = section.model_copy(update={name: value})
    return section


def given_values(
    keys: Mapping[str, Any], decided: Mapping[str, Value], given: Mapping[str, Any]
) -> dict[str, Value]:
    """The original values of those keys that have the value that the run decided on.

    Args:
        keys: The keys of a recipe that resumes the run.
        decided: The decided values of the run.
        given: The keys of the recipe that the run was started with.
    """
    return {
        key: given[key]
        for key, value in decided.items()
        if key in DECIDED_KEYS and keys[key] == value
    }
