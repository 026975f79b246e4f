"""A run on the hub: pushed by the command, and loaded from there by transformers."""

import json
import os
import shutil
import signal
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hub_server import HubServer
from pushed_model import digest
from runs import HELPERS
from terminal import Terminal

from llmkit.errors import UserError
from llmkit.model.int8 import save_int8
from llmkit.model.load import load_model
from llmkit.paths import sha256
from llmkit.workflows.push import check_text, collect_files, origin_of

BENCHMARK = "tasks: [{id: labels, config: default, split: test}]"
MODEL_FILES = {
    "README.md", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
    "tokenizer_config.json",
}  # fmt: skip
TOKEN = "HF_TOKEN=hf_me"
TWO_TOKENS = ("--max-new-tokens", "2")


def start_commands(fork_server, server, folder, *commands, **environment):
    """Start a process that runs commands against the server, without a token of its own."""
    lists = [[str(word) for word in words] for words in commands]
    return fork_server.start(
        (json.dumps(lists),), cwd=folder, program=str(HELPERS / "several_commands.py"),
        environment=environment_of(fork_server, server, folder, **environment), imports="torch",
    )  # fmt: skip


def environment_of(fork_server, server, folder, **more):
    path = fork_server.environment["PYTHONPATH"]
    return server.env(folder / "hf", PYTHONPATH=path, **more)


def run_commands(*arguments, **environment):
    return results_of(start_commands(*arguments, **environment))


def results_of(process):
    """The exit code and the output of each command."""
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    results = json.loads(output.splitlines()[-1])
    return [SimpleNamespace(code=code, errors=errors, text=text) for code, errors, text in results]


def copy_of(run: Path, folder: Path) -> Path:
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("checkpoints"))
    return folder


def score_on_hub(run: Path) -> None:
    """Let the recipe of a run say that its rows are those of a data set on the hub."""
    path = run / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text("utf-8"))
    recipe["data"] |= {"hub": "me/labels", "train": "train", "validation": None, "test": "test"}
    recipe["evaluation"]["test_rows"] = None
    path.write_text(yaml.safe_dump(recipe), "utf-8")


def files_of(root: Path, repo: str) -> set[str]:
    folder = root / "models" / repo
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return found - {".private"}


@pytest.fixture(scope="module")
def hub(classifier, tmp_path_factory, fork_server):
    """Commands that one process ran, one after the other, and their results by name."""
    folder = tmp_path_factory.mktemp("push")
    root = folder / "root"
    (root / "datasets" / "me" / "labels").mkdir(parents=True)
    (root / "datasets" / "me" / "labels" / "eval.yaml").write_text(BENCHMARK, "utf-8")
    (root / "models" / "me" / "theirs").mkdir(parents=True)
    (root / "models" / "me" / "theirs" / "model.safetensors").write_bytes(b"theirs")
    on_hub = copy_of(classifier, folder / "on-hub")
    score_on_hub(on_hub)
    (on_hub / "int8").mkdir()
    save_int8(*load_model(on_hub / "model"), on_hub / "int8")
    shutil.copy(on_hub / "model" / "README.md", on_hub / "int8")
    tuned_on = copy_of(classifier, folder / "tuned-on")
    card = tuned_on / "model" / "README.md"
    card.write_text(card.read_text("utf-8").replace("- classify\n", "- qa\n"), "utf-8")
    push = ("push", "--yes", classifier)
    commands = {
        "dry run": (TOKEN, *push, "me/x", "--dry-run"),
        "first": (TOKEN, *push, "me/x"),
        "again": (TOKEN, *push, "me/x"),
        "scored": (TOKEN, "push", "--yes", on_hub, "me/scored", "--public"),
        "scored locally": (TOKEN, *push, "me/scored", "--public"),
        "int8": (TOKEN, "push", on_hub / "int8", "me/int8", "--dry-run"),
        "other task": (TOKEN, "push", "--yes", tuned_on, "me/x"),
        "forced": (TOKEN, "push", "--yes", tuned_on, "me/x", "--force"),
        "unknown model": (TOKEN, *push, "me/theirs", "--public"),
        "not public": (TOKEN, *push, "me/theirs"),
        "not private": (TOKEN, *push, "me/x", "--public"),
        "no token": (*push, "me/new"),
        "wrong token": ("HF_TOKEN=wrong", *push, "me/new"),
        "reading token": ("HF_TOKEN=hf_me_read", *push, "me/new"),
        "other user": (TOKEN, *push, "you/new"),
        "generate": (TOKEN, "generate", "--model", "me/x", "--prompt", "Once", *TWO_TOKENS),
        "last": (TOKEN, *push, "me/last", "--dry-run"),
        "no connection": (TOKEN, *push, "me/new"),
    }
    with (server := HubServer(root)):
        server.last_repo = "me/last"
        results = run_commands(fork_server, server, folder, *commands.values())
    found = SimpleNamespace(folder=folder, root=root, server=server)
    found.results = dict(zip(commands, results, strict=True))
    return found


