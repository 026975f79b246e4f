"""`llmkit chat` in a pipe: answers, history, commands and rejected lines."""

import json

import pytest
from click.testing import CliRunner
from rows import TEXT, write_jsonl
from runs import SHORT

from llmkit import cli
from llmkit.api import load_recipe
from llmkit.data.recipe_task import recipe_task
from llmkit.data.splits import open_splits


def run_llmkit(*arguments, input=None):
    return CliRunner().invoke(cli.main, list(map(str, arguments)), input=input)


def rows_of(task: str) -> list[dict]:
    if task == "instruct":
        return [{"instruction": f"{TEXT[i % 3]} {i}", "output": f"Row {i}."} for i in range(30)]
    if task == "classify":
        return [{"text": f"{TEXT[i % 3]} {i}", "label": "ab"[i % 2]} for i in range(30)]
    if task == "summarize":
        return [{"document": f"{TEXT[i % 3]} {i}", "summary": f"Row {i}."} for i in range(30)]
    return [
        {"messages": [{"role": "user", "content": f"{TEXT[i % 3]} {i}"},
                      {"role": "assistant", "content": f"Row {i}."}]}
        for i in range(30)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run_of(tiny_gpt2, tmp_path_factory):
    """A short run of a task, trained once."""
    runs = {}

    def train(task: str):
        if task not in runs:
            folder = tmp_path_factory.mktemp(task)
            path = write_jsonl(folder / "rows.jsonl", rows_of(task))
            result = run_llmkit(
                "finetune", task, f"model={tiny_gpt2}", f"data.train={path}", *SHORT,
                "data.max_length=64", "--run-dir", folder / "run",
            )  # fmt: skip
            assert result.exit_code == 0, result.output
            runs[task] = folder / "run"
        return runs[task]

    return train


@pytest.fixture
def chat(run_of, monkeypatch, tmp_path):
    """Pipe lines into a chat with a run of a task."""
    monkeypatch.chdir(tmp_path)

    def send(task: str, *lines: str, options: tuple = (), exit_code: int = 0):
        result = run_llmkit(
            "chat", "--model", run_of(task), *options, input="".join(f"{line}\n" for line in lines)
        )
        assert isinstance(result.exception, SystemExit | None), result.exc_info
        assert result.exit_code == exit_code, result.output
        return result

    return send


def saved(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_chat_gives_the_same_answers_as_generate(chat, run_of, tmp_path):
    result = chat("chat", "Who keeps a goat?", "And bees?", "/save talk.jsonl",
                  options=("--system", "Be brief."))  # fmt: skip
    (row,) = saved(tmp_path / "talk.jsonl")
    messages = row["messages"]
    assert [message["role"] for message in messages] == ["system", *["user", "assistant"] * 2]
    answers = [message["content"] for message in messages if message["role"] == "assistant"]
    assert result.stdout == "".join(f"{answer}\n" for answer in answers)
    prompts = [{"messages": messages[:2]}, {"messages": messages[:4]}]
    write_jsonl(tmp_path / "prompts.jsonl", prompts)
    alone = run_llmkit("generate", "--model", run_of("chat"), "--input", "prompts.jsonl", "--json")
    predictions = [json.loads(line)["prediction"] for line in alone.stdout.splitlines()]
    assert predictions == answers


def test_reset_clears_the_conversation(chat, tmp_path):
    result = chat("chat", "Who keeps a goat?", "/reset", "/save none.jsonl", "Who keeps a goat?",
                  "/save talk.jsonl", "/save talk.jsonl", "/reset", "Who?", "/save talk.jsonl",
                  exit_code=2)  # fmt: skip
    first, again, _ = result.stdout.splitlines()
    assert first == again
    (row,) = saved(tmp_path / "talk.jsonl")
    assert len(row["messages"]) == 2
    assert not (tmp_path / "none.jsonl").exists()
    errors = [line for line in result.stderr.splitlines() if line.startswith(("line", "llmkit"))]
    assert errors == [
        "line 3: /save: there is nothing to save yet",
        "line 9: /save: talk.jsonl already exists; choose another name",
        "llmkit: 2 lines rejected; see above",
    ]


@pytest.mark.parametrize("name", ["talk.jsonl", "talk.json", "talk.parquet"])
@pytest.mark.parametrize("task", ["chat", "summarize", "pretrain"])
def test_saved_conversations_can_be_trained_on(chat, tmp_path, task, name, tiny_gpt2, monkeypatch):
    if task == "pretrain":
        text = "One, two.\n/save {}\n"
        result = run_llmkit("chat", "--model", tiny_gpt2, "--max-new-tokens", 4,
                            input=text.format(tmp_path / name))  # fmt: skip
        assert result.exit_code == 0, result.output
    else:
        chat(task, "Who keeps a goat?", "船 👩🏽‍🌾?", f"/save {name}")
    task = {"summarize": "instruct"}.get(task, task)
    path = str(tmp_path / name)
    recipe = load_recipe(task, {f"data.{split}": path for split in ("train", "validation", "test")})
    rows = open_splits(recipe.data, recipe_task(recipe), recipe.evaluation)["train"]
    assert len(list(rows)) == {"chat": 1, "instruct": 2, "pretrain": 1}[task]


def test_a_message_that_is_too_long_is_rejected_and_the_chat_continues(chat):
    result = chat("chat", "Who?", "goat " * 200, "And bees?", exit_code=2)
    assert len(result.stdout.splitlines()) == 2
    assert "line 2: the message has " in result.stderr
    assert result.stderr.splitlines()[-1] == "llmkit: 1 line rejected; see above"


def test_dropped_turns_are_reported_once(chat):
    result = chat("chat", *["Who keeps a goat?"] * 6)
    assert len(result.stdout.splitlines()) == 6
    notes = [line for line in result.stderr.splitlines() if "dropped the oldest" in line]
    assert notes[0] == "dropped the oldest turn to fit data.max_length of 64 tokens"
    assert len(notes) == len(set(notes)) < 6


@pytest.mark.parametrize(
    ("task", "introduction"),
    [
        ("instruct", 'instruct: each message is one input for the template "{#system}'),
        ("summarize", 'summarize: each message is one input for the template "{document}'),
        ("classify", 'classify: each message is one input for the template "{text}'),
    ],
)
def test_runs_of_other_tasks_explain_how_messages_are_used(chat, task, introduction):
    result = chat(task, "Who keeps a goat?", "", "Who?")
    assert len(result.stdout.splitlines()) == 2
    assert introduction in result.stderr
    assert "/help" not in result.stderr, "a pipe needs no help"
    assert chat(task, "Who keeps a goat?", options=("--quiet",)).stderr == ""


@pytest.mark.parametrize("task", ["summarize", "instruct"])
def test_inputs_of_a_task_are_independent(chat, task):
    first, _, again = chat(task, TEXT[0], TEXT[1], TEXT[0]).stdout.splitlines()
    assert first == again


def test_an_instruction_is_saved_with_its_system_prompt(chat, tmp_path):
    result = chat("instruct", "Who?", "/save told.jsonl", options=("--system", "Be brief."))
    row = {"system": "Be brief.", "prompt": "Who?", "completion": result.stdout.strip()}
    assert saved(tmp_path / "told.jsonl") == [row]


def test_a_classifier_prints_its_label_and_the_probability(chat, run_of, tmp_path):
    shown = chat("classify", *TEXT[:2]).stdout
    write_jsonl(tmp_path / "rows.jsonl", [{"text": text} for text in TEXT[:2]])
    expected = run_llmkit("generate", "--model", run_of("classify"), "--input", "rows.jsonl")
    assert shown == expected.stdout


def test_sampled_answers_depend_only_on_the_seed(chat):
    options = ("--temperature", "1", "--seed")
    one, again, other = (
        chat("chat", "Who?", "Who?", options=(*options, seed)).stdout for seed in (1, 1, 2)
    )
    assert one == again != other


@pytest.mark.parametrize(
    ("task", "options", "expected"),
    [
        ("chat", ("--num-beams", "2"), "generation.num_beams is 2, and beams cannot be streamed"),
        ("chat", ("--temperature", "-1"), "--temperature: "),
        ("chat", ("--max-new-tokens", "64"), "no room for a message"),
        ("chat", ("--system", "goat " * 100), "no room for a message"),
        ("chat", ("hello",), "type it in the chat, or pipe it: echo hello | llmkit chat"),
        ("chat", ("data.columns.text=a",), "chat takes only data.template, data.max_length"),
        ("chat", ("--model", "none"), "none"),
        ("summarize", ("--system", "x"), "--system: summarize takes no system prompt"),
        ("classify", ("--temperature", "1"), "classify predicts labels"),
    ],
)
def test_invalid_chat_options_are_rejected_in_one_line(chat, task, options, expected):
    result = chat(task, "Who?", options=options, exit_code=2)
    assert expected in result.stderr.splitlines()[-1]
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/rest", "/rest: no such command; did you mean /reset?; /help lists the commands"),
        ("/path/to", "/path/to: no such command; /help lists the commands"),
        ("/quit now", "/quit: takes no argument; /help lists the commands"),
        ("/save", "/save: requires a file name, as in /save talk.jsonl"),
        ("/save no/talk.jsonl", "/save: there is no folder no; make it first"),
        ("/save .", "/save: . is a folder; name a file"),
        ("/save talk.csv", "/save: talk.csv: name a file that ends in .jsonl, .json, .parquet"),
        ("/save talk.jsonl", "/save: there is nothing to save yet"),
        ("/save a\0.jsonl", "/save: a\\x00.jsonl: NUL cannot be part of a file name"),
        (
            "/save a\x1b[2J\x9b1m.csv",
            "/save: a\ufffd[2J\ufffd1m.csv: name a file that ends in .jsonl, .json, .parquet",
        ),
        ("caf\udce9", "not valid UTF-8; the line was skipped"),
    ],
)
def test_a_rejected_line_does_not_end_the_chat(run_of, monkeypatch, tmp_path, line, expected):
    monkeypatch.chdir(tmp_path)
    content = f"{line}\nWho?\n/quit\nnever read\n".encode(errors="surrogateescape")
    result = run_llmkit("chat", "--model", run_of("chat"), input=content)
    assert result.exit_code == 2
    assert f"line 1: {expected}" in result.stderr.splitlines()
    assert len(result.stdout.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "\n \n", "\u200b\n"])
def test_empty_standard_input_is_rejected(run_of, content):
    result = run_llmkit("chat", "--model", run_of("chat"), input=content)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        "llmkit: no message on standard input; pipe in one per line"
    )


def test_help_lists_every_command_even_when_quiet(chat):
    result = chat("chat", "/help", options=("--quiet",))
    assert result.stdout == ""
    for command in ("/reset", "/save FILE", "/help", "/quit", "Ctrl-C"):
        assert command in result.stderr
    assert max(map(len, result.stderr.splitlines())) <= 60


def test_a_plain_language_model_continues_each_text(tiny_gpt2):
    result = run_llmkit("chat", "--model", tiny_gpt2, "--max-new-tokens", 4, input="One.\nTwo.\n")
    assert result.exit_code == 0, result.output
    assert "plain language model: it continues your text" in result.stderr
    assert "empty line" not in result.stderr, "blank lines of a pipe are skipped"
    prompted = [
        run_llmkit("generate", "--model", tiny_gpt2, "--max-new-tokens", 4, "--prompt", text)
        for text in ("One.", "Two.")
    ]
    assert result.stdout == "".join(each.stdout for each in prompted)
