"""csv and tsv files: delimiter and quoting are recognized, and a bad row costs only itself."""

import csv
import io
from pathlib import Path

import pandas
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from written_files import (
    COMPRESS,
    all_rows,
    lines_of,
)

from llmkit.errors import UserError
from llmkit.io.row_files import read, read_all, rows_in_quotes


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_carriage_return_breaks_only_its_own_row(tmp_path, delimiter):
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


def test_a_quote_that_is_not_doubled_breaks_only_its_own_row(tmp_path):
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
def test_quotes_in_a_tsv_file_are_text_unless_they_quote_fields(tmp_path, lines, texts, end):
    """They are text, unless all of the file quotes as a writer of csv does."""
    path = tmp_path / "rows.tsv"
    path.write_bytes(end.join(["document\tsummary", *lines, ""]).encode())
    assert [row["document"] for _, row in read(path)] == texts


def test_a_quoted_field_that_swallows_rows_is_warned_about(llmkit, tmp_path):
    path = tmp_path / "rows.csv"
    lines_of(path, "text,label", 'a,"pos', "b,neg", 'c,pos"', "d,neg", "e,pos", "f,pos", "g,neg")
    result = llmkit("check", "classify", f"data.train={path}", "data.held_out=end")
    said = f"a quoted field holds lines that each look like a row, and is read as one text ({path}:"
    assert said.replace(" ", "") in "".join(result.output.split())
    assert rows_in_quotes(path) == [f"{path}:2-4"]


def test_quoted_line_breaks_that_look_like_rows_by_chance_are_not_warned_about(tmp_path):
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
def test_csv_files_of_any_dialect_are_read_back(
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


@pytest.mark.parametrize(
    "texts",
    [
        {"A goat, brown.": "A goat, brown.", "It was late, cold, wet.": "It was late, cold, wet."},
        {"a, b": "a, b", '"c, ""d"""': 'c, "d"', "e; f, g, h": "e; f, g, h"},
    ],
)
def test_a_header_of_one_field_makes_one_column(tmp_path, texts):
    """Files with semicolons do not quote commas, and one column needs no semicolon."""
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["review", *texts]))
    assert [row["review"] for _, row in read_all(path)] == list(texts.values())


@pytest.mark.parametrize(
    "lines", [["1,a", "2,b"], ["a, b"], ["a, b", "c"] + ["d;e"] * 9 + ["f\tg|h"]]
)
def test_columns_without_a_name_are_refused(tmp_path, lines):
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["review", *lines]))
    _, error = next(read_all(path))
    assert "rows.csv:2: 2 fields, but the header has 1; quote fields" in str(error)
