"""Ollama's Modelfile."""

import pytest

from llmkit.config.generation import Generation
from llmkit.export.modelfile import modelfile, ollama_template, quoted
from llmkit.tasks import TASKS, get_task

TEMPLATES = {
    "summarize": "{{ .Prompt }}\n\nTL;DR:",
    "reason": "Question: {{ .Prompt }}\nAnswer:",
    "classify": "{{ .Prompt }}\nLabel:",
    "instruct": "Instruction: {{ .Prompt }}\nResponse:",
    "qa": "{{ .Prompt }}",
    "pretrain": "{{ .Prompt }}",
}


@pytest.mark.parametrize("task", TEMPLATES)
def test_the_template_of_each_task_is_translated_for_ollama(task):
    assert ollama_template(get_task(task), "<|endoftext|>") == TEMPLATES[task]


@pytest.mark.parametrize("task", TASKS)
def test_the_template_of_every_task_contains_the_prompt(task):
    template = ollama_template(get_task(task), "<|endoftext|>")
    assert ".Prompt" in template or ".Messages" in template


def test_the_modelfile_has_the_settings_and_stop_strings_of_the_recipe():
    generation = Generation(max_new_tokens=7, stop=['\n"User:'])
    lines = modelfile(get_task("qa"), generation, "model.gguf", 1024, "<|endoftext|>").splitlines()
    assert lines[:2] == ["FROM ./model.gguf", 'TEMPLATE """{{ .Prompt }}"""']
    assert {
        "PARAMETER num_ctx 1024", "PARAMETER num_predict 7", "PARAMETER temperature 0.0",
        'PARAMETER stop "<|endoftext|>"', r'PARAMETER stop "\n\"User:"',
    } <= set(lines)  # fmt: skip


def test_the_modelfile_has_the_sampling_settings_of_the_recipe():
    generation = Generation(temperature=0.7, top_k=5, top_p=0.9, min_p=0.1)
    content = modelfile(get_task("chat"), generation, "model.gguf", 128, "<|endoftext|>")
    for line in ("temperature 0.7", "top_k 5", "top_p 0.9", "min_p 0.1"):
        assert f"PARAMETER {line}\n" in content


def test_quotes_and_backslashes_are_escaped():
    assert quoted('a\\b"c') == r'"a\\b\"c"'