def test_a_dry_run_shows_the_files_and_uploads_nothing(hub, classifier):
    result = hub.results["dry run"]
    assert result.code == 0, result.errors
    assert "/me/x as me: new, private" in result.text
    assert set(result.text.split()) >= MODEL_FILES
    assert "scores  card only: the test rows are not from the hub" in result.text
    assert "nothing was uploaded" in result.text
    paths = [request.path for request in hub.server.requests]
    assert paths.index("/api/repos/create") > paths.index("/api/models/me/x")


def test_the_first_push_creates_a_private_repo_with_the_model_alone(hub, classifier):
    assert hub.results["first"].code == 0, hub.results["first"].errors
    assert (hub.root / "models" / "me" / "x" / ".private").is_file()
    assert files_of(hub.root, "me/x") == MODEL_FILES
    # `forced` has replaced the card since.
    for name in MODEL_FILES - {"README.md"}:
        pushed = hub.root / "models" / "me" / "x" / name
        assert sha256(pushed) == sha256(classifier / "model" / name)
    assert hub.server.url in hub.results["first"].text


def test_an_unchanged_model_is_not_pushed_again(hub):
    result = hub.results["again"]
    assert result.code == 0
    assert result.text.count("  unchanged") == len(MODEL_FILES)
    assert "nothing to upload" in result.text
    puts = [request for request in hub.server.requests if request.method == "PUT"]
    assert len(puts) == 1  # all of these models have the same weights


def test_scores_on_a_benchmark_are_uploaded_and_deleted_when_outdated(hub):
    scored, locally = hub.results["scored"], hub.results["scored locally"]
    assert scored.code == locally.code == 0
    assert ".eval_results/llmkit.yaml" in scored.text
    assert "card and .eval_results: accuracy " in scored.text
    assert ".eval_results/llmkit.yaml   deleted" in locally.text
    assert files_of(hub.root, "me/scored") == MODEL_FILES
    assert not (hub.root / "models" / "me" / "scored" / ".private").is_file()


def test_int8_weights_are_pushed_without_the_scores_of_the_run(hub):
    result = hub.results["int8"]
    assert result.code == 0, result.errors
    assert "scores  card only: this folder is not the model of a finished run" in result.text
    assert "model.int8.safetensors" in result.text
    assert ".eval_results/llmkit.yaml" not in result.text


def test_a_model_of_another_task_replaces_an_existing_one_only_by_force(hub):
    result = hub.results["other task"]
    assert result.code == 2
    assert "me/x: holds a model for classify, and this is a model for qa; name another" in (
        result.errors
    )
    assert hub.results["forced"].code == 0
    assert "holds run" in hub.results["forced"].text
    assert "- qa\n" in (hub.root / "models" / "me" / "x" / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("unknown model", "me/theirs: holds a model without a card of llmkit, and this is a model"),
        ("not public", "me/theirs: this repo is public; add --public to publish the model"),
        ("not private", "me/x: this repo is private; make it public in its settings at http"),
        ("no token", "me/new: there is no token for http"),
        ("wrong token", "does not accept the token of HF_TOKEN; set HF_TOKEN to a token with"),
        ("reading token", "me/new: the token may not write there (You don't have the rights"),
        ("other user", "you/new: the token may not write there (You don't have the rights"),
    ],
)
def test_what_the_hub_refuses_ends_in_one_line(hub, name, expected):
    result = hub.results[name]
    assert result.code == 2, result
    *loading, line = result.errors.splitlines()
    assert loading in ([], ["llmkit: reading the model ..."])
    assert expected in line
    assert not (hub.root / "models" / "me" / "new").exists()


@pytest.fixture
def server(hub):
    """The same hub, reachable again."""
    with (server := HubServer(hub.root)):
        yield server


@pytest.mark.slow
def test_transformers_loads_the_same_weights_from_the_hub(hub, server, classifier, fork_server):
    process = fork_server.start(
        ("me/x",), cwd=hub.folder, program=str(HELPERS / "pushed_model.py"), imports="torch",
        environment=environment_of(fork_server, server, hub.folder, HF_TOKEN="hf_me"),
    )  # fmt: skip
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert output.split()[-1] == digest(str(classifier / "model"))


