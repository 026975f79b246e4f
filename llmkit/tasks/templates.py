"""Custom prompt templates, checked before they replace that of a task."""

import difflib
import re
from dataclasses import replace

from llmkit.errors import UserError
from llmkit.tasks.base import PLACEHOLDER, SECTION, Task

RESERVED = ("id", "where", "by", "ignored")  # keys of a row besides its columns


def with_template(task: Task, template: str) -> Task:
    """The task with the user's template, which may name any columns of the data.

    Raises UserError for a template that cannot be filled.
    """
    if task.output == "text":
        raise UserError(
            f"data.template: {task.name} trains on whole texts and has no prompt; remove it"
        )
    if task.chat is not None:
        raise UserError(f"data.template: {task.name} has a fixed prompt; remove the template")
    names = list(dict.fromkeys(re.findall(r"\{#?(\w+)\}", template)))
    content = _without_section_tags(template)
    _check_names(task, names, PLACEHOLDER.findall(content))
    if template != template.rstrip():
        raise UserError(
            "data.template: it ends in white space, which the tokenizer would split from the "
            "completion's first word; end it with the cue itself"
        )
    template_inputs = tuple(name for name in names if name not in task.inputs)
    if task.paired_input is not None and task.paired_input not in names:  # rows of a single text
        inputs = tuple(name for name in task.inputs if name != task.paired_input)
        task = replace(task, inputs=inputs, optional_inputs=(), accepted_shapes=())
    return replace(
        task,
        template=template,
        inputs=(*task.inputs, *template_inputs),
        template_inputs=template_inputs,
    )


def _without_section_tags(template: str) -> str:
    """The template with all of its sections; raises UserError for a tag without its partner."""
    content = template
    while (opened := SECTION.sub(r"\2", content)) != content:
        content = opened
    stray = re.search(r"\{([#/])(\w+)\}", content)
    if stray:
        raise UserError(
            f"data.template: {stray[0]} has no partner; a section is "
            f"{{#{stray[2]}}}...{{/{stray[2]}}}"
        )
    return content


def _check_names(task: Task, names: list[str], placeholders: list[str]) -> None:
    """Raise UserError if the template names the target or a reserved key, or not the source.

    names: those of all placeholders and sections.
    """
    if task.target in names:
        raise UserError(
            f"data.template: {{{task.target}}} is what the model has to write; remove it"
        )
    for name in RESERVED:
        if name in names:
            raise UserError(
                f"data.template: {{{name}}} is a reserved name; choose another, and map it to the "
                f"column with data.columns.NAME={name}"
            )
    source = task.truncatable_input
    if source in placeholders:
        return
    near = difflib.get_close_matches(source, names, n=1)
    hint = (
        f"{{{near[0]}}} looks like a misspelling of it"
        if near
        else f"put it where the {source} belongs, and name the column that holds the "
        f"{source} with data.columns.{source}=COLUMN"
    )
    reader = "; the instruct task has {instruction}" if "instruction" in names else ""
    raise UserError(f"data.template: {{{source}}} is missing; {hint}{reader}")
