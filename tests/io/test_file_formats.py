"""Files as Excel, pandas, `datasets`, R, databases and the OpenAI API write them: each gives the
right rows, or is refused with the right advice."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import time
from pathlib import Path

import datasets
import pandas
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llmkit.config.schema import Data
from llmkit.data.splits import open_splits
from llmkit.errors import UserError
from llmkit.io import json_rows, text_lines
from llmkit.io.row_files import find, read, read_all, rows_in_quotes
from llmkit.tasks import get_task

SUMMARIZE, CLASSIFY = get_task("summarize"), get_task("classify")
DOCUMENTS = ["The ferry, late.", 'He said "noon"; she left.', "Two\nlines | Zürich", "4 €", "NA"]
ROWS = [{"document": text, "summary": f"Summary {i}"} for i, text in enumerate(DOCUMENTS)]
PLAIN = [row for row in ROWS if "\n" not in row["document"]]


def dataset():
    features = {
        "text": datasets.Value("string"),
        "label": datasets.ClassLabel(names=["negative", "positive"]),
    }
    columns = {"text": ["Bad.", "Good."] * 3, "label": [0, 1] * 3}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


LABELED = [{"text": "Bad.", "label": "negative"}, {"text": "Good.", "label": "positive"}] * 3


def excel(rows, path, delimiter=",", encoding="utf-8-sig", first="", last=""):
    """As Excel saves a sheet: CR LF, line breaks in cells as LF."""
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0], delimiter=delimiter, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes((first + file.getvalue() + last).encode(encoding))


def lines_of(path, *lines):
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())


def tabs(rows):
    return [f"{row['document']}\t{row['summary']}" for row in rows]


FRAME = pandas.DataFrame(ROWS)
R_ROWS = [f'"{i}","{r["document"].replace(chr(34), chr(34) * 2)}","{r["summary"]}"'
          for i, r in enumerate(PLAIN, 1)]  # fmt: skip
BATCH = {"custom_id": "1", "response": {"body": {"choices": [{"message": {"content": "Left."}}]}}}

# Name of the file -> how it comes about, and its rows.
READ = {
    "excel-utf8.csv": (lambda p: excel(ROWS, p), ROWS),
    "excel-sep.csv": (lambda p: excel(ROWS, p, ";", first="sep=;\r\n"), ROWS),
    "excel-semicolons.csv": (lambda p: excel(ROWS, p, ";", last=";\r\n;\r\n"), ROWS),
    "excel-unicode-text.csv": (lambda p: excel(ROWS, p, "\t", "utf-16"), ROWS),
    "utf-16-without-mark.csv": (lambda p: excel(ROWS, p, ";", "utf-16-be"), ROWS),
    "utf-16-without-mark.tsv": (lambda p: excel(ROWS, p, "\t", "utf-16-le"), ROWS),
    "utf-16-without-mark.jsonl": (
        lambda p: p.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS), "utf-16-be"), ROWS
    ),
    "blanks-in-the-header.csv": (
        lambda p: p.write_bytes(b"document, summary \na, b\n"), [{"document": "a", "summary": " b"}]
    ),
    "excel-empty-columns.csv": (
        lambda p: p.write_bytes(b"document;summary;;\r\na;b;;\r\nc;d\r\n;;;\r\n;;;\r\n"),
        [{"document": "a", "summary": "b"}, {"document": "c", "summary": "d"}],
    ),
    "pandas.csv": (FRAME.to_csv, ROWS),
    "pandas-semicolons.csv": (lambda p: FRAME.to_csv(p, sep=";", encoding="utf-16"), ROWS),
    "pandas-quoted.tsv": (lambda p: FRAME.to_csv(p, sep="\t", index=False), ROWS),
    "pandas-unquoted.tsv": (
        lambda p: pandas.DataFrame(PLAIN).to_csv(
            p, sep="\t", index=False, quoting=csv.QUOTE_NONE, quotechar=None
        ),
        PLAIN,
    ),
    "pandas-pipes.csv": (lambda p: FRAME.to_csv(p, sep="|"), ROWS),
    "pandas.csv.gz": (FRAME.to_csv, ROWS),
    "pandas.csv.xz": (FRAME.to_csv, ROWS),
    "pandas-columns.json": (FRAME.to_json, ROWS),
    "pandas-index.json": (lambda p: FRAME.to_json(p, orient="index"), ROWS),
    "pandas-table.json": (lambda p: FRAME.to_json(p, orient="table"), ROWS),
    "pandas-records.json": (lambda p: FRAME.to_json(p, orient="records", indent=2), ROWS),
    "pandas-lines.json": (lambda p: FRAME.to_json(p, orient="records", lines=True), ROWS),
    "pandas.jsonl.bz2": (lambda p: FRAME.to_json(p, orient="records", lines=True), ROWS),
    "pandas.parquet": (FRAME.to_parquet, ROWS),
    "pandas.feather": (FRAME.to_feather, ROWS),
    "datasets.csv": (lambda p: datasets.Dataset.from_list(ROWS).to_csv(p), ROWS),
    "datasets.json": (lambda p: datasets.Dataset.from_list(ROWS).to_json(p), ROWS),
    "datasets.jsonl": (lambda p: datasets.Dataset.from_list(ROWS).to_json(p), ROWS),
    "r-write-csv.csv": (lambda p: lines_of(p, '"","document","summary"', *R_ROWS), PLAIN),
    "mysql-batch.tsv": (lambda p: lines_of(p, "document\tsummary", *tabs(PLAIN)), PLAIN),
    "jq.json": (lambda p: p.write_text("\n".join(json.dumps(r, indent=2) for r in ROWS)), ROWS),
    "partly-old-mac.csv": (
        lambda p: p.write_bytes(b'document,summary\ra,b\rc,"d\re"\nf,g\r\r\n"h\n",i\r\nj,k\rl,m'),
        [{"document": a, "summary": b}
         for a, b in ("ab", ("c", "d\re"), "fg", ("h\n", "i"), "jk", "lm")]
    ),
    "old-mac.csv": (lambda p: p.write_bytes(b"document,summary\ra,b\rc,d\r"), [
        {"document": "a", "summary": "b"}, {"document": "c", "summary": "d"}]),
}  # fmt: skip

REFUSED = {
    "excel-1252.csv": (
        lambda p: excel(ROWS, p, ";", "cp1252"),
        ["excel-1252.csv:5: byte 10 is not UTF-8; save the file as UTF-8", "data.encoding=cp1252"],
    ),
    "excel.xlsx": (lambda p: p.write_bytes(b"PK\3\4"), ["save the sheet as CSV UTF-8"]),
    "excel-renamed.csv": (lambda p: p.write_bytes(b"PK\3\4"), ["save it as CSV UTF-8"]),
    "pandas-split.json": (
        lambda p: FRAME.to_json(p, orient="split"),
        ['in pandas, write with to_json(orient="records")'],
    ),
    "r-write-table.csv": (
        lambda p: lines_of(p, '"document","summary"', *R_ROWS),
        ["r-write-table.csv:2: 3 fields, but the header has 2", "row.names=FALSE"],
    ),
    "r-escaped.tsv": (
        lambda p: lines_of(p, '"document"\t"summary"', '"a \\"b\\" c"\t"d"'),
        ["r-escaped.tsv:2: ", "double those inside a field"],
    ),
    "joined.csv": (
        lambda p: p.write_bytes(b"\xef\xbb\xbfdocument,summary\na,b\n" * 2),
        ["joined.csv:3: a byte order mark inside the file: files were joined here; delete"],
    ),
    "joined-unmarked.tsv": (
        lambda p: lines_of(p, *["document\tsummary", "a\tb"] * 2),
        ["joined-unmarked.tsv:3: a second header: files were joined here"],
    ),
    "ragged.csv": (
        lambda p: lines_of(p, "document;summary", "a;b", "a;b;c"),
        ["ragged.csv:3: 3 fields, but the header has 2; quote fields that hold the delimiter"],
    ),
    "twice.csv": (lambda p: lines_of(p, "document,document", "a,b"), ["two columns are named"]),
}


def all_rows(path, task=SUMMARIZE, **data):
    path = str(path)
    splits = open_splits(Data(train=path, validation=path, test=path, **data), task)
    names = [name for name in task.columns if name not in task.optional_inputs]
    return [{name: row[name] for name in names} for row in splits["train"]]


@pytest.mark.parametrize("name", READ)
def test_a_file_as_people_write_it_is_read(tmp_path, name):
    write, rows = READ[name]
    write(tmp_path / name)
    assert all_rows(tmp_path / name) == rows


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_read_right_is_refused_with_advice(tmp_path, name):
    write, said = REFUSED[name]
    write(tmp_path / name)
    with pytest.raises(UserError) as error:
        all_rows(tmp_path / name)
    assert str(error.value).startswith(f"{tmp_path / name}")
    assert all(part in str(error.value) for part in said)
    assert "\n" not in str(error.value)


def messages(*texts):
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


ONE_ROW = {
    "messages": {"id": "1", "messages": messages("When?", "At noon.")},
    "messages alone": {"messages": messages("When?", "At noon.")},
    "messages and tools": {"messages": messages("When?", "At noon."), "tools": [{"name": "clock"}]},
    "messages in another column": {"id": 1, "dialog": messages("When?", "At noon.")},
    "sharegpt": {"id": "1", "conversations": [{"from": "human", "value": "When?"},
                                              {"from": "gpt", "value": "At noon."}]},
    "conversational prompt": {"prompt": messages("When?"), "completion": messages("", "Now.")[1:]},
    "prompt and completion": {"prompt": "When?", "completion": "At noon."},
    "alpaca": {"instruction": "When?", "input": "", "output": "At noon.", "history": [["a", "b"]]},
    "several references": {"document": "The ferry left.", "summary": ["It left.", "Gone."]},
    "squad answers": {"id": "a", "context": "Mara keeps a goat.", "question": "Who keeps a goat?",
                      "answers": [{"text": "Mara", "answer_start": 0}]},
    "hub answers": {"id": "a", "context": "Mara keeps a goat.", "question": "Who keeps a goat?",
                    "answers": {"text": ["Mara"], "answer_start": [0]}},
    "no answer": {"context": "Mara keeps a goat.", "question": "Why?", "answers": []},
    "hub translation": {"translation": {"en": "The ferry.", "de": "Die Fähre."}},
    "languages": {"en": "The ferry.", "de": "Die Fähre."},
    "prediction": {"id": "1", "prediction": "It left.", "references": ["Gone.", "It left."]},
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_ROW)
@pytest.mark.parametrize("indent", [None, 2])
def test_one_object_in_a_json_file_is_one_row(tmp_path, name, indent):
    path = tmp_path / "row.json"
    path.write_text(json.dumps(ONE_ROW[name], indent=indent))
    assert [row for _, row in read(path)] == [ONE_ROW[name]]
    path.write_text("\n".join([json.dumps(ONE_ROW[name], indent=indent)] * 2))
    assert [row for _, row in read(path)] == [ONE_ROW[name]] * 2


@pytest.mark.parametrize(
    "wrapped",
    [
        {"data": LABELED},
        {"version": "1.1", "data": LABELED},
        {"id": "reviews", "text": "Reviews of May.", "data": LABELED},
        {"name": "reviews", "count": 6, "reviews": LABELED},
    ],
)
def test_a_list_of_rows_beside_metadata_is_read(tmp_path, wrapped):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(wrapped))
    assert all_rows(path, CLASSIFY) == LABELED


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_carriage_return_inside_a_row_costs_that_row_alone(tmp_path, delimiter):
    path = tmp_path / "rows.csv"
    lines = [
        "document,summary",
        "a,b",
        "Two\rlines,It left.",
        "c,d",
        "e,f\rg",
        '"h\ni",j\rk',
        "l,m",
    ]
    path.write_text("\n".join(lines).replace(",", delimiter), newline="")
    found = dict(read_all(path))
    broken = [where for where, row in found.items() if isinstance(row, UserError)]
    assert broken == [f"{path}:3", f"{path}:5", f"{path}:6"]
    assert all("a carriage return splits the row in two" in str(found[where]) for where in broken)
    rows = [{"document": a, "summary": b} for a, b in ("ab", "cd", "lm")]
    assert all_rows(path, skip_invalid=True) == rows
    with pytest.raises(UserError, match=r"rows\.csv:3: .*data\.skip_invalid=true"):
        all_rows(path)


def test_a_quote_that_is_not_doubled_costs_its_row_alone(tmp_path):
    path = tmp_path / "rows.csv"
    rows = ["document,summary", "a,b", '"the "old" mill",It stands.', '"c",d', '"e\nf" g,h', "i,j"]
    path.write_text("\n".join(rows))
    found = dict(read_all(path))
    broken = {where: str(row) for where, row in found.items() if isinstance(row, UserError)}
    assert list(broken) == [f"{path}:3", f"{path}:5"]
    assert "in the row from here to line 6" in broken[f"{path}:5"]
    expected = [{"document": a, "summary": b} for a, b in ("ab", "cd", "ij")]
    assert all_rows(path, skip_invalid=True) == expected
    path.write_text("\n".join([*rows, '"never closed,k', "l,m"]))
    with pytest.raises(UserError, match=r"rows\.csv:8: unexpected end of data"):
        all_rows(path, skip_invalid=True)


QUOTED = st.text(alphabet='a,"\r\n').map(lambda text: '"' + text.replace('"', '""') + '"')
FIELD = st.one_of(st.text(alphabet="ab ", min_size=1), QUOTED)


@settings(deadline=None)
@given(st.lists(st.tuples(FIELD, FIELD, st.sampled_from(["\n", "\r\n", "\r"])), min_size=1))
def test_carriage_returns_end_rows_as_in_pandas(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("returns") / "rows.csv"
    text = "".join(f"{first},{second}{end}" for first, second, end in rows)
    path.write_bytes(f"x,y\nb,b\n{text}b,b\n".encode())
    # The engine in C of some versions loses rows between a carriage return and a space.
    frame = pandas.read_csv(path, dtype=str, na_filter=False, engine="python")
    assert [list(row.values()) for _, row in read_all(path)] == frame.values.tolist()


def squad(version):
    """As https://rajpurkar.github.io/SQuAD-explorer/ distributes it, in one line."""
    mara = {"id": "5a", "question": "Who keeps a goat?",
            "answers": [{"text": "Mara", "answer_start": 0}] * 2}  # fmt: skip
    otto = {"id": "5b", "question": "Who keeps bees?",
            "answers": [{"text": "Otto", "answer_start": 19}]}  # fmt: skip
    ida = {"id": "5c", "question": "Who keeps an owl?", "answers": [], "is_impossible": True,
           "plausible_answers": [{"text": "Ida", "answer_start": 0}]}  # fmt: skip
    second = [ida] if version == "v2.0" else [{**ida, "answers": [], "is_impossible": False}]
    articles = [
        {"title": "Animals", "paragraphs": [
            {"context": "Mara keeps a goat. Otto keeps bees.", "qas": [mara, otto]}]},
        {"title": "Birds", "paragraphs": [
            {"context": "Ida keeps a hen.", "qas": second}, {"context": "None.", "qas": []}]},
    ]  # fmt: skip
    return {"version": version, "data": articles}


