"""The hub path for real: the client libraries against a server on the loopback interface."""

import json
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import HubServer
from rows import TEXT, summary_rows
from runs import HELPERS

from llmkit.config.recipe import load_recipe

SHORT_RUN = (
    "data.max_length=128",
    "train.max_steps=2",
    "train.epochs=null",
    "train.global_batch_size=4",
    "evaluation.test_rows=3",
    "evaluation.validation_rows=3",
    "generation.max_new_tokens=4",
    "evaluation.every=null",
    "train.warmup_steps=0",
)


@pytest.fixture(scope="module")
def hub_root(tmp_path_factory, tiny_gpt2):
    """Repositories: gpt2, a model of pickle, a gated one, and data sets in parquet and script."""
    root = tmp_path_factory.mktemp("hub")
    (root / "models").mkdir()
    (root / "models" / "gpt2").symlink_to(tiny_gpt2)
    pickled = root / "models" / "someone" / "pickled"
    pickled.mkdir(parents=True)
    (pickled / "config.json").write_text((tiny_gpt2 / "config.json").read_text())
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04not opened")
    gated = root / "models" / "someone" / "gated"
    gated.mkdir()
    (gated / "config.json").write_text("{}")
    (gated / ".gated").touch()

    words = root / "models" / "someone" / "words"  # a tokenizer without a model
    words.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (words / name).write_text((tiny_gpt2 / name).read_text())

    news = root / "datasets" / "abisee" / "cnn_dailymail"
    (news / "3.0.0").mkdir(parents=True)
    names = {"train": "train", "validation": "validation", "test": "test"}
    for split in names:
        rows = [
            {"id": r["id"], "article": r["document"], "highlights": r["summary"]}
            for r in summary_rows(12)
        ]
        pq.write_table(pa.Table.from_pylist(rows), news / "3.0.0" / f"{split}.parquet")
    files = "".join(f"  - split: {split}\n    path: 3.0.0/{split}.parquet\n" for split in names)
    (news / "README.md").write_text(
        f"---\nconfigs:\n- config_name: 3.0.0\n  data_files:\n{files}---\n"
    )

    squad = root / "datasets" / "rajpurkar" / "squad" / "data"
    squad.mkdir(parents=True)
    row = {"context": TEXT[0], "question": "Who waited?"}
    answers = {"text": ["Mara Linden", "Mara"], "answer_start": [34, 34]}
    for split in ("train", "validation"):
        rows = [
            {**row, "id": str(i), "answers": answers, "context": f"{i} {TEXT[0]}"}
            for i in range(90)
        ]
        pq.write_table(pa.Table.from_pylist(rows), squad / f"{split}-00000-of-00001.parquet")

    script = root / "datasets" / "Skylion007" / "openwebtext"
    script.mkdir(parents=True)
    (script / "openwebtext.py").write_text("raise SystemExit('this must never run')")
    converted = root / "datasets" / "Skylion007" / "openwebtext@refs%2Fconvert%2Fparquet"
    converted.mkdir()
    texts = [{"text": f"{TEXT[i % 3]} Number {i}."} for i in range(400)]
    pq.write_table(pa.Table.from_pylist(texts), converted / "train.parquet")
    return root


@pytest.fixture(scope="module")
def run_commands(fork_server):
    """Run `llmkit finetune` with several lists of arguments in one process, since clients read
    their settings once; returns (exit code, stderr) of each."""

    def run(environment, folder, *commands):
        folder.mkdir(exist_ok=True)
        lists = [["finetune", *arguments, *SHORT_RUN] for arguments in commands]
        process = fork_server.start(
            (json.dumps(lists),), cwd=folder, program=str(HELPERS / "several_commands.py"),
            environment=environment | {"PYTHONPATH": fork_server.environment["PYTHONPATH"]},
            imports="torch",
        )  # fmt: skip
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        return [(code, errors) for code, errors, _ in json.loads(output.splitlines()[-1])]

    return run


FULL = ("summarize", "--scale", "full")
NESTED = (
    "qa", "--scale", "full", "--run-dir", "nested", "data.validation_fraction=0.2",
)  # fmt: skip
STREAMED = (
    "pretrain", "--scale", "full", "--run-dir", "streamed", "data.limit=60", "data.streaming=true",
    "data.validation_fraction=0.1", "data.test_fraction=0.1",
    "model.scratch.tokenizer=someone/words",
    *(f"model.scratch.n_{size}" for size in ("layer=1", "head=1", "embd=16")),
)  # fmt: skip

REFUSED = [
    (("qa", "model=someone/nothing"), "model: someone/nothing: not found at"),
    (("qa", "model=gpt2", "model.revision=v9"), "model: gpt2: no revision 'v9'"),
    (
        ("pretrain", "model.scratch.tokenizer=someone/nothing"),
        "model.scratch.tokenizer: someone/nothing: not found at",
    ),
    (("qa", "model=someone/pickled"), "pickle weights are never fetched"),
    (("qa", "model=someone/gated"), "model: someone/gated: access is restricted"),
    (("qa", "data.hub=no/set", "data.train=train"), "data.hub: no/set: not found at"),
    (
        (*FULL, "data.config=9.9.9"),
        "set data.config to one of its configurations; there are '3.0.0'",
    ),
    (
        (*FULL, "data.train=trian"),
        "has no split 'trian'; it has train, validation, test",
    ),
    (
        ("pretrain", "--scale", "full", "data.revision=null"),
        "use the converted files with data.revision=refs/convert/parquet",
    ),
]


