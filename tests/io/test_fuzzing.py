"""Files that were changed at random: every loader reads them or says in a line what is wrong, and
neither crashes nor hangs."""

import json
import random
import time
from pathlib import Path

import pytest
from proofs import in_parts
from rows import summary_rows, write_jsonl
from safetensors.torch import save_file
from stopped_runs import stopped_run
from torch import nn

from llmkit.config.recipe import load_recipe
from llmkit.config.recipe_files import to_yaml
from llmkit.errors import UserError
from llmkit.io.atomic import CorruptFolder, verify
from llmkit.io.row_files import read
from llmkit.model.load import load_model
from llmkit.model.untrusted import check_folder
from llmkit.reports.html import write_report
from llmkit.scoring.predictions import read_predictions
from llmkit.tasks import TASKS
from llmkit.training.checkpoint import restore
from llmkit.training.resume import ResumePoint

LONGEST = 1.0  # seconds
TOKENS = [
    b"[", b"]", b"{", b"}", b'"', b":", b",", b"\\", b"\n", b"\t", b"\0", b"\xff", b"\xed\xa0\x80",
    b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"-1", b"0", b"9" * 30,
    b"9" * 5000, b"\\ud800", b"\xef\xbb\xbf", b"!!python/name:os.system", b"&a [*a]", b"*a",
    b"<<: ", b"- ", b"? ", b"---\n", b"%TAG ! x\n", b"F64", b"BOOL", b"data_offsets",
    b"[" * 2000, b"{\"a\":" * 2000, b"../../", b"\x00" * 8, b"\xff" * 8, b"\x1b[31m",
    "\N{SNOWMAN}".encode(), b"__metadata__",
]  # fmt: skip


def mutate(content: bytes, generator: random.Random) -> bytes:
    """The content with a few changes: bits, bytes, pieces, and what parsers stumble over."""
    changed = bytearray(content)
    for _ in range(generator.choice([1, 1, 2, 4, 16])):
        place = generator.randrange(len(changed) + 1)
        length = min(len(changed) - place, int(generator.expovariate(0.1)))
        match generator.randrange(7):
            case 0 if place < len(changed):
                changed[place] ^= 1 << generator.randrange(8)
            case 1:
                del changed[place : place + length]
            case 2:
                changed[place:place] = changed[place : place + length] * generator.randint(1, 50)
            case 3:
                del changed[place:]
            case 4:
                changed[place : place + length] = generator.randbytes(length)
            case _:
                changed[place : place + generator.choice([0, length])] = generator.choice(TOKENS)
    return bytes(changed)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, tiny_gpt2):
    return stopped_run(tiny_gpt2, tmp_path_factory.mktemp("stopped"))


@pytest.fixture
def feed(tmp_path, trials, figure, is_quick):
    """Feed a loader a file's mutations; of each it may say that it is damaged."""

    def go(kind, name, content, load, part):
        path = tmp_path / name
        tried, reached, refused, printable = trials(50, 1250), 0, 0, True
        for number in tried:
            path.write_bytes(mutate(content, random.Random(f"{kind} {part} {number}")))
            started = time.monotonic()
            try:
                load(path)
            except (UserError, CorruptFolder) as error:
                refused += 1
                printable &= all(line.isprintable() for line in str(error).splitlines())
            seconds = time.monotonic() - started
            reached += is_quick(seconds, LONGEST) and printable
        figure(f"randomly corrupted files ({kind}): read or rejected in one line, within a second",
               reached, len(tried), rejected=refused)  # fmt: skip
        assert refused

    return go


def copied(source: Path, folder: Path) -> Path:
    """The files of a folder in another one."""
    folder.mkdir(exist_ok=True)
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@in_parts(8)
def test_mutated_safetensors_never_crash(feed, tmp_path, part):
    """Weights of a checkpoint."""
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    save_file(weights, tmp_path / "whole")

    def load(path):
        restore(path.parent, model, None)

    feed("safetensors", "weights.safetensors", (tmp_path / "whole").read_bytes(), load, part)


@in_parts(2)
def test_a_mutated_model_folder_never_crashes(feed, tmp_path, tiny_gpt2, part):
    """Its weights, of which the header is changed most, or its tokenizer."""
    copied(tiny_gpt2, tmp_path / "model")
    name = ("model.safetensors", "tokenizer.json")[part]
    content = (tiny_gpt2 / name).read_bytes()
    border = 8 + int.from_bytes(content[:8], "little") if part == 0 else len(content)
    path = tmp_path / "model" / name

    def load(header):
        path.write_bytes(header.read_bytes() + content[border:])
        load_model(str(path.parent))

    feed(f"a model's {name}", "header", content[:border], load, part)


@in_parts(8)
def test_mutated_jsonl_never_crashes(feed, tmp_path, part):
    """Rows of training, and of predictions."""
    rows = summary_rows(6)
    if part % 2:
        rows = [
            {"id": row["id"], "prediction": row["summary"], "references": ["a"]} for row in rows
        ]
    content = write_jsonl(tmp_path / "whole.jsonl", rows).read_bytes()

    def load(path):
        if part % 2:
            read_predictions(path, "--predictions", TASKS["qa"])
        else:
            list(read(path))

    feed("JSONL", "rows.jsonl", content, load, part)


@in_parts(8)
def test_mutated_json_never_crashes(feed, tmp_path, stopped, tiny_gpt2, part):
    """A checkpoint's manifest and state, a model's config and tokenizer, rows."""
    (checkpoint,) = (stopped / "checkpoints").iterdir()
    name = ("manifest.json", "state.json", "config.json", "rows.json")[part % 4]
    match name:
        case "manifest.json":
            folder, load = copied(checkpoint, tmp_path / checkpoint.name), verify
        case "state.json":
            folder, load = copied(checkpoint, tmp_path / checkpoint.name), ResumePoint
        case "config.json":
            folder = copied(tiny_gpt2, tmp_path / "model")
            load = lambda folder: check_folder(folder, "model")  # noqa: E731
        case "rows.json":
            folder = tmp_path
            (folder / name).write_text(json.dumps(summary_rows(3)))
            load = lambda folder: list(read(folder / name))  # noqa: E731
    content = (folder / name).read_bytes()
    feed(f"JSON: {name}", f"{folder.name}/{name}" if folder != tmp_path else name, content,
         lambda path: load(path.parent), part)  # fmt: skip


@in_parts(8)
def test_mutated_recipes_never_crash(feed, part):
    recipe = load_recipe(("qa", "summarize", "chat", "reason")[part % 4])
    feed(
        "YAML",
        "recipe.yaml",
        to_yaml(recipe.model_dump(mode="json")).encode(),
        lambda p: load_recipe(str(p)),
        part,
    )


@in_parts(8)
def test_mutated_files_of_a_run_never_crash(feed, stopped, tmp_path, part):
    """Files that the report reads."""
    run = tmp_path / "run"
    run.mkdir()
    for path in stopped.iterdir():
        if path.is_file():
            (run / path.name).write_bytes(path.read_bytes())
    name = ("metrics.jsonl", "run.json")[part % 2]
    feed(f"a run's {name}", f"run/{name}", (run / name).read_bytes(),
         lambda path: write_report([path.parent], path.parent / "report.html"), part)  # fmt: skip
