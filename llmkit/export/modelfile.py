"""Ollama's Modelfile: the prompt template, decoding and context of a run next to its GGUF file."""

from pathlib import Path

from llmkit.config.generation import Generation
from llmkit.export.source import Source
from llmkit.tasks import Task
from llmkit.tasks.base import PLACEHOLDER, SECTION


def write_modelfile(source: Source, file: str, folder: Path) -> None:
    """Write the Modelfile that `ollama create NAME -f Modelfile` reads."""
    end_of_text = source.tokenizer.eos_token
    length = source.model.config.max_position_embeddings
    content = modelfile(source.task, source.recipe.generation, file, length, end_of_text)
    (folder / "Modelfile").write_text(content, "utf-8")


def modelfile(
    task: Task, generation: Generation, file: str, max_length: int, end_of_text: str
) -> str:
    """The content of the Modelfile.

    Args:
        file: Name of the GGUF file in the same folder.
        max_length: Length of the context, in tokens.
        end_of_text: The token that ends a completion, as text.
    """
    settings = {
        "num_ctx": max_length,
        "num_predict": generation.max_new_tokens,
        "temperature": generation.temperature,
        "repeat_penalty": generation.repetition_penalty,
    }
    if generation.temperature:
        settings |= {"top_k": generation.top_k, "top_p": generation.top_p}
        settings |= {"min_p": generation.min_p}
    stops = [end_of_text, *generation.stop]
    lines = [
        f"FROM ./{file}",
        f'TEMPLATE """{ollama_template(task, end_of_text)}"""',
        *(f"PARAMETER {name} {value}" for name, value in settings.items()),
        *(f"PARAMETER stop {quoted(text)}" for text in stops),
    ]
    return "\n".join(lines) + "\n"


def ollama_template(task: Task, end_of_text: str) -> str:
    """The task's prompt template in Ollama's template language.

    For a task with several inputs, and for texts to be continued, it passes the prompt unchanged.
    """
    if task.chat is not None:
        return task.chat.ollama_template.replace("END", end_of_text)
    template = SECTION.sub("", task.template)  # the sections of optional texts
    names = PLACEHOLDER.findall(template)
    if len(names) != 1 or "{{" in template or '"""' in template:
        return "{{ .Prompt }}"
    return PLACEHOLDER.sub("{{ .Prompt }}", template)


def quoted(text: str) -> str:
    """The quoted value of a parameter."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