@pytest.mark.parametrize("unwrap", [lambda content: content, lambda content: content["data"]])
@pytest.mark.parametrize("version", ["1.1", "v2.0"])
def test_squad_is_read_as_its_authors_distribute_it(tmp_path, version, unwrap):
    path = tmp_path / "train-v.json"
    path.write_text(json.dumps(unwrap(squad(version))))
    data = Data(train=str(path), validation=str(path), test=str(path))
    rows = list(open_splits(data, get_task("qa"))["train"])
    assert [(row["id"], row["context"][:4], row["answers"]) for row in rows] == [
        ("5a", "Mara", ["Mara", "Mara"]), ("5b", "Mara", ["Otto"]), ("5c", "Ida ", []),
    ]  # fmt: skip
    assert rows[2]["where"] == f"{path}: data[1].paragraphs[0].qas[0]"
    titles = [row["title"] for _, row in read(path)]
    assert titles == ["Animals", "Animals", "Birds"]


def test_damaged_questions_of_squad_are_named_and_can_be_skipped(tmp_path):
    content = squad("v2.0")
    content["data"][0]["paragraphs"] += [{"context": "No questions."}, "text"]
    content["data"][1]["paragraphs"][1]["qas"] = ["Who?"]
    path = tmp_path / "train-v2.0.json"
    path.write_text(json.dumps(content))
    broken = [row for _, row in read_all(path) if isinstance(row, UserError)]
    assert [str(error).removeprefix(f"{path}: ") for error in broken] == [
        "data[0].paragraphs[1]: no list `qas` of questions; fix the paragraph",
        "data[0].paragraphs[2]: no list `qas` of questions; fix the paragraph",
        "data[1].paragraphs[1].qas[0]: a row is a JSON object with columns, not str",
    ]
    assert len(all_rows(path, get_task("qa"), skip_invalid=True)) == 3


