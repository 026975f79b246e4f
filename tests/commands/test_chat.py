"""`llmkit chat` in a real terminal."""

import json
from functools import partial

import pytest
from rows import TEXT, write_jsonl
from runs import SHORT
from terminal import Terminal

from llmkit.config.schema import Scratch
from llmkit.data.bpe import train_bpe
from llmkit.model.load import save_model, scratch_model


@pytest.fixture
def terminal():
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.fixture
def start(fork_server, terminal, tmp_path):
    """Start a chat in the terminal."""

    def chat(*arguments):
        environment = {**fork_server.environment, "TERM": "xterm", "NO_COLOR": "1"}
        return fork_server.start(
            ("chat", *arguments), cwd=tmp_path, environment=environment, terminal=terminal.name
        )

    return chat


def test_a_conversation_at_a_terminal(llmkit, start, terminal, tiny_gpt2, tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", [
        {"messages": [{"role": "user", "content": f"Who is {number}?"},
                      {"role": "assistant", "content": "Mara."}]}
        for number in range(30)
    ])  # fmt: skip
    trained = llmkit("finetune", "chat", f"model={tiny_gpt2}", f"data.train={path}", *SHORT,
                     "--run-dir", "run")  # fmt: skip
    assert trained.exit_code == 0, trained.output
    process = start("--model", "run", "--temperature", 1, "--max-new-tokens", 60,
                    "--min-new-tokens", 60)  # fmt: skip
    assert "/help lists commands" in terminal.wait_for("> ")
    terminal.type("Who keeps a gaot\x7f\x7f\x7foat?\n")  # with a correction
    terminal.wait_for("?\r\n")
    first = terminal.wait_for("\r\n> ").replace("\x1b[2m", "").replace("\x1b[0m", "")  # dim notes
    assert not any(ord(c) < 32 and c not in "\r\n\t" for c in first), repr(first)
    terminal.type('"""two\nlines"""\n')
    terminal.wait_for("\r\n> ")
    terminal.interrupt_prompt(process.pid, "half a li")
    terminal.wait_for("press Ctrl-C again or type /quit to end the chat\r\n> ")
    terminal.type("/save talk.jsonl\n")
    assert "saved to talk.jsonl" in terminal.wait_for("\r\n> ")
    terminal.type("\x04")
    process.communicate()
    assert process.returncode == 0, terminal.screen
    (row,) = map(json.loads, (tmp_path / "talk.jsonl").read_text("utf-8").splitlines())
    questions = [message["content"] for message in row["messages"][::2]]
    assert questions == ["Who keeps a goat?", "two\nlines"]


def test_ctrl_c_stops_the_answer_but_not_the_program(start, terminal, tmp_path):
    shape = Scratch(n_layer=1, n_head=1, n_embd=8, n_positions=20_000, vocab_size=320)
    save_model(*scratch_model(shape, partial(train_bpe, TEXT)), tmp_path / "model")
    endless = ("--max-new-tokens", 19_000, "--min-new-tokens", 19_000)
    process = start("--model", "model", *endless)
    terminal.wait_for("> ")
    terminal.type("Mara\n")
    terminal.wait_for("Mara\r\n")
    terminal.read_character()  # the answer has begun
    terminal.type("\x03")
    answer = terminal.wait_for("\r\n> ")
    assert "stopped; the partial answer is kept in the history" in answer
    terminal.type("/save text.jsonl\n")
    terminal.wait_for("saved to text.jsonl")
    terminal.type("/quit\n")
    process.communicate()
    assert process.returncode == 0, terminal.screen
    (row,) = map(json.loads, (tmp_path / "text.jsonl").read_text("utf-8").splitlines())
    assert len(row["text"]) > len("Mara")


def test_pressing_ctrl_c_twice_at_the_prompt_ends_the_chat(start, terminal, tiny_gpt2):
    process = start("--model", tiny_gpt2)
    terminal.wait_for("> ")
    terminal.interrupt_prompt(process.pid, "x")
    terminal.wait_for("end the chat\r\n> ")
    terminal.interrupt_prompt(process.pid, "x")
    process.communicate()
    assert process.returncode == 130, terminal.screen
    terminal.wait_for("llmkit: stopped by Ctrl-C")


def test_sigterm_at_the_prompt_restores_the_terminal(start, terminal, tiny_gpt2):
    before = terminal.settings
    process = start("--model", tiny_gpt2)
    terminal.wait_for("> ")
    terminal.type_at_prompt(process.pid, "half a li")
    assert terminal.settings != before, "readline reads single keys"
    process.terminate()
    process.communicate()
    assert process.returncode == 143, terminal.screen
    assert terminal.settings == before
    terminal.wait_for("llmkit: stopped by SIGTERM")