ONLINE = {"full": (*FULL, "--run-dir", "online"), "nested": NESTED, "streamed": STREAMED}
# What is not in the cache when the hub is not reachable.
UNREACHABLE = {
    "model": ("qa", "model=someone/else"),
    "model again": ("qa", "model=someone/else"),
    "data": ("qa", "data.hub=someone/rows", "data.train=train"),
    "data again": ("qa", "data.hub=someone/rows", "data.train=train"),
}


class Results(NamedTuple):
    """Commands that one process ran, most of them while the hub was reachable."""

    server: HubServer
    folder: Path
    results: dict[str, tuple[int, str]]
    """(exit code, stderr) by the command's name, or by the expected message of a refused one."""


@pytest.fixture(scope="module")
def online(hub_root, tmp_path_factory, run_commands):
    folder = tmp_path_factory.mktemp("online")
    commands = ONLINE | {expected: arguments for arguments, expected in REFUSED}
    commands |= {"last": ("qa", "model=someone/last")} | UNREACHABLE
    with (server := HubServer(hub_root)):
        server.last_repo = "someone/last"
        results = run_commands(server.env(folder / "hf"), folder, *commands.values())
    assert not (folder / "runs").exists()
    return Results(server, folder, dict(zip(commands, results, strict=True)))


@pytest.fixture(scope="module")
def offline(online, run_commands):
    """Commands of a process that uses only what an earlier one has downloaded."""
    commands = {"full": (*FULL, "--run-dir", "offline")} | UNREACHABLE
    environment = online.server.env(online.folder / "hf", HF_HUB_OFFLINE="1")
    results = run_commands(environment, online.folder, *commands.values())
    return Results(online.server, online.folder, dict(zip(commands, results, strict=True)))


def test_full_scale_from_the_hub_then_offline_from_the_cache(online, offline):
    server, folder, results = online
    code, errors = results["full"]
    assert code == 0, errors
    facts = json.loads((folder / "online" / "run.json").read_text())
    assert facts["model"]["commit"] == server.repo("models", "gpt2").sha
    data_commit = server.repo("datasets", "abisee/cnn_dailymail").sha
    assert facts["data"]["train"]["source"] == f"abisee/cnn_dailymail@{data_commit} train"
    assert facts["data"]["train"]["rows"] == 12
    recipe = load_recipe(str(folder / "online" / "recipe.yaml"))
    assert (recipe.model.revision, recipe.data.revision) == (facts["model"]["commit"], data_commit)
    assert (folder / "online" / "model" / "model.safetensors").is_file()

    code, errors = offline.results["full"]
    assert code == 0, errors
    again = json.loads((folder / "offline" / "run.json").read_text())
    assert again["model"] == facts["model"]
    assert again["data"] == facts["data"]


def test_nested_columns_and_a_validation_split_by_hash(online):
    code, errors = online.results["nested"]
    assert code == 0, errors
    row = json.loads((online.folder / "nested" / "predictions.jsonl").read_text().splitlines()[0])
    assert row["references"] == ["Mara Linden", "Mara"]
    facts = json.loads((online.folder / "nested" / "run.json").read_text())
    assert 60 <= facts["data"]["train"]["rows"] < 90


def test_streamed_text_at_a_revision_with_the_tokenizer_of_the_hub(online, hub_root):
    code, errors = online.results["streamed"]
    assert code == 0, errors
    data = json.loads((online.folder / "streamed" / "run.json").read_text())["data"]
    assert 40 <= data["train"]["rows"] < 60
    assert data["validation"]["rows"] >= 1
    ours, of_tokenizer = (
        json.loads((folder / "config.json").read_text())
        for folder in (online.folder / "streamed" / "model", hub_root / "models" / "gpt2")
    )
    assert (ours["n_layer"], ours["vocab_size"]) == (1, of_tokenizer["vocab_size"])


@pytest.mark.parametrize("expected", [expected for _, expected in REFUSED])
def test_a_hub_error_ends_in_one_line_with_advice(online, expected):
    code, message = online.results[expected]
    assert code == 2, message
    (line,) = message.splitlines()
    assert expected in line


@pytest.mark.parametrize("what", UNREACHABLE)
def test_without_the_hub_the_error_says_how_to_use_the_cache(online, what):
    code, message = online.results[what]
    assert code == 2, message
    line = message.splitlines()[-1]
    assert "cannot be reached" in line
    assert "set HF_HUB_OFFLINE=1 to use what was downloaded before" in line


@pytest.mark.parametrize("what", UNREACHABLE)
def test_offline_the_error_says_how_to_download(offline, what):
    code, message = offline.results[what]
    assert code == 2, message
    line = message.splitlines()[-1]
    assert line.endswith("name a folder on disk, or unset HF_HUB_OFFLINE to download it")
