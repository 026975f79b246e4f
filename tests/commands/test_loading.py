"""Output of a command while PyTorch and transformers are imported."""

import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from llmkit.commands import loading as loading_module
from llmkit.commands.loading import ERASE_LINE, LOADING, loading


def test_the_first_output_comes_before_any_library(subprocess_env):
    code = """if True:
        import sys
        class Watched:
            def write(self, text):
                if text.strip():
                    heavy = {"torch", "transformers", "pydantic", "yaml", "numpy", "rich"}
                    print(text.strip(), "|", sorted(heavy & set(sys.modules)))
                    sys.exit()
            def flush(self): pass
            def isatty(self): return False
            def reconfigure(self, **_): pass
        from llmkit.__main__ import main
        sys.argv = ["llmkit", *sys.argv[1:]]
        sys.stderr = Watched()
        main()
    """
    for arguments in (["finetune", "nowhere"], ["evaluate", "nowhere"]):
        shown = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=subprocess_env, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert shown.stdout == f"{LOADING} | []\n"


def test_ctrl_c_while_libraries_load_ends_in_one_line(subprocess_env):
    process = subprocess.Popen(
        [sys.executable, "-m", "llmkit", "check", "qa"],
        env=subprocess_env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr.readline() == f"{LOADING}\n"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate()
    assert (process.returncode, output, errors) == (130, "", "llmkit: stopped by Ctrl-C\n")


class Stream:
    """stderr, with or without a terminal behind it."""

    def __init__(self, is_terminal):
        self.is_terminal, self.text = is_terminal, ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return self.is_terminal


@pytest.fixture
def unloaded(monkeypatch):
    """As in a process that has imported nothing yet."""
    modules = {name: module for name, module in sys.modules.items() if name != "transformers"}
    fake = SimpleNamespace(modules=modules, stderr=None)
    monkeypatch.setattr(loading_module, "sys", fake)

    def run(is_terminal, **settings):
        fake.stderr = Stream(is_terminal)
        with loading(**settings):
            during = fake.stderr.text
        return during, fake.stderr.text

    monkeypatch.setattr(
        loading_module, "print",
        lambda *words, end="\n", file=None, flush=False: fake.stderr.write(" ".join(words) + end),
        raising=False,
    )  # fmt: skip
    return run


def test_loading_is_a_line_in_a_file_and_passes_on_a_terminal(unloaded, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    assert unloaded(is_terminal=False) == (f"{LOADING}\n", f"{LOADING}\n")
    assert unloaded(is_terminal=True) == (LOADING, LOADING + ERASE_LINE)
    assert unloaded(is_terminal=True, is_quiet=True) == ("", "")
    with monkeypatch.context() as dumb:
        dumb.setenv("TERM", "dumb")
        assert unloaded(is_terminal=True) == (f"{LOADING}\n", f"{LOADING}\n")
    monkeypatch.setenv("RANK", "1")
    assert unloaded(is_terminal=True) == ("", "")
