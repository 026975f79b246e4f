"""Malicious recipes, rows and runs are rejected at once, in one line, and never executed."""

import json
import os
import pickle
import shutil
import time
from pathlib import Path

import pytest
import torch
from rows import summary_rows, write_jsonl
from safetensors.torch import load_file, save_file
from stopped_runs import six_steps, stopped_run

from llmkit.config.recipe_files import to_yaml
from llmkit.io.atomic import write_manifest

CLAIM = "malicious recipes, rows, runs and models: rejected in one line, no code in them is run"
CANARY = "canary"  # the folder that executed code would create


class Bomb:
    def __reduce__(self):
        return os.mkdir, (CANARY,)


BOMB = pickle.dumps(Bomb())
RUN_IT = f"!!python/object/apply:os.mkdir [{CANARY}]"
QA = "task: qa\nmodel: embedded\ntrain: {epochs: 1}\ndata: {max_length: 200}\n"


def with_data(settings: str) -> str:
    return QA.replace("max_length: 200", f"max_length: 200, {settings}")


RECIPES = {  # content, and part of the error message
    "a call": (f"{QA}seed: {RUN_IT}\n", "not valid YAML"),
    "a call as a key": (f"? {RUN_IT}\n: 1\n", "not valid YAML"),
    "a call at the root": (RUN_IT, "not valid YAML"),
    "a new object": (f"task: !!python/object/new:os.mkdir [{CANARY}]\n", "not valid YAML"),
    "a name": ("task: !!python/name:os.system\n", "not valid YAML"),
    "a module": ("task: !!python/module:os\n", "not valid YAML"),
    "a tuple": ("task: !!python/tuple [1, 2]\n", "not valid YAML"),
    "a handle": (
        "%TAG ! tag:yaml.org,2002:python/\n---\ntask: !object/apply:os.mkdir [canary]\n",
        "not valid YAML",
    ),
    "laughs": (
        "a: &a [1]\n" + "".join(f"{k}: &{k} [*a, *a]\n" for k in "bcdef"), "aliases (*name) are"
    ),
    "itself": ("task: &a [*a]\n", "aliases (*name) are not supported"),
    "merged": ("a: &a {task: qa}\n<<: *a\n", "aliases (*name) are not supported"),
    "deep": ("task: " + "[" * 60_000, "nested too deeply"),
    "deep blocks": ("".join(" " * n + "a:\n" for n in range(340)), "mine.yaml"),
    "large": (QA + "# nothing\n" * 10**6, "too large"),
    "a long line": (with_data(f"template: {'q' * 10**7}"), "too large"),
    "two documents": (f"{QA}---\ntask: chat\n", "not valid YAML"),
    "a pickle": (None, "not UTF-8"),
    "binary": ("task: !!binary gASV\n", "mine.yaml"),
    "a set": ("task: !!set {a, b}\n", "mine.yaml"),
    "Jinja": (with_data("template: '{{ cycler.__init__.__globals__.os }}'"), "template"),
    "an index": (with_data("template: '{question[0]} {0} {context!r:>1000000000}'"), "template"),
    "a test set's name": (with_data("train: r.jsonl, tests: {../../x: r}"), "data.tests"),
    "a tracker": (f"{QA}trackers: [os]\n", "trackers"),
    "a task by path": (QA.replace("qa", "../../canary"), "task"),
    "an endless number": (f"{QA}seed: {'9' * 60_000}\n", "the value is not a valid int"),
    "infinity": (QA.replace("epochs: 1", "epochs: .inf"), "train.epochs"),
    "a model that is a pipe": (QA.replace("embedded", "./pipe"), "model: ./pipe: is a file"),
}  # fmt: skip


def test_a_harmless_recipe_is_accepted(llmkit, tmp_path):
    (tmp_path / "mine.yaml").write_text(QA)
    assert llmkit("check", "mine.yaml").exit_code == 0


@pytest.fixture
def refused(llmkit, tmp_path, tally, is_quick):
    """Run a command that must be rejected."""

    def run(*arguments, because=""):
        passed = tally(CLAIM)
        started = time.monotonic()
        result = llmkit(*arguments)
        assert is_quick(time.monotonic() - started, 2)
        assert result.exit_code == 2, (result.output, result.exception)
        lines = result.stderr.splitlines()
        assert lines
        assert all(line.startswith(("llmkit: ", "warning: ")) for line in lines)
        assert all(line.isprintable() for line in lines)
        assert because in result.stderr
        assert not (tmp_path / CANARY).exists()
        passed()

    return run


@pytest.mark.parametrize("name", RECIPES)
def test_malicious_recipes_are_rejected(refused, tmp_path, name):
    content, because = RECIPES[name]
    (tmp_path / "mine.yaml").write_bytes(BOMB if content is None else content.encode())
    os.mkfifo(tmp_path / "pipe")
    refused("finetune", "mine.yaml", because=because)


