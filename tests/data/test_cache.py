"""The cache of encoded rows: a hit only where every input of the encoding is the same."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from threading import Event

import pytest
from filelock import FileLock
from mapped_rows import open_at
from package_imports import all_imports_of
from rows import TEXT, summary_rows, write_jsonl

from llmkit.config.schema import Data, Scratch
from llmkit.data import cache
from llmkit.data.bpe import train_bpe
from llmkit.data.cache import encode_cached, encoding_key
from llmkit.data.encode import EncodingOptions
from llmkit.data.encoded_rows import EncodedRows
from llmkit.data.recipe_task import prompt_task
from llmkit.data.splits import held_out_rows, open_splits
from llmkit.errors import UserError
from llmkit.model.load import load_model, scratch_tokenizer
from llmkit.paths import PACKAGE
from llmkit.tasks import get_task, with_template

OPTIONS = EncodingOptions(max_length=128)


@pytest.fixture
def tokenizer(tiny_gpt2):
    return load_model(str(tiny_gpt2))[1]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def open_rows(path, task="summarize", **data):
    return open_splits(Data(train=str(path), **data), get_task(task))["train"]


@pytest.fixture
def path(tmp_path):
    rows = [{**row, "text": row["document"]} for row in summary_rows(30)]
    return write_jsonl(tmp_path / "rows.jsonl", rows)


def test_rows_are_encoded_once_and_then_cached(path, tokenizer, folder):
    first, encoding_report, was_cached = encode_cached(open_rows(path), tokenizer, OPTIONS)
    assert not was_cached
    second, report_again, was_cached = encode_cached(open_rows(path), tokenizer, OPTIONS)
    assert was_cached
    assert EncodedRows(first).fingerprint() == EncodedRows(second).fingerprint()
    assert encoding_report.records.table[:] == report_again.records.table[:]
    assert len(list((folder / "encoded").iterdir())) == 1, "nothing half-made is left"


def test_removed_duplicates_are_counted_and_not_encoded(path, tokenizer):
    whole, _, _ = encode_cached(open_rows(path), tokenizer, OPTIONS)
    line = int(next(iter(open_rows(path)))["where"].rpartition(":")[2])
    first = path.read_text("utf-8").splitlines()[line - 1]
    path.write_text("\n".join([path.read_text("utf-8"), first, first]), "utf-8")
    options = replace(OPTIONS, remove_duplicates="exact")
    encoded, report, _ = encode_cached(open_rows(path), tokenizer, options)
    assert report.outcomes["duplicate"] == 2
    assert report.num_rows == len(whole) + 2
    assert EncodedRows(encoded).fingerprint() == EncodedRows(whole).fingerprint()


def test_any_change_of_the_inputs_changes_the_cache_key(path, tokenizer, tmp_path, monkeypatch):
    def key(rows=None, tokenizer=tokenizer, **options):
        return encoding_key(rows or open_rows(path), tokenizer, replace(OPTIONS, **options))

    summarize = get_task("summarize")
    other_bpe = scratch_tokenizer(Scratch(vocab_size=300), partial(train_bpe, TEXT))
    same = {key(), key(open_rows(path))}
    changed = [
        key(replace(open_rows(path), task=with_template(summarize, "{document} =>"))),
        key(max_length=127),
        key(truncate_completion=True),
        key(packing=True),
        key(tokenizer=other_bpe),
        key(open_rows(path, limit=29)),
        key(open_rows(path, columns={"document": "text"})),
        key(open_rows(path, validation_fraction=0.2)),
        key(open_rows(path, task="pretrain")),
        key(open_splits(Data(train=str(path)), get_task("summarize"))["test"]),
    ]
    held_out = held_out_rows(open_splits(Data(train=str(path)), summarize))
    removing = replace(OPTIONS, remove_duplicates="exact")
    changed.append(encoding_key(open_rows(path), tokenizer, removing))
    changed.append(encoding_key(open_rows(path), tokenizer, removing, held_out))
    same.add(encoding_key(open_rows(path), tokenizer, OPTIONS, held_out))
    moved = path.with_name("moved.jsonl")
    moved.write_bytes(path.read_bytes())
    changed.append(key(open_rows(moved)))  # rows are named by their file
    source = path.read_bytes()
    path.write_bytes(source.replace(b"ferry", b"Ferry", 1))
    changed.append(key())
    path.write_bytes(source)
    monkeypatch.setattr(cache, "code_version", lambda: "the next release's")
    changed.append(key())
    assert len(same) == 1
    assert len(same | set(changed)) == 1 + len(changed)


# Imported by the code that reads and encodes rows, but without a say in their tokens.
NOT_IN_THE_KEY = {
    "config/data_section.py": "its values are part of the key",
    "config/generation.py": "decodes",
    "config/schema.py": "its values are part of the key",
    "config/section.py": "checks the types of values",
    "data/encoded_rows.py": "reads the rows that data/encode.py writes",
    "data/encoding_report.py": "reads the records that data/encode.py writes",
    "errors.py": "the text of messages",
    "io/atomic.py": "writes files, and finds damaged ones",
    "io/hub_errors.py": "explains errors",
    "io/known_files.py": "computes a part of the key",
    "metrics/__init__.py": "scores predictions",
    "metrics/final_answer.py": "scores predictions",
    "metrics/prediction.py": "scores predictions",
    "metrics/sentences.py": "splits texts for baselines and scores",
    "units.py": "formats sizes in messages",
}


def test_the_cache_key_covers_all_code_that_reads_and_encodes_rows():
    imported = {
        f"{module.replace('.', '/')}.py" for module in all_imports_of("data.encode", "data.splits")
    }
    covered = {
        str(path.relative_to(PACKAGE))
        for pattern in cache.TOKEN_SOURCES
        for path in PACKAGE.glob(pattern)
    }
    assert covered == imported - NOT_IN_THE_KEY.keys()
    assert NOT_IN_THE_KEY.keys() <= imported, "an exception is out of date"


def test_rows_that_cannot_be_encoded_leave_no_cache_entry(tmp_path, tokenizer, folder):
    path = write_jsonl(tmp_path / "rows.jsonl", summary_rows(30))
    with path.open("a") as file:
        file.write("{broken\n")
    with pytest.raises(UserError, match="broken JSON"):
        encode_cached(open_rows(path), tokenizer, OPTIONS)
    assert list((folder / "encoded").iterdir()) == []


@pytest.mark.parametrize("name", ["rows.arrow", "records.arrow"])
@pytest.mark.parametrize("content", [b"", b"not Arrow", None])
def test_a_damaged_cache_entry_is_named(path, tokenizer, folder, name, content):
    encode_cached(open_rows(path), tokenizer, OPTIONS)
    (entry,) = (folder / "encoded").iterdir()
    (entry / name).unlink()
    if content is not None:
        (entry / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{entry}: these cached rows are damaged; delete"):
        encode_cached(open_rows(path), tokenizer, OPTIONS)


def test_a_cache_folder_that_cannot_be_written_is_named(path, tokenizer, monkeypatch):
    monkeypatch.setenv("LLMKIT_CACHE", str(path))
    with pytest.raises(UserError, match="set LLMKIT_CACHE to a folder that can be written"):
        encode_cached(open_rows(path), tokenizer, OPTIONS)


def test_rows_are_encoded_once_by_processes_that_need_the_same_ones(
    path, tokenizer, folder, monkeypatch
):
    """Threads here, which the lock keeps apart as it does processes."""
    is_encoding, is_waiting, calls = Event(), Event(), []
    encode_rows = cache.encode_rows

    def encode_slowly(*arguments):
        calls.append(arguments)
        is_encoding.set()
        assert is_waiting.wait(60)
        return encode_rows(*arguments)

    monkeypatch.setattr(cache, "encode_rows", encode_slowly)
    monkeypatch.setattr(cache, "SECONDS_BEFORE_NOTICE", 0.0)
    rows = open_rows(path)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(encode_cached, rows, tokenizer, OPTIONS, lambda text: None)
        assert is_encoding.wait(60)
        second = pool.submit(encode_cached, rows, tokenizer, OPTIONS, lambda text: is_waiting.set())
        results = [first.result(), second.result()]
    assert len(calls) == 1
    assert len({EncodedRows(encoded).fingerprint() for encoded, _, _ in results}) == 1
    assert not any(was_cached for _, _, was_cached in results)
    assert len(list((folder / "encoded").iterdir())) == 1


def test_processes_encode_once_also_if_the_first_one_is_killed(
    path, tokenizer, folder, monkeypatch
):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")  # its threads would not survive a fork
    rows, encode_rows = open_rows(path), cache.encode_rows
    notes, note = os.pipe()

    def start(act) -> int:
        child = os.fork()
        if child == 0:
            code = 1
            try:

                def encode_and_note(*arguments):
                    os.write(note, b"x")
                    act()
                    return encode_rows(*arguments)

                monkeypatch.setattr(cache, "encode_rows", encode_and_note)
                encode_cached(rows, tokenizer, OPTIONS, lambda text: None)
                code = 0
            finally:
                os._exit(code)
        return child

    first = start(signal.pause)
    assert os.read(notes, 1) == b"x"
    others = [start(lambda: None) for _ in range(3)]
    os.kill(first, signal.SIGKILL)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in (first, *others)]
    assert codes == [-signal.SIGKILL, 0, 0, 0]
    assert os.read(notes, 9) == b"x", "one of the others has encoded the rows"
    (entry,) = (folder / "encoded").iterdir()
    assert entry.name == encoding_key(rows, tokenizer, OPTIONS)


def test_leftovers_of_a_killed_process_are_removed_from_the_cache(path, tokenizer, folder):
    rows = open_rows(path)
    key = encoding_key(rows, tokenizer, OPTIONS)
    (folder / "encoded").mkdir(parents=True)
    (folder / "locks").mkdir()
    for name in (f"partial-{key}-a", "partial-dead-b", "partial-alive-c"):
        (folder / "encoded" / name).mkdir()
        (folder / "encoded" / name / "rows.arrow").write_bytes(b"half")
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        FileLock(folder / "locks" / f"{key}.lock").acquire()
        os.write(told, b"held")
        signal.pause()
    assert os.read(ready, 4) == b"held"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with FileLock(folder / "locks" / "alive.lock"):
        encode_cached(rows, tokenizer, OPTIONS)
    assert sorted(p.name for p in (folder / "encoded").iterdir()) == [key, "partial-alive-c"]


def test_columns_and_languages_are_part_of_the_cache_key(tmp_path, tiny_gpt2):
    tokenizer = load_model(str(tiny_gpt2))[1]
    rows = [{"instruction": "a", "input": "b", "output": "c", "second": "d", "title": "t"}]
    path = str(write_jsonl(tmp_path / "rows.jsonl", rows))
    instruct = get_task("instruct")

    def key(task=instruct, split="train", **data):
        splits = open_splits(Data(train=path, validation=path, test=path, **data), task)
        return encoding_key(splits[split], tokenizer, EncodingOptions(max_length=64))

    def translation(**data):
        task = prompt_task("translate", Data(train="x", **data))
        return key(task, columns={"source": "input", "target": "output"})

    keys = [
        key(),
        key(columns={"input": "title"}),
        key(columns={"train": {"input": "second"}}),
        key(columns={"output": ["output", "second"]}),
        key(columns={"output": ["second", "output"]}),
        key(skip_invalid=True),
        key(with_template(instruct, "{instruction} {title} =>")),
        key(with_template(instruct, "{instruction} {title} =>"), columns={"title": "second"}),
        key(get_task("chat")),
        translation(),
        translation(target_language="French"),
    ]
    assert len(set(keys)) == len(keys)
    assert key(columns={"test": {"input": "second"}}) == keys[0]


def test_the_shape_of_the_rows_is_part_of_the_cache_key(tmp_path, tiny_gpt2):
    """The bytes decide on the shape, so a shape in the key is a guard, not the only one."""
    tokenizer = load_model(str(tiny_gpt2))[1]
    row = {"instruction": "a", "output": "c", "messages": []}
    path = write_jsonl(tmp_path / "rows.jsonl", [row])
    rows = open_at(path, get_task("instruct"))["train"]
    keys = {
        encoding_key(each, tokenizer, EncodingOptions(max_length=64))
        for each in (rows, replace(rows, shape=None))
    }
    assert len(keys) == 2
