"""Shell completion of commands, options, recipes, keys, values and runs."""

import subprocess

import pytest
from click.shell_completion import ShellComplete

from llmkit import cli
from llmkit.config.schema_keys import iter_fields


def completions(*words: str) -> list[str]:
    """The completions that the shell offers for the last word."""
    *typed, incomplete = words
    found = ShellComplete(cli.main, {}, "llmkit", "_LLMKIT_COMPLETE").get_completions(
        typed, incomplete
    )
    return [item.value if item.type == "plain" else f"<{item.type}>" for item in found]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("fine",), ["finetune"]),
        (("finetune", "su"), ["summarize"]),
        (("finetune", "./mi"), ["<file>"]),
        (("finetune", "qa", "--scale", ""), ["sample", "full"]),
        (("finetune", "pretrain", "--scale", "e"), ["embedded"]),
        (("finetune", "qa", "train.learning"), ["train.learning_rate="]),
        (("finetune", "qa", "seed=1", "train.schedule=co"),
         ["train.schedule=cosine", "train.schedule=constant"]),
        (("finetune", "qa", "data.packing="), ["data.packing=true", "data.packing=false"]),
        (("finetune", "qa", "data.train="), ["<file>"]),
        # bash makes three words of KEY=VALUE
        (("finetune", "qa", "train.method", "=", "l"), ["lora"]),
        (("finetune", "qa", "train.method", "="), ["full", "lora"]),
        (("finetune", "qa", "seed", "=", "1", "train.meth"), ["train.method="]),
        (("check", "qa", "data.train", "=", "ro"), ["<file>"]),
        (("report", "runs/s"), ["runs/sum-2", "runs/sum-1"]),
        (("generate", "--model", "runs/sum-1"), ["runs/sum-1"]),
        (("finetune", "qa", "--resume", "runs/sum-2"), ["runs/sum-2"]),
        (("evaluate", "elsewhere"), ["<dir>"]),
        (("completion", ""), ["bash", "zsh", "fish"]),
    ],
)  # fmt: skip
def test_the_shell_completes(monkeypatch, tmp_path, words, expected):
    monkeypatch.chdir(tmp_path)
    for name in ("sum-1", "sum-2"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "recipe.yaml").write_text("task: summarize\n")
    (tmp_path / "runs" / "scores").mkdir()
    assert completions(*words) == expected


def test_every_key_is_completed():
    keys = [f"{key}=" for key, *_ in iter_fields()]
    assert completions("finetune", "qa", "") == keys


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_printed(llmkit, shell):
    result = llmkit("completion", shell)
    assert result.exit_code == 0, result.output
    assert f"_LLMKIT_COMPLETE={shell}_complete" in result.stdout


def test_bash_quotes_names_with_blanks(llmkit):
    script = llmkit("completion", "bash").stdout
    script += """
    compopt() { echo nospace; }
    llmkit() { printf 'plain,runs/my run\nplain,seed=\nplain,runs/a$b\n'; }
    COMP_WORDS=(llmkit evaluate ""); COMP_CWORD=2; PATH=/none
    env() { shift; shift; shift; "$@"; }
    _llmkit_completion llmkit
    printf '%s\n' "${COMPREPLY[@]}"
    """
    made = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert made.stdout.splitlines() == ["nospace", r"runs/my\ run", "seed=", r"runs/a\$b"]