def test_a_malicious_value_on_the_command_line_is_rejected(refused):
    refused("finetune", "qa", f"seed={RUN_IT}")


def nested(depth):
    return b'{"document": ' + b"[" * depth + b"]" * depth + b', "summary": "a"}\n'


ROWS = {
    "rows.pkl": BOMB,
    "rows.npy": b"\x93NUMPY\x01\x00" + BOMB,
    "rows.pt": BOMB,
    "rows.py": b"import os; os.mkdir('canary')",
    "rows.jsonl": BOMB,
    "rows.json": BOMB,
    "rows.csv": BOMB,
    "rows.parquet": BOMB,
    "rows.parquet.jsonl": b"PAR1" + BOMB + b"PAR1",
    "deep.jsonl": nested(10**5),
    "deep.json": b"[" * 10**6,
    "number.jsonl": b'{"document": ' + b"9" * 10**5 + b"}",
    "gzip.jsonl": b"\x1f\x8b\x08\x00" + bytes(100),
    "zip.csv": b"PK\x03\x04" + bytes(100),
    "surrogate.jsonl": b'{"document": "\\ud800", "summary": "a"}\n' * 20,
}


@pytest.mark.parametrize("name", ROWS)
def test_malicious_rows_are_rejected(refused, tmp_path, name):
    (tmp_path / name).write_bytes(ROWS[name])
    refused("finetune", "summarize", f"data.train={name}")


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/stdin", "."])
def test_endless_row_files_are_rejected(refused, tmp_path, target):
    (tmp_path / "rows.jsonl").symlink_to(target)
    refused("finetune", "summarize", "data.train=rows.jsonl")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, tiny_gpt2):
    """A run with checkpoints, as if a stranger had sent it."""
    return stopped_run(tiny_gpt2, tmp_path_factory.mktemp("stopped"))


@pytest.fixture
def run(stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")
    return tmp_path / "run"


def edit_state(change):
    def damage(checkpoint: Path) -> None:
        path = checkpoint / "state.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return damage


def edit_weights(file, change):
    def damage(checkpoint: Path) -> None:
        content = load_file(checkpoint / file)
        change(content)
        save_file(content, checkpoint / file)

    return damage


def put(file, content):
    return lambda checkpoint: (checkpoint / file).write_bytes(content)


CHECKPOINTS = {
    "pickled weights": put("weights.safetensors", BOMB),
    "pickled moments": put("optimizer.safetensors", BOMB),
    "a pickled state": put("state.json", BOMB),
    "an endless header": put("weights.safetensors", (2**62).to_bytes(8, "little") + b"{}"),
    "a large header": put("weights.safetensors", (2**27).to_bytes(8, "little") + b"{" * 2**27),
    "a deep header": put("weights.safetensors", (10**5).to_bytes(8, "little") + b"[" * 10**5),
    "a deep state": put("state.json", b"[" * 10**5),
    "a large state": put("state.json", b'{"a": "' + b"x" * 2**21 + b'"}'),
    "a state of lists": put("state.json", b"[]"),
    "another step": edit_state(lambda state: state["progress"].update(step=1)),
    "a step before the first": edit_state(lambda state: state["progress"].update(step=-1)),
    "a step by path": edit_state(lambda state: state["progress"].update(step="../../x")),
    "no rows in a piece": edit_state(lambda state: state["progress"].update(micro_batch_size=0)),
    "a piece of words": edit_state(lambda state: state["progress"].update(micro_batch_size="all")),
    "an endless best step": edit_state(
        lambda state: state["progress"].update(best_step=float("inf"))
    ),
    "a best step elsewhere": edit_state(lambda state: state["progress"].update(best_step="../..")),
    "an odd precision": edit_state(
        lambda state: state["reproducibility_key"].update(mixed_precision="fp64")
    ),
    "an odd key": edit_state(lambda state: state["recipe"].update(exec="import os")),
    "other rows": edit_state(
        lambda state: state["reproducibility_key"]["data"]["train"].update(tokens_sha256="0")
    ),
    "a strange weight": edit_weights(
        "weights.safetensors", lambda content: content.update(evil=torch.zeros(1))
    ),
    "a weight less": edit_weights("weights.safetensors", lambda content: content.popitem()),
    "a weight of another shape": edit_weights(
        "weights.safetensors",
        lambda content: content.update({k: torch.zeros(3) for k in list(content)[:1]}),
    ),
    "moments of nothing": edit_weights(
        "optimizer.safetensors", lambda content: content.update({"evil/exp_avg": torch.zeros(1)})
    ),
    "moments of another shape": edit_weights(
        "optimizer.safetensors",
        lambda content: content.update({k: torch.zeros(2, 2) for k in content if "avg" in k}),
    ),
    "strange moments": edit_weights(
        "optimizer.safetensors",
        lambda content: content.update(
            {f"{k.rpartition('/')[0]}/evil": torch.zeros(1) for k in list(content)[:1]}
        ),
    ),
}


def test_a_harmless_checkpoint_is_resumed(llmkit, run):
    (checkpoint,) = (run / "checkpoints").iterdir()
    (checkpoint / "manifest.json").unlink()
    write_manifest(checkpoint)
    assert llmkit("finetune", run / "recipe.yaml", "--resume", run).exit_code == 0


@pytest.mark.parametrize("file", ["manifest.json", "state.json", "weights.safetensors"])
def test_a_checkpoint_with_a_pipe_is_rejected(refused, run, file):
    (checkpoint,) = (run / "checkpoints").iterdir()
    (checkpoint / file).unlink()
    os.mkfifo(checkpoint / file)
    refused("finetune", run / "recipe.yaml", "--resume", run)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_malicious_checkpoints_are_rejected(refused, run, name):
    """The manifest matches, since an attacker can write one too."""
    (checkpoint,) = (run / "checkpoints").iterdir()
    (checkpoint / "manifest.json").unlink()
    CHECKPOINTS[name](checkpoint)
    write_manifest(checkpoint)
    refused("finetune", run / "recipe.yaml", "--resume", run)


@pytest.mark.parametrize("name", ["../../recipe.yaml", "/etc/passwd", "a/b"])
def test_a_manifest_that_points_outside_its_folder_is_rejected(refused, run, name):
    (checkpoint,) = (run / "checkpoints").iterdir()
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest["files"][name] = manifest["files"].pop("state.json")
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))
    refused("finetune", run / "recipe.yaml", "--resume", run)