def test_generate_takes_the_model_from_the_hub(hub):
    assert hub.results["generate"].code == 0, hub.results["generate"].errors


@pytest.mark.parametrize(
    ("number", "name"),
    [(signal.SIGINT, "Ctrl-C"), pytest.param(signal.SIGTERM, "SIGTERM", marks=pytest.mark.slow)],
)
def test_an_interrupted_upload_leaves_nothing_half_done_and_is_resumed(
    hub, server, classifier, fork_server, number, name
):
    shutil.rmtree(hub.root / "lfs")
    repo = f"me/interrupted-by-{name}"
    pushed = (TOKEN, "push", "--yes", classifier, repo)
    started, interrupted = threading.Event(), threading.Event()
    seen = []

    def interrupt():
        server.on_upload = lambda: seen.append(files_of(hub.root, repo))
        started.wait(60)
        os.kill(process.pid, number)
        interrupted.wait(60)

    server.on_upload = interrupt
    process = start_commands(fork_server, server, hub.folder, pushed, pushed)
    started.set()
    first, second = results_of(process)
    interrupted.set()
    assert first.code == 128 + number
    advice = "run the same command again, and it sends only what is missing"
    assert first.errors.splitlines()[-1] == f"llmkit: stopped by {name}; {advice}"
    assert second.code == 0, second.errors
    assert seen == [set()]  # after the interruption, the repo was empty
    assert files_of(hub.root, repo) == MODEL_FILES


def test_on_a_terminal_the_user_is_asked(hub, server, classifier, fork_server):
    terminal = Terminal(columns=200)
    process = fork_server.start(
        ("push", classifier, "me/asked"), cwd=hub.folder, imports="torch", terminal=terminal.name,
        environment=environment_of(fork_server, server, hub.folder, HF_TOKEN="hf_me"),
    )  # fmt: skip
    terminal.wait_for("upload 6 files, ")
    terminal.wait_for("[y/N]: ")
    terminal.type("n\n")
    assert process.wait() == 1
    assert not (hub.root / "models" / "me" / "asked").exists()


def test_without_a_connection_the_push_ends_in_one_line(hub):
    result = hub.results["no connection"]
    assert result.code == 2
    assert result.errors.splitlines()[-1].endswith(
        f"me/new: {hub.server.url} cannot be reached; check the connection, and push again"
    )


@pytest.fixture
def model(classifier, tmp_path):
    return copy_of(classifier, tmp_path / "run") / "model"


def test_only_files_of_a_model_are_uploaded(model):
    (model / "pytorch_model.bin").write_bytes(b"\x80\x02")
    (model / "model.bin").write_bytes(b"PK\x03\x04")
    (model / "predictions.jsonl").write_text("{}\n")
    (model / "vocab.json").symlink_to("/etc/hostname")
    (model / "checkpoints").mkdir()
    (model / ".env").write_text("SECRET=1\n")
    exported = {"model.gguf", "Modelfile", "model.onnx", "model.onnx.data"}
    for name in exported:
        (model / name).write_bytes(b"GGUF")
    files, left_out = collect_files(model)
    assert set(files) == MODEL_FILES | exported
    assert set(left_out) == {
        "pytorch_model.bin", "model.bin", "predictions.jsonl", "vocab.json", "checkpoints", ".env",
    }  # fmt: skip


def test_weights_that_have_changed_are_refused(model):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(UserError, match=r"model\.safetensors: has changed since it was written"):
        collect_files(model)


def test_a_text_that_names_a_path_of_this_machine_is_refused(model, tmp_path):
    card = model / "README.md"
    for named in (f"`{tmp_path}/run`", f"in {tmp_path}.", f'{{"base": "{tmp_path}/my model"}}'):
        card.write_text(f"# x\n\nSee https://hf.co/docs/hub and\n{named}\n", "utf-8")
        with pytest.raises(UserError, match=r"README\.md:4: contains the path /.* of this machine"):
            check_text(card)
    card.write_text("# x\n\nSee https://hf.co/docs/hub, and/or /no/such/file.\n", "utf-8")
    check_text(card)


def test_a_card_tells_base_model_and_task():
    for base in ("gpt2", "[gpt2]"):
        card = f"---\ntags: [llmkit, gpt2, qa]\nbase_model: {base}\n---\n# x\n"
        assert origin_of(card) == (None, {"gpt2"}, {"qa"})
    for other in ("", "# x\n", "---\n[\n---\n", "---\n", "tags: 1", "tags: [[1]]", "tags: [x]"):
        assert origin_of(other) is None
        assert origin_of(f"---\n{other}\n---\n") is None