def test_a_json_file_is_parsed_once_until_it_changes(tmp_path, monkeypatch):
    path, old = tmp_path / "rows.json", 1_700_000_000
    parsed = []
    parse = json_rows._parse
    monkeypatch.setattr(json_rows, "_parse", lambda text, p: parsed.append(p) or parse(text, p))
    monkeypatch.setattr(json_rows, "_parsed", {})

    def write(text, seconds):
        path.write_text(json.dumps([{"text": text}]))
        os.utime(path, (seconds, seconds))

    def texts():
        return [row["text"] for _, row in read(path)]

    write("one", old)
    assert [texts() for _ in range(3)] == [["one"]] * 3
    assert len(parsed) == 1
    write("two", old + 1)
    assert [texts() for _ in range(3)] == [["two"]] * 3
    assert len(parsed) == 2
    write("six", time.time())  # a change in the same tick would not show, so it is not kept
    assert [texts() for _ in range(3)] == [["six"]] * 3
    assert len(parsed) == 5
    monkeypatch.setattr(json_rows, "MAX_CACHED_CHARACTERS", 2)
    write("ten", old + 2)
    assert [texts() for _ in range(2)] == [["ten"]] * 2
    assert not json_rows._parsed


def test_a_named_encoding_is_read_and_an_unknown_one_refused(tmp_path):
    path = tmp_path / "excel.csv"
    excel(ROWS, path, ";", "cp1252")
    assert all_rows(path, encoding="cp1252") == ROWS
    excel(ROWS, path, ";", "utf-16-le")
    assert all_rows(path, encoding="utf-16-le") == ROWS
    excel(ROWS, path, ";", "utf-8")
    assert all_rows(path, encoding="utf-8-sig") == ROWS  # the mark may be missing
    for name in ("utf-16-le", "cp1252", "latin-1"):
        with pytest.raises(UserError, match=rf"UTF-8, not {name} as data\.encoding says"):
            all_rows(path, encoding=name)
    assert all_rows(path, encoding="utf-8-sig") == ROWS
    for name in ("klingon", "rot13"):
        with pytest.raises(ValueError, match="not a text encoding"):
            Data(train=str(path), encoding=name)