@pytest.mark.parametrize("file", ["weights.safetensors", "state.json", "manifest.json"])
def test_a_checkpoint_with_a_symlink_is_rejected(refused, run, tmp_path, file):
    (checkpoint,) = (run / "checkpoints").iterdir()
    (checkpoint / file).rename(tmp_path / "elsewhere")
    (checkpoint / file).symlink_to(tmp_path / "elsewhere")
    refused("finetune", run / "recipe.yaml", "--resume", run)


FILES_OF_A_RUN = {
    "pickle": BOMB, "deep": b"[" * 10**5, "a list": b"[1, [2]]", "a word": b'"word"',
    "half": b'{"scores": {"fine-tuned"', "wrong kinds": b'{"scores": 5, "split": []}\n5',
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES_OF_A_RUN)
@pytest.mark.parametrize("file", ["metrics.json", "metrics.jsonl", "recipe.yaml"])
def test_reports_of_malicious_runs_are_rejected(refused, run, file, kind):
    (run / file).write_bytes(FILES_OF_A_RUN[kind] + b"\n")
    refused("report", run)


@pytest.mark.parametrize("kind", FILES_OF_A_RUN)
@pytest.mark.parametrize("command", ["generate", "evaluate"])
def test_malicious_runs_are_rejected(refused, run, command, kind):
    (run / "recipe.yaml").write_bytes(FILES_OF_A_RUN[kind])
    (run / "metrics.json").write_bytes(FILES_OF_A_RUN[kind])
    refused(
        *(("generate", "--prompt", "a", "--model") if command == "generate" else (command,)), run
    )


def test_template_marks_in_rows_are_plain_text(llmkit, tiny_gpt2, tmp_path):
    rows = summary_rows(20)
    for row in rows:
        row["document"] += " {{ 7 * 7 }} {summary} {0.__class__} %(summary)s ${HOME}"
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    shown = llmkit("check", "summarize", f"model={tiny_gpt2}", f"data.train={path}",
                   "data.max_length=128", "--json")  # fmt: skip
    assert "{{ 7 * 7 }} {summary} {0.__class__} %(summary)s ${HOME}" in shown.output


SECRETS = {
    "HF_TOKEN": "hf_SecretOne", "WANDB_API_KEY": "SecretTwo", "AWS_SECRET_ACCESS_KEY": "SecretTri",
    "OPENAI_API_KEY": "SecretFour", "LLMKIT_PASSWORD": "SecretFive",
}  # fmt: skip


def test_secrets_in_the_environment_are_written_nowhere(
    llmkit, tiny_gpt2, tmp_path, monkeypatch, figure
):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    settings = six_steps(tiny_gpt2, tmp_path, "checkpoint.every=1", "trackers=tensorboard")
    (tmp_path / "recipe.yaml").write_text(to_yaml(settings.model_dump(mode="json")), "utf-8")
    said = llmkit("finetune", "recipe.yaml", "--run-dir", "run").output
    said += llmkit("report", "run", "--output", "page.html").output
    said += llmkit("evaluate", "run", "--output", "scores").output
    said += llmkit("generate", "--model", "run", "--prompt", "a").output
    said += llmkit("finetune", "recipe.yaml", "--resume", "run").output
    contents = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(contents) > 20
    found = [
        name
        for name, value in SECRETS.items()
        if value in said or any(value.encode() in content for content in contents)
    ]
    claim = "secrets in the environment that appear in no file and no output of a run"
    figure(claim, len(SECRETS) - len(found), len(SECRETS))
