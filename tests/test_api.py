"""The Python API: each function's example runs, prints nothing and changes no global state."""

import doctest
import gc
import os
import signal
import subprocess
import sys
import warnings

import pytest

import llmkit
from llmkit.errors import UserError

# In the order in which their examples build on each other.
FUNCTIONS = (
    "load_recipe", "load_model", "finetune", "evaluate", "compare", "generate", "check", "plan",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("api")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_in_the_docstring_runs(folder, monkeypatch, name, capfd):
    monkeypatch.chdir(folder)
    if name in ("evaluate", "compare") and not (folder / "runs" / "demo").is_dir():
        run_example("finetune")  # this process runs only some of these tests
    results = run_example(name)
    assert results.attempted > 1
    printed = capfd.readouterr()
    assert results.failed == 0, printed.out
    assert printed.err == ""


def run_example(name: str) -> doctest.TestResults:
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(llmkit, name), name, globs={})
    return doctest.DocTestRunner().run(example)


def test_every_public_function_has_an_example():
    assert {*FUNCTIONS, "UserError"} == set(llmkit.__all__) <= set(dir(llmkit))
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        llmkit.train  # noqa: B018


def global_state() -> tuple:
    import datasets
    from transformers.utils import logging

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    umask = os.umask(0o22)
    os.umask(umask)
    bars = (datasets.is_progress_bar_enabled(), logging.is_progress_bar_enabled())
    return list(warnings.filters), gc.isenabled(), umask, handlers, bars, logging.get_verbosity()


def test_a_call_prints_nothing_and_leaves_the_process_as_it_was(tiny_gpt2, capfd):
    before = global_state()
    model, _ = llmkit.load_model(tiny_gpt2)
    llmkit.generate(["a b"], tiny_gpt2, max_new_tokens=2)
    assert model.num_parameters() > 0
    assert global_state() == before
    assert capfd.readouterr() == ("", "")


def test_verbose_prints_what_the_command_prints(tiny_gpt2, capfd):
    llmkit.generate(["a b"], tiny_gpt2, max_new_tokens=2, verbose=True)
    assert f"model: {tiny_gpt2}" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: llmkit.load_recipe("none"), "no recipe 'none'"),
        (lambda: llmkit.load_recipe("qa", {"max_length": 3}), "it is now data.max_length"),
        (lambda: llmkit.evaluate("embedded"), "not a run; name the recipe"),
        (lambda: llmkit.generate(["a"], "runs/none"), "no such folder"),
    ],
)
def test_a_mistake_raises_the_error_of_the_command(call, message):
    with pytest.raises(UserError, match=message):
        call()


@pytest.mark.parametrize(
    ("decoding", "message"),
    [
        ({"top_k": 5}, "top_k, top_p and min_p require a temperature above 0"),
        ({"max_tokens": 5}, "max_tokens: not a decoding setting; did you mean max_new_tok"),
        ({"stop": 5}, "stop: takes a list of items, each text; got 5"),
        ({"regex": "(a"}, "regex: llguidance rejects it: (a: unclosed group"),
    ],
)
def test_mistakes_in_keyword_arguments_are_named_as_such(decoding, message):
    with pytest.raises(UserError) as caught:
        llmkit.generate(["a"], "embedded", **decoding)
    assert str(caught.value).startswith(message)
    assert "--" not in str(caught.value)


def test_keyword_arguments_constrain_and_stop_completions():
    prompts = ["The ferry was late.", "Was it?"]
    answers = llmkit.generate(prompts, "embedded", choices=["yes", "no"])
    assert {answer.text for answer in answers} <= {"yes", "no"}
    assert all(answer.ended for answer in answers)
    texts = [answer.text for answer in llmkit.generate(prompts, "embedded", stop=".")]
    assert all(text and "." not in text for text in texts)


def test_overrides_take_python_values():
    recipe = llmkit.load_recipe(
        "summarize",
        {
            "data.columns": {"document": "article", "summary": ["a", "b"]},
            "train.betas": [0.9, 0.95],
            "data.config": "3.0",
            "train.dropout": None,
            "trackers": "tensorboard",
        },
    )
    assert recipe.data.columns == {"document": "article", "summary": ["a", "b"]}
    assert recipe.train.betas == [0.9, 0.95]
    assert recipe.data.config == "3.0"
    assert recipe.train.dropout is None
    assert recipe.trackers == ["tensorboard"]


@pytest.mark.slow
def test_importing_the_package_changes_no_global_state():
    code = (
        "import os, gc, signal, sys, warnings\n"
        "def state(): return (list(warnings.filters), gc.isenabled(), dict(os.environ),"
        " signal.getsignal(signal.SIGINT))\n"
        "before = state(); modules = set(sys.modules); import llmkit; dir(llmkit)\n"
        "assert state() == before\n"
        "assert not {'torch', 'transformers', 'click'} & (set(sys.modules) - modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
