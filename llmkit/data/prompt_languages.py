"""The languages that a translation prompt names, from the recipe or from the names of columns."""

import re
from collections.abc import Mapping

from llmkit.config.schema import Data
from llmkit.tasks.translate import LANGUAGES, language_of


def named_columns(data: Data) -> dict[str, str]:
    """The columns of source and target that the recipe names."""
    own = data.columns.get("train")
    columns = {**data.columns, **(own if isinstance(own, Mapping) else {})}
    return {
        part: names if isinstance(names, str) else names[0]
        for part, names in columns.items()
        if part in ("source", "target") and not isinstance(names, Mapping)
    }


def columns_languages(data: Data) -> dict[str, str]:
    """The languages that the columns of source and target are named after."""
    found = {part: language_of(name) for part, name in named_columns(data).items()}
    return {part: language for part, language in found.items() if language}


def languages(data: Data) -> dict[str, str]:
    """The name of each language in the prompt, by its placeholder in the template."""
    by_column = columns_languages(data)
    return {
        "source_language": data.source_language or by_column.get("source", "English"),
        "target_language": data.target_language or by_column.get("target", "German"),
    }


def assumptions(data: Data, template: str) -> list[str]:
    """A warning for each language in the prompt that neither a key nor the name of the column
    confirms.

    template: The prompt before its languages are filled in.
    """
    given = {"source": data.source_language, "target": data.target_language}
    known = columns_languages(data)
    return [
        f"the prompt says {languages(data)[f'{part}_language']}, but the column {name!r} may hold "
        f"another language; set data.{part}_language"
        for part, name in named_columns(data).items()
        if part not in known and given[part] is None and f"{{{part}_language}}" in template
    ]


def contradictions(data: Data, template: str) -> list[str]:
    """A warning for each column that is named after a language that the prompt does not name.

    template: The prompt with its languages filled in.
    """
    by_column = columns_languages(data)
    head, _, cue = template.partition("{source}")
    in_prompt = {
        "source": [name for name in _named_in(head) if name != by_column.get("target")],
        "target": _named_in(cue) or _named_in(head),
    }
    return [
        f"data.columns.{part} is named after {language}, but the prompt says "
        f"{' and '.join(in_prompt[part])}; set data.{part}_language={language}, or change the "
        "template"
        for part, language in by_column.items()
        if in_prompt[part] and language not in in_prompt[part]
    ]


def _named_in(text: str) -> list[str]:
    """The languages that a part of a prompt names."""
    words = re.findall(r"\w+", text.lower())
    return [name for name in dict.fromkeys(LANGUAGES.values()) if name.lower() in words]
