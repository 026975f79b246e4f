"""The command line: help, exit codes, mistakes in one line, and quick answers."""

import errno
import os
import re
import signal
import subprocess
import sys

import click
import pytest

from llmkit import __main__ as program
from llmkit import cli
from llmkit.runtime.signals import Stopped


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("finetune", "sumarize"), "did you mean summarize"),
        (("finetune", "nowhere.yaml"), "no such recipe file"),
        (("finetune", "classify", "data.train="), "data.train: empty file name; give a path"),
        (("compare", "no", "no", "--task", "qa"), "no: no such file"),
        (("finetune", "classify", "data.train=reviews"), "reviews: no such file; check data.train"),
        (("finetune",), "Missing argument 'RECIPE'"),
        (("finetun", "qa"), "No such command"),
        (("evaluate", "embedded"), "--recipe RECIPE"),
        (("evaluate", "runs/none", "--recipe", "qa", "--scale", "x"), "no scale 'x'"),
        (("generate", "--model", "./none", "--prompt", "a"), "no such folder"),
        (("generate", "--prompt", "a", "--seed", "-1"), "--seed"),
        (("generate", "--prompt", "a", "--output", "."), "is a folder; name a file"),
        (("generate", "--prompt", "a", "--temperature", "1e-40"), "below 0.001 overflows"),
        (
            ("generate", "--prompt", "a", "--num-beams", "2", "--num-return-sequences", "4"),
            "at least as many --num-beams",
        ),
    ],
)
def test_bad_commands_end_in_one_line(llmkit, arguments, expected):
    result = llmkit(*arguments)
    assert result.exit_code == 2
    assert expected in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output


def test_help_needs_no_heavy_import(subprocess_env):
    code = (
        "import sys\nfrom llmkit.cli import main\n"
        "try: main(['finetune', '--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pydantic', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], env=subprocess_env, capture_output=True, text=True, check=True
    )
    assert shown.stdout.splitlines()[-1] == "[]"


def test_python_m_llmkit_is_the_command(subprocess_env):
    shown = subprocess.run(
        [sys.executable, "-m", "llmkit", "--version"],
        env=subprocess_env,
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0
    assert shown.stdout.startswith("llmkit, version ")
    assert os.linesep in shown.stdout


def test_ctrl_c_while_python_exits_shows_no_traceback(monkeypatch):
    """A further Ctrl-C then ends the process instead of raising in an exit handler."""

    def stop():
        raise SystemExit(130)

    monkeypatch.setattr(cli, "main", stop)
    previous = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit, match="130"):
            program.main()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, previous)


@pytest.mark.parametrize(
    ("error", "code"), [(Stopped(signal.SIGTERM), 143), (FloatingPointError("a NaN"), 1)]
)
def test_what_ends_all_processes_is_said_by_the_first(llmkit, monkeypatch, error, code):
    def end(*_, **__):
        raise error

    monkeypatch.setattr(cli.main, "invoke", end)
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        result = llmkit("finetune", "qa")
        assert result.exit_code == code
        assert len(result.stderr.splitlines()) == (rank == "0")


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EFBIG, "raise the limit on the size of a file (ulimit -f), or choose another disk"),
    ],
)
def test_a_full_disk_is_named_with_advice(llmkit, monkeypatch, number, advice):
    error = OSError(number, os.strerror(number), "model.bin")

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(cli.main, "invoke", fail)
    result = llmkit("recipes")
    assert result.exit_code == 1
    assert result.stderr == f"llmkit: model.bin: {os.strerror(number)}; {advice}\n"
    error.advice = "; run the command again to continue"
    assert llmkit("recipes").stderr.count(";") == 1


VERBS = list(cli.VERBS)


def test_a_usage_mistake_names_the_command_once(llmkit):
    (line,) = llmkit("finetune").stderr.splitlines()
    assert line == ("llmkit: finetune: Missing argument 'RECIPE'. See `llmkit finetune --help`.")


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_is_whole_and_has_examples(verb):
    command = cli.main.get_command(click.Context(cli.main), verb) or cli.main
    for width in (60, 80):
        context = click.Context(
            command, info_name=f"llmkit {verb}".strip(), terminal_width=width,
            max_content_width=width,
        )  # fmt: skip
        lines = command.get_help(context).splitlines()
        assert "Examples:" in command.get_help(context)
        usage = lines.index("")
        assert not any(line.endswith("...") for line in lines[usage:])
        assert not re.search(r"INTEGER|FLOAT|x[<>]=", "\n".join(lines))
        prose = [line for line in lines if not line.lstrip().startswith(("llmkit", "eval"))]
        assert max(map(len, prose)) <= width


def test_help_names_exit_codes_and_variables(llmkit):
    shown = llmkit("--help").output
    for expected in ("Exit codes:", "130", "LLMKIT_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE",
                     "WANDB_PROJECT"):  # fmt: skip
        assert expected in shown
    assert "[MODEL_OR_RUN]" in llmkit("evaluate", "--help").output


@pytest.mark.parametrize("closed", ["stdin", "stdout", "stderr"])
def test_a_standard_stream_may_be_closed(monkeypatch, capsys, closed):
    """As by `llmkit recipes >&-` or a service without a terminal."""
    monkeypatch.setattr(sys, closed, None)
    cli.main(["recipes"])
    with pytest.raises(SystemExit, match="2"):
        cli.main(["nonsense"])
