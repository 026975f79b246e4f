"""The hub path for real: the client libraries against a server on the loopback interface."""

import json

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


@pytest.fixture
def finetune(tmp_path, fork_server):
    """Run `llmkit finetune` in a process of its own, since clients read their settings once."""

    def run(environment, *arguments):
        environment = {**environment, "PYTHONPATH": fork_server.environment["PYTHONPATH"]}
        process = fork_server.start(
            ("finetune", *arguments, *SHORT_RUN),
            cwd=tmp_path, environment=environment, imports="torch",
        )  # fmt: skip
        process.communicate()
        return process

    return run


def test_full_scale_from_the_hub_then_offline_from_the_cache(hub_root, finetune, tmp_path):
    server = HubServer(hub_root)
    with server:
        result = finetune(
            server.env(tmp_path / "hf"), "summarize", "--scale", "full", "--run-dir", "online"
        )
    assert result.returncode == 0, result.stderr
    facts = json.loads((tmp_path / "online" / "run.json").read_text())
    assert facts["model"]["commit"] == server.repo("models", "gpt2").sha
    data_commit = server.repo("datasets", "abisee/cnn_dailymail").sha
    assert facts["data"]["train"]["source"] == f"abisee/cnn_dailymail@{data_commit} train"
    assert facts["data"]["train"]["rows"] == 12
    recipe = load_recipe(str(tmp_path / "online" / "recipe.yaml"))
    assert (recipe.model.revision, recipe.data.revision) == (facts["model"]["commit"], data_commit)
    assert (tmp_path / "online" / "model" / "model.safetensors").is_file()

    offline = server.env(tmp_path / "hf", HF_HUB_OFFLINE="1")
    result = finetune(offline, "summarize", "--scale", "full", "--run-dir", "offline")
    assert result.returncode == 0, result.stderr
    again = json.loads((tmp_path / "offline" / "run.json").read_text())
    assert again["model"] == facts["model"]
    assert again["data"] == facts["data"]


def test_nested_columns_and_a_validation_split_by_hash(hub_root, finetune, tmp_path):
    with (server := HubServer(hub_root)):
        result = finetune(
            server.env(tmp_path / "hf"),
            "qa", "--scale", "full", "--run-dir", "run", "data.validation_fraction=0.2",
        )  # fmt: skip
    assert result.returncode == 0, result.stderr
    row = json.loads((tmp_path / "run" / "predictions.jsonl").read_text().splitlines()[0])
    assert row["references"] == ["Mara Linden", "Mara"]
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert 60 <= facts["data"]["train"]["rows"] < 90


def test_streamed_text_at_a_revision(hub_root, finetune, tmp_path):
    with (server := HubServer(hub_root)):
        result = finetune(
            server.env(tmp_path / "hf"),
            "pretrain", "--scale", "full", "--run-dir", "run", "data.limit=60",
            "data.validation_fraction=0.1", "data.test_fraction=0.1",
        )  # fmt: skip
    assert result.returncode == 0, result.stderr
    data = json.loads((tmp_path / "run" / "run.json").read_text())["data"]
    assert 40 <= data["train"]["rows"] < 60
    assert data["validation"]["rows"] >= 1


REFUSED = [
    (("qa", "model=someone/nothing"), "model: someone/nothing: not found at"),
    (("qa", "model=gpt2", "model.revision=v9"), "model: gpt2: no revision 'v9'"),
    (("qa", "model=someone/pickled"), "pickle weights are never fetched"),
    (("qa", "model=someone/gated"), "model: someone/gated: access is restricted"),
    (("qa", "data.hub=no/set", "data.train=train"), "data.hub: no/set: not found at"),
    (
        ("summarize", "--scale", "full", "data.config=9.9.9"),
        "set data.config to one of its configurations; there are '3.0.0'",
    ),
    (
        ("summarize", "--scale", "full", "data.train=trian"),
        "has no split 'trian'; it has train, validation, test",
    ),
    (
        ("pretrain", "--scale", "full", "data.revision=null"),
        "use the converted files with data.revision=refs/convert/parquet",
    ),
]


@pytest.fixture(scope="module")
def refusals(hub_root, tmp_path_factory, fork_server):
    """(exit code, stderr) of each of REFUSED, in one process."""
    folder = tmp_path_factory.mktemp("refused")
    commands = [["finetune", *arguments, *SHORT_RUN] for arguments, _ in REFUSED]
    script = str(HELPERS / "several_commands.py")
    with (server := HubServer(hub_root)):
        path = fork_server.environment["PYTHONPATH"]
        process = fork_server.start(
            (json.dumps(commands),), cwd=folder, program=script, imports="torch",
            environment=server.env(folder / "hf", PYTHONPATH=path),
        )  # fmt: skip
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert not (folder / "runs").exists()
    return json.loads(output.splitlines()[-1])


@pytest.mark.parametrize("index", range(len(REFUSED)), ids=[expected for _, expected in REFUSED])
def test_a_hub_error_ends_in_one_line_with_advice(refusals, index):
    code, message = refusals[index]
    assert code == 2, message
    *loading, line = message.splitlines()
    assert len(loading) == (index == 0), "the first command says that libraries load"
    assert REFUSED[index][1] in line


@pytest.mark.parametrize(
    ("argument", "offline"),
    [
        ("model=gpt2", {}),
        ("data.hub=rajpurkar/squad", {"HF_HUB_OFFLINE": "1"}),
        pytest.param("model=gpt2", {"HF_HUB_OFFLINE": "1"}, marks=pytest.mark.slow),
        pytest.param("data.hub=rajpurkar/squad", {}, marks=pytest.mark.slow),
    ],
)
def test_without_hub_and_cache_the_error_says_what_to_do(
    hub_root, finetune, tmp_path, argument, offline
):
    with (server := HubServer(hub_root)):
        pass  # a port where nobody listens any more
    environment = server.env(tmp_path / "hf", **offline)
    result = finetune(environment, "qa", argument, "data.train=train")
    if argument.startswith("model"):
        result = finetune(environment, "qa", argument)
    assert result.returncode == 2, result.stderr
    _, line = result.stderr.splitlines()  # the first says that libraries load
    if offline:
        assert line.endswith("name a folder on disk, or unset HF_HUB_OFFLINE to download it")
    else:
        assert "cannot be reached" in line
        assert "set HF_HUB_OFFLINE=1 to use what was downloaded before" in line
