"""The languages that a translation prompt names."""

import pytest
from rows import TEXT, write_jsonl

from llmkit.config.schema import Data
from llmkit.data.recipe_task import prompt_task, prompt_warnings
from llmkit.errors import UserError


@pytest.mark.parametrize(
    ("data", "template", "prompt", "warnings"),
    [
        ({}, None, "English: {source}\nGerman:", 0),
        ({"columns": {"source": "en", "target": "fr"}}, None, "English: {source}\nFrench:", 0),
        ({"columns": {"target": "translation.zh_CN"}}, None, "English: {source}\nChinese:", 0),
        ({"columns": {"source": "de", "target": ["en", "en2"]}}, None,
         "German: {source}\nEnglish:", 0),
        ({"target_language": "Klingon"}, None, "English: {source}\nKlingon:", 0),
        ({"target_language": "French"}, "In {target_language}: {source} =>",
         "In French: {source} =>", 0),
        ({"columns": {"target": "fr"}, "target_language": "German"}, None,
         "English: {source}\nGerman:", 1),
        ({"columns": {"source": "en", "target": "fr"}}, "English: {source}\nGerman:",
         "English: {source}\nGerman:", 1),
        ({"columns": {"source": "de", "target": "en"}}, "English: {source}\nGerman:",
         "English: {source}\nGerman:", 1),
        ({"columns": {"source": "en", "target": "de"}}, "Say in German: {source} ->",
         "Say in German: {source} ->", 0),
        ({"columns": {"source": "en", "target": "text"}}, None, "English: {source}\nGerman:", 1),
        ({"columns": {"source": "a", "target": "b"}}, None, "English: {source}\nGerman:", 2),
        ({"columns": {"source": "en", "target": "text"}, "target_language": "German"}, None,
         "English: {source}\nGerman:", 0),
        ({"columns": {"source": "question", "target": "answer"}}, "Q: {source}\nA:",
         "Q: {source}\nA:", 0),
    ],
)  # fmt: skip
def test_the_prompt_names_the_languages_or_a_warning_says_so(data, template, prompt, warnings):
    data = Data(train="x", template=template, **data)
    task = prompt_task("translate", data)
    assert task.template == prompt
    assert len(prompt_warnings(data, task)) == warnings


def test_a_prompt_that_contradicts_the_columns_is_warned_about_even_with_quiet(llmkit, tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", [{"en": t, "fr": t} for t in TEXT])
    options = ("data.columns.target=fr", "data.target_language=German", "model=no/model")
    result = llmkit("finetune", "translate", f"data.train={path}", *options, "--quiet")
    warning, error = result.stderr.splitlines()
    assert "data.columns.target is named after French, but the prompt says German" in warning
    assert "no/model" in error
    assert not result.stdout


def test_languages_are_refused_for_other_tasks_than_translate():
    with pytest.raises(UserError, match="are for translate; remove them"):
        prompt_task("qa", Data(target_language="French"))
