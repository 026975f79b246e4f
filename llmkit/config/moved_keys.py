"""Keys of earlier versions and their present names, and recipes of earlier runs."""

from typing import Any

MOVED = {
    "model_revision": "model.revision",
    "scratch": "model.scratch",
    "template": "data.template",
    "max_length": "data.max_length",
    "truncate_completion": "data.truncate_completion",
    "packing": "data.packing",
    "train.engine": "train.forward",
}
FORWARDS = {"fast": "padding_free", "reference": "transformers"}


def moved_key(key: str) -> str | None:
    """The present name of a key of an earlier version; None if it never was a key."""
    for old, new in MOVED.items():
        if key == old or key.startswith(f"{old}."):
            return new + key.removeprefix(old)
    return None


def upgrade_recipe(content: dict[str, Any]) -> dict[str, Any]:
    """A recipe of a run of an earlier version, with its keys renamed; any other recipe unchanged.

    A run records every key, so a recipe with all moved keys at its root comes from such a run.
    """
    at_root = [old for old in MOVED if "." not in old]
    if not all(old in content for old in at_root):
        return content
    moved = {old: content[old] for old in at_root}
    content = {key: value for key, value in content.items() if key not in moved}
    data, train = dict(content.get("data") or {}), dict(content.get("train") or {})
    for name in ("template", "max_length", "truncate_completion", "packing"):
        data[name] = moved[name]
    if "engine" in train:
        train["forward"] = FORWARDS.get(train.pop("engine"))
    model = {
        "name": content.get("model"),
        "revision": moved["model_revision"],
        "scratch": moved["scratch"],
    }
    return content | {"model": model, "data": data, "train": train}
