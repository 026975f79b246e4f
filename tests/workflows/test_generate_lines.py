"""Prompts from standard input, and streaming to a terminal."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from rows import TEXT, write_csv
from runs import SHORT, forget_accelerator
from served import open_tiny

from llmkit import cli
from llmkit.generation.session import open_session
from llmkit.runtime.console import make_console, without_controls
from llmkit.workflows.generate import generate_from_lines, generate_from_prompt


@pytest.fixture
def generate(tiny_gpt2, tmp_path, monkeypatch):
    """Run the command in this process, in an empty folder, with the given standard input."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, stdin=b"", model=tiny_gpt2, max_new_tokens=4):
        forget_accelerator()
        words = ["generate", "--model", model, "--max-new-tokens", max_new_tokens, *arguments]
        return CliRunner().invoke(cli.main, [str(word) for word in words], input=stdin)

    return run


LINES = f"{TEXT[0]}\n\n  \n{TEXT[1][:20]}\r\nGröße\nlast".encode()


@pytest.mark.parametrize("options", [(), ("--json",), ("--temperature", 1), ("--input", "-")])
def test_lines_are_completed_like_those_of_a_text_file(generate, tmp_path, options):
    (tmp_path / "in.txt").write_bytes(LINES)
    piped = generate(*options, stdin=LINES)
    assert piped.exit_code == 0, piped.output
    if options[:1] == ("--input",):
        options = ()
    read = generate("--input", "in.txt", *options)
    assert piped.stdout == read.stdout
    assert len(piped.stdout.splitlines()) >= 4
    assert piped.stderr == read.stderr


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_lines_are_written_to_a_file_like_those_of_a_text_file(generate, tmp_path, suffix):
    (tmp_path / "in.txt").write_bytes(LINES)
    assert generate("--output", f"piped.{suffix}", stdin=LINES).exit_code == 0
    assert generate("--input", "in.txt", "--output", f"read.{suffix}").exit_code == 0
    piped, read = (tmp_path / f"{name}.{suffix}" for name in ("piped", "read"))
    assert piped.read_bytes() == read.read_bytes()
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("arguments", [("--prompt", "one"), ()])
def test_written_predictions_are_counted(generate, arguments):
    result = generate(*arguments, "--output", "out.csv", stdin=b"one")
    assert result.stderr.splitlines()[-1] == "1 prediction written to out.csv"


def test_predictions_with_line_breaks_are_counted(generate):
    constrained = ("--choices", "a\nb")
    piped = generate(*constrained, stdin=b"one\ntwo\n")
    assert piped.stdout.splitlines() == ["a", "b"] * 2
    assert piped.stderr.splitlines()[-1] == (
        "warning: 2 of 2 predictions contain line breaks; --json prints each prediction on one line"
    )
    for arguments in (("--json",), ("--prompt", "one"), ("--output", "out.csv")):
        assert "warning" not in generate(*constrained, *arguments, stdin=b"one\ntwo\n").stderr


def test_a_classifier_prints_a_label_for_each_line(generate, tiny_gpt2, tmp_path):
    labeled = [{"text": f"{TEXT[i % 3]} {i}", "label": "ab"[i % 2]} for i in range(60)]
    write_csv(tmp_path / "rows.csv", labeled)
    train = ["finetune", "classify", f"model={tiny_gpt2}", "data.train=rows.csv", *SHORT,
             "--run-dir", "run"]  # fmt: skip
    assert CliRunner().invoke(cli.main, train).exit_code == 0
    forget_accelerator()
    command = ["generate", "--model", "run"]
    result = CliRunner().invoke(cli.main, command, input=f"{TEXT[0]}\n{TEXT[1]}\n")
    assert result.exit_code == 0, result.output
    labels = [line.split("\t") for line in result.stdout.splitlines()]
    assert {label for label, _ in labels} <= {"a", "b"}
    assert all(0.5 <= float(probability) <= 1 for _, probability in labels)
    assert len(labels) == 2