def test_classes_that_datasets_numbers_have_their_names(tmp_path):
    """In files, in saved folders, of which all splits are used, and in a split of theirs."""
    found = dataset()
    found.to_parquet(tmp_path / "rows.parquet")
    assert all_rows(tmp_path / "rows.parquet", CLASSIFY) == LABELED
    found.save_to_disk(tmp_path / "saved", num_shards=2)
    assert all_rows(tmp_path / "saved", CLASSIFY) == LABELED
    arrow = sorted((tmp_path / "saved").glob("*.arrow"))
    assert all_rows(arrow[0], CLASSIFY) == LABELED[:3]
    parts = {"train": found, "dev": found.select([0]), "test": found.select([1, 2])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "splits")
    splits = open_splits(Data(train=str(tmp_path / "splits")), CLASSIFY)
    assert {name: len(list(rows)) for name, rows in splits.items()} == {
        "train": 6, "validation": 1, "test": 2,
    }  # fmt: skip
    assert all_rows(tmp_path / "splits" / "test", CLASSIFY) == [LABELED[1], LABELED[0]]


def test_a_hidden_class_is_no_label(tmp_path):
    dataset().to_parquet(tmp_path / "rows.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "rows.parquet")
    hidden = table.set_column(1, table.schema.field(1), pyarrow.array([-1, 1, 7] * 2))
    pyarrow.parquet.write_table(hidden, tmp_path / "rows.parquet")
    labels = [row["label"] for _, row in read(tmp_path / "rows.parquet")]
    assert labels == [None, "positive", None] * 2


def test_an_empty_name_is_not_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pandas.DataFrame(ROWS).to_csv("rows.csv", index=False)
    with pytest.raises(UserError, match=r"data\.train: no name of a file"):
        open_splits(Data(train=""), SUMMARIZE)


def test_shards_by_pattern_and_by_folder(tmp_path):
    for index, row in enumerate(ROWS):
        pandas.DataFrame([row]).to_parquet(tmp_path / f"part-{index}.parquet")
    assert all_rows(tmp_path / "part-*.parquet") == ROWS
    (tmp_path / "._part-0.parquet").write_bytes(b"\0")  # as macOS leaves on other file systems
    assert all_rows(tmp_path) == ROWS
    (tmp_path / "part-9.csv").touch()
    with pytest.raises(UserError, match="files of several splits or formats"):
        all_rows(tmp_path)
    (tmp_path / "part-9.csv").unlink()
    (tmp_path / "part-4.parquet").rename(tmp_path / "test-00000-of-00001.parquet")
    with pytest.raises(UserError, match=r"name the ones to read, such as '.*train\*.parquet'"):
        all_rows(tmp_path)


def state(**content):
    return lambda folder: (folder / "state.json").write_text(json.dumps(content))


def link(folder):
    file = next(folder.glob("*.arrow"))
    file.rename(folder.parent / "elsewhere.arrow")
    file.symlink_to(folder.parent / "elsewhere.arrow")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (state(_data_files=[{"filename": "../secret.arrow"}]), "points outside the folder"),
        (state(_data_files=[{"filename": "/etc/passwd"}]), "points outside the folder"),
        (state(_data_files=[{"filename": ".."}]), "points outside the folder"),
        (state(_data_files=[{"filename": 7}]), "points outside the folder"),
        (state(_data_files=[{"filename": "gone.arrow"}]), "no such file"),
        (state(_data_files="all"), "names no data files"),
        (state(_data_files=None), "names no data files"),
        (state(_data_files=[], _indices_data_files=[{"filename": "i.arrow"}]), "an index file"),
        (link, "a link that points outside the folder"),
        (lambda folder: (folder / "state.json").write_text("["), "not a JSON object"),
        (lambda folder: (folder / "state.json").write_text("[" * 10**5), "not a JSON object"),
        (lambda folder: (folder / "state.json").write_text(" " * 2**23), "not a JSON object"),
    ],
)
def test_a_saved_folder_does_not_lead_elsewhere(tmp_path, spoil, said):
    dataset().save_to_disk(tmp_path / "saved")
    spoil(tmp_path / "saved")
    with pytest.raises(UserError, match=said):
        find(str(tmp_path / "saved"), "data.train")


