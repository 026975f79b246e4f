"""Families of models: each file describes one, and no other file names its layers or config keys.

A new family is one more file with a `Family` record, and one more entry in FAMILIES.
"""

from typing import Any

from transformers import PreTrainedConfig

from llmkit.families.family import Family
from llmkit.families.gpt2 import GPT2

FAMILIES: tuple[Family, ...] = (GPT2,)
SCRATCH_FAMILY = GPT2  # whose shape the recipe keys model.scratch.* describe

__all__ = ["FAMILIES", "GPT2", "SCRATCH_FAMILY", "Family", "family_of", "find_family"]


def find_family(model_type: Any) -> Family | None:
    """The family that a config.json names as its `model_type`; None if llmkit does not know it."""
    return next((family for family in FAMILIES if family.model_type == model_type), None)


def family_of(config: PreTrainedConfig) -> Family:
    """The family of a loaded model's config."""
    family = find_family(config.model_type)
    assert family is not None, "models of other families are refused when they are loaded"
    return family