def test_each_prediction_is_printed_before_the_next_line_arrives(tiny_gpt2, capsys):
    forget_accelerator()
    console = make_console(quiet=True)
    session = open_session(str(tiny_gpt2), (), {"max_new_tokens": 2}, 0, console)
    counts = []

    def chunks():
        for text in TEXT:
            yield f"{text[:20]}\n".encode()
            counts.append(len(capsys.readouterr().out.splitlines()))

    generate_from_lines(session, chunks(), False, None, as_json=True)
    assert counts == [1] * len(TEXT)


def test_lines_before_an_invalid_one_are_completed(generate):
    lines = b"The ferry\nA man\nGr\xf6\xdfe\nlast\n"
    result = generate("--json", stdin=lines)
    assert result.exit_code == 2
    assert [json.loads(line)["prompt"] for line in result.stdout.splitlines()] == [
        "The ferry", "A man",
    ]  # fmt: skip
    last = result.stderr.splitlines()[-1]
    assert last.startswith("llmkit: standard input:3: byte 3 is not UTF-8")
    assert last.endswith("or skip such rows with data.skip_invalid=true")
    result = generate("--json", "data.skip_invalid=true", stdin=lines + b"a b " * 200)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["prompt"] for row in rows] == ["The ferry", "A man", "last"]
    assert "warning: 2 rows have no prediction" in result.stderr
    assert "standard input:5: 600 tokens" in result.stderr
    result = generate("--json", "data.encoding=cp1252", stdin=lines)
    assert json.loads(result.stdout.splitlines()[2])["prompt"] == "Größe"


@pytest.mark.parametrize(
    ("stdin", "options", "message"),
    [
        (b"", (), "standard input is empty; give either --prompt TEXT or --input FILE, or pipe"),
        (b" \n\t\n", (), "standard input: only blank lines"),
        (b"a\n", ("data.encoding=utf-16",), "standard input cannot be read as utf-16"),
        (b"a b " * 200, (), "exceed the model's 128 positions"),
        (b"a\n", ("--json", "--output", "out.csv"), "give either --json, which prints"),
        (b"a\n", ("--prompt", "b", "--input", "-"), "give either --prompt TEXT or --input FILE"),
    ],
)
def test_invalid_standard_input_is_rejected_in_one_line(
    generate, tmp_path, stdin, options, message
):
    result = generate(*options, stdin=stdin)
    assert result.exit_code == 2
    assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output
    result = generate(*options, "--output", "out.jsonl", stdin=stdin)
    assert result.exit_code == 2
    assert not list(tmp_path.iterdir())


def test_an_output_name_too_long_for_its_partial_file_is_rejected(generate, tmp_path):
    result = generate("--output", f"{'x' * 240}.csv", stdin=b"a\n")
    assert result.exit_code == 2
    assert "the name is too long for the file system; shorten it" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)


def test_the_error_in_a_terminal_without_a_prompt_says_how_to_give_one(generate, terminal):
    result = generate()
    assert result.exit_code == 2
    assert result.stderr == (
        "llmkit: no prompt; give either --prompt TEXT or --input FILE, or pipe in prompts, one per "
        "line\n"
    )


def test_a_terminal_shows_the_same_text_as_a_pipe(generate, monkeypatch):
    run = ("--prompt", TEXT[0], "--temperature", 1, "--seed", 5)
    piped = generate(*run, max_new_tokens=30)
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    shown = generate(*run, max_new_tokens=30)
    assert shown.exit_code == 0, shown.output
    assert shown.stdout == without_controls(piped.stdout)


@pytest.mark.parametrize(("task", "is_raw", "is_named"), [
    ("qa", False, True), ("qa", True, False), ("chat", False, False), ("pretrain", False, False),
])  # fmt: skip
def test_a_template_that_a_prompt_cannot_fill_is_named(tiny_gpt2, capsys, task, is_raw, is_named):
    session = replace(open_tiny(tiny_gpt2, task), console=make_console(stderr=True))
    generate_from_prompt(session, "Who left?", is_raw, None)
    shown = " ".join(capsys.readouterr().err.split())
    assert ("has several inputs" in shown) == is_named