def test_splits_of_a_saved_folder_do_not_lead_elsewhere(tmp_path):
    dataset().save_to_disk(tmp_path / "outside")
    folder = tmp_path / "saved"
    folder.mkdir()
    for splits, said in (
        (["../outside"], "name points outside the folder"),
        (["train"], "a link that points outside"),
        (7, "name points outside the folder"),
    ):
        (folder / "dataset_dict.json").write_text(json.dumps({"splits": splits}))
        if splits == ["train"]:
            (folder / "train").symlink_to(tmp_path / "outside")
        with pytest.raises(UserError, match=said):
            open_splits(Data(train=str(folder)), CLASSIFY)


COMPRESS = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: pyarrow.compress(content, "zstd", asbytes=True),
}


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "txt"])
def test_every_text_format_is_read_compressed(tmp_path, kind, suffix):
    content = {
        "jsonl": b'{"text": "a"}\n{"text": "b"}\n',
        "json": b'[{"text": "a"}, {"text": "b"}]',
        "csv": b"text,n\na,1\nb,2\n",
        "tsv": b"text\tn\na\t1\nb\t2\n",
        "txt": b"a\n\nb\n",
    }[kind]
    compress = COMPRESS[suffix]
    path = tmp_path / f"rows.{kind}{suffix}"
    path.write_bytes(compress(content))
    assert [row["text"] for _, row in read(path)] == ["a", "b"]
    if suffix and kind != "json":  # as `cat` joins compressed files
        path.write_bytes(compress(content) + compress(content.replace(b"text", b"more")))
        assert len(list(read_all(path))) > 2
    path.write_bytes(compress(content * 50)[:-9])
    if suffix:
        with pytest.raises(UserError, match=r"not readable as .*; compress or download"):
            list(read(path))


@pytest.mark.parametrize("suffix", [suffix for suffix in COMPRESS if suffix])
def test_what_does_not_end_is_not_held_in_memory(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(text_lines, "MAX_LINE_BYTES", 2**16)
    monkeypatch.setattr(text_lines, "MAX_TEXT_CHARACTERS", 2**18)
    long, many = b"a" * 2**20, b"a\n" * 2**18
    for name, content, said in [
        ("rows.jsonl", long, "a line of more than"),
        ("rows.json", many, "which has to fit in memory"),
        ("rows.csv", b'text,n\n"' + long, "a line of more than"),
    ]:
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(COMPRESS[suffix](content))
        with pytest.raises(UserError, match=said):
            list(read(path))


def test_an_xz_file_that_asks_for_gigabytes_is_refused(tmp_path):
    path = tmp_path / "rows.jsonl.xz"
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**28}]
    path.write_bytes(lzma.compress(b'{"text": "a"}\n', filters=filters))
    with pytest.raises(UserError, match=r"not readable as xz after line 0 \(Memory usage limit"):
        list(read(path))


FIVE = ["a\tb", 'c\t"d', "e\tf", 'g\th"', "i\tj"]


@pytest.mark.parametrize(
    ("lines", "texts"),
    [
        (FIVE, ["a", "c", "e", "g", "i"]),
        (['"a\tb', "c\td", 'e"\tf'], ['"a', "c", 'e"']),
        (['He said "no".\tb', '"c"\td'], ['He said "no".', '"c"']),
        (['"Yes," he said.\tb'], ['"Yes," he said.']),
        (['"a ""b"" c"\td', '"e"\tf'], ['a "b" c', "e"]),
        (['"a\nb"\td', '"e\tf"\tg'], ["a\nb", "e\tf"]),
        (['a 5" nail\tb'], ['a 5" nail']),
        (['"\tb', "c\td"], ['"', "c"]),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_quotes_in_tab_delimited_text(tmp_path, lines, texts, end):
    """They are text, unless all of the file quotes as a writer of csv does."""
    path = tmp_path / "rows.tsv"
    path.write_bytes(end.join(["document\tsummary", *lines, ""]).encode())
    assert [row["document"] for _, row in read(path)] == texts


def test_rows_that_a_quote_of_a_csv_file_swallows_are_warned_of(llmkit, tmp_path):
    path = tmp_path / "rows.csv"
    lines_of(path, "text,label", 'a,"pos', "b,neg", 'c,pos"', "d,neg", "e,pos", "f,pos", "g,neg")
    result = llmkit("check", "classify", f"data.train={path}", "data.held_out=end")
    said = f"a quoted field holds lines that each look like a row, and is read as one text ({path}:"
    assert said.replace(" ", "") in "".join(result.output.split())
    assert rows_in_quotes(path) == [f"{path}:2-4"]


def test_texts_with_line_breaks_look_like_rows_by_chance(tmp_path):
    path = tmp_path / "rows.csv"
    lines_of(path, "text,label", '"Good, really', 'fine",pos', '"Bad', 'and sad",neg')
    assert rows_in_quotes(path) == []


CELLS = st.text(alphabet='aé,;|\t "\n', max_size=6)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=5),
    st.sampled_from(",;\t|"),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", ".gz", ".xz"]),
    st.sampled_from(["csv", "tsv"]),
)
def test_what_csv_writes_in_any_dialect_is_read_back(
    tmp_path_factory, rows, delimiter, quoting, encoding, end, suffix, kind
):
    # Of a record with tabs and line breaks in its texts, lines can look like rows of their own.
    assume(delimiter != "\t" or not any({"\t", "\n"} <= set("".join(row)) for row in rows))
    names, rows = ("document", "summary", "more"), [*rows, ("the", "last", "one")]
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerows([names, *rows])
    path = Path(tmp_path_factory.getbasetemp()) / f"dialect.{kind}{suffix}"
    path.write_bytes(COMPRESS[suffix](file.getvalue().encode(encoding)))
    assert [tuple(row[name] for name in names) for _, row in read(path)] == rows


def test_a_batch_of_the_openai_api_is_read_by_its_path(tmp_path):
    path = tmp_path / "batch_output.jsonl"
    lines_of(path, json.dumps({**BATCH, "document": "The ferry left at noon."}))
    columns = {"summary": "response.body.choices.message.content"}
    rows = all_rows(path, columns=columns)
    assert rows == [{"document": "The ferry left at noon.", "summary": ["Left."]}]
