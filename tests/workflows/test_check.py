"""`llmkit check`: every planted fault is found where it stands, and no clean row is accused."""

import json
import random
from pathlib import Path

import pytest
from rows import SHARED_DATA, TEXT, summary_rows, write_jsonl

from llmkit.data.encode import encode_text
from llmkit.data.findings import KINDS
from llmkit.model.load import load_model
from llmkit.reports.html import ASSETS
from llmkit.tasks import get_task, to_example

WORDS = sorted({word for text in TEXT for word in text.lower().split()})


def sentence(rng: random.Random, length: int = 14) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(length))


def clean_rows(count: int, seed: int) -> list[dict]:
    rng = random.Random(seed)
    return [{"document": sentence(rng, 20), "summary": sentence(rng, 5)} for _ in range(count)]


def conversation(asked: str, answered: str, **more: str) -> dict:
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    return {"messages": turns, **more}


def renamed(rows: list[dict], task: str) -> list[dict]:
    if task == "chat":
        return [conversation(*row.values()) for row in rows]
    names = {"summarize": ("document", "summary"), "translate": ("en", "de")}
    names |= {"qa": ("context", "question"), "pretrain": ("text", "rest")}
    names["reason"] = ("question", "answer")
    rows = [dict(zip(names[task], row.values(), strict=True)) for row in rows]
    return [{**row, "answers": "none"} for row in rows] if task == "qa" else rows


@pytest.fixture
def check(llmkit, tmp_path):
    """Check rows of `train` and `test` (validation: clean ones); returns exit code and JSON."""

    def run(train, test=None, *arguments, task="summarize"):
        files = {
            "train": train,
            "validation": renamed(clean_rows(10, seed=7), task),
            "test": renamed(clean_rows(10, seed=8), task) if test is None else test,
        }
        paths = [write_jsonl(tmp_path / f"{split}.jsonl", rows) for split, rows in files.items()]
        named = [f"data.{path.stem}={path}" for path in paths]
        result = llmkit("check", task, *named, *DEFAULTS, *arguments, "--json")
        assert result.exit_code in (0, 2), result.output
        return result.exit_code, json.loads(result.stdout)

    return run


DEFAULTS = ("data.max_length=128", "generation.max_new_tokens=20")


def found(report: dict, kind: str, split: str = "train") -> set[str]:
    """Names (file:line) of the rows found odd in this way."""
    rows = [
        row
        for finding in report["findings"]
        if (finding["kind"], finding["split"]) == (kind, split)
        for row in finding["rows"]
    ]
    return {Path(row).name for row in rows}


def test_clean_rows_are_not_accused(check):
    code, report = check(clean_rows(60, seed=1))
    assert (code, report["findings"]) == (0, [])


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"document": " \n", "summary": "s"}, "empty"),
        ({"document": "d", "summary": ""}, "empty"),
        ({"document": "d", "summary": "long " * 200}, "completion too long"),
        ({"document": "long " * 200, "summary": "s"}, "prompt truncated"),
        ({"document": "It ends.<|endoftext|>", "summary": "s"}, "end-of-text typed"),
        ({"document": "ร้านอาหารเปิดทุกวันจันทร์", "summary": "ร้านอาหาร"}, "over-tokenized"),
    ],
)
def test_an_odd_row_is_found(check, row, kind):
    rows = clean_rows(40, seed=1)
    rows[16] = row
    code, report = check(rows)
    assert code == 0
    assert {f["kind"] for f in report["findings"]} == {kind}
    assert found(report, kind) == {"train.jsonl:17"}


def test_a_completion_is_cut_only_where_the_recipe_says_so(check):
    rows = clean_rows(40, seed=1)
    rows[3]["summary"] = "long " * 200
    _, report = check(rows, None, "data.truncate_completion=true", "--rows", "4")
    assert found(report, "completion truncated") == {"train.jsonl:4"}
    pieces = report["samples"][3]["pieces"]
    text = {role: "".join(p["text"] for p in pieces if p["role"] == role) for role in ROLES}
    assert (text["supervised"] + text["truncated"][-len("long ") :]).count("long") > 20
    assert "<|endoftext|>" not in text["supervised"]


ROLES = ("prompt", "truncated", "supervised")


def test_copies_are_found_in_train_and_across_splits(check):
    train, test = clean_rows(60, seed=1), clean_rows(20, seed=2)
    train[40] = dict(train[3])
    train[50] = {**train[4], "document": train[4]["document"].upper() + "!"}
    test[5] = dict(train[10])
    test[6] = {**train[11], "document": train[11]["document"] + " And more."}
    test[7] = {**train[12], "summary": sentence(random.Random(9), 20)}
    _, report = check(train, test)
    assert found(report, "repeated") == {"train.jsonl:41"}
    assert found(report, "nearly repeated") == {"train.jsonl:51"}
    assert found(report, "in train", "test") == {"test.jsonl:6"}
    assert found(report, "nearly in train", "test") == {"test.jsonl:7"}
    assert found(report, "source in train", "test") == {"test.jsonl:8"}
    near = [f["originals"] for f in report["findings"] if f["kind"] == "nearly in train"]
    assert near[0][0].endswith("train.jsonl:12"), "the original is named"


def test_copies_of_conversations_are_found_whatever_else_is_in_their_rows(check):
    train = renamed(clean_rows(60, seed=1), "chat")
    test = renamed(clean_rows(20, seed=2), "chat")
    asked, answered = (message["content"] for message in train[4]["messages"])
    train[40] = conversation(asked, answered)
    train[50] = conversation(f"{asked.upper()}!", answered)
    test[5] = conversation(asked, f"{answered} there")
    for number, row in enumerate([*train, *test]):
        row["topic"] = f"topic {number}"
    _, report = check(train, test, "evaluation.by=topic", task="chat")
    assert found(report, "repeated") == {"train.jsonl:41"}
    assert found(report, "nearly repeated") == {"train.jsonl:51"}
    assert found(report, "nearly in train", "test") == {"test.jsonl:6"}


def test_unreadable_rows_are_all_named_and_the_others_counted(check):
    rows = clean_rows(40, seed=1)
    rows[2] = {"document": 5, "summary": "s"}
    rows[9] = {"document": "d"}
    code, report = check(rows)
    assert code == 2
    (finding,) = report["findings"]
    assert (finding["kind"], finding["severity"]) == ("unreadable", "error")
    assert [Path(row.split(": ")[0]).name for row in finding["rows"]] == [
        "train.jsonl:3",
        "train.jsonl:10",
    ]
    assert report["splits"]["train"]["rows"] == {"whole": 38, "unreadable": 2}


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_every_row_of_a_table_that_is_not_utf_8_is_named(llmkit, tmp_path, suffix):
    delimiter = "\t" if suffix == ".tsv" else ","
    lines = [f'"{row["document"]}"{delimiter}s' for row in clean_rows(90, seed=1)]
    lines[7] += " Zürich"
    lines[9] = f'"two\nlines, the second bad: ü"{delimiter}s'
    lines[20] = "\0" + lines[20].replace('"', "").replace(",", "")
    content = "\n".join([delimiter.join(("document", "summary")), *lines, ""]).encode("latin-1")
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(content)
    result = llmkit("check", "summarize", f"data.train={path}", *DEFAULTS, "--json")
    assert result.exit_code == 2
    report = json.loads(result.stdout)
    (finding,) = (f for f in report["findings"] if f["kind"] == "unreadable")
    assert [Path(row.split(": ")[0]).name for row in finding["rows"]] == [
        f"rows{suffix}:9",
        f"rows{suffix}:12",
        f"rows{suffix}:23",
    ]


def test_references_that_the_metric_cannot_read_are_found(check):
    test = clean_rows(10, seed=2)
    test[4]["summary"] = "हिन्दी में सारांश"
    test[6]["summary"] = "ร้านอาหารเปิดทุกวันจันทร์"  # without blanks, as Thai is written
    _, report = check(clean_rows(40, seed=1), test)
    assert found(report, "not read", "test") == {"test.jsonl:5", "test.jsonl:7"}
    test[4]["summary"] += " 7 GPT"
    _, report = check(clean_rows(40, seed=1), test)
    assert found(report, "not read", "test") == {"test.jsonl:5", "test.jsonl:7"}
    train = renamed(clean_rows(40, seed=1), "translate")
    test = [{"en": "Good morning, dear people of the town.", "de": "Доброе утро, дорогие люди."}]
    columns = ("data.columns.source=en", "data.columns.target=de")
    _, report = check(train, test * 2, *columns, task="translate")
    assert not found(report, "not segmented", "test"), "BLEU reads Cyrillic"
    test = [{"en": f"Good morning, {name}.", "de": "早上好亲爱的人们"} for name in ("Ann", "Bo")]
    _, report = check(train, test, *columns, task="translate")
    assert not found(report, "not segmented", "test"), "characters are tokens of their own"
    by_words = "evaluation.bleu.tokenize=13a"
    _, report = check(train, test, *columns, by_words, task="translate")
    assert found(report, "not segmented", "test") == {"test.jsonl:1", "test.jsonl:2"}
    test = [{"context": "c", "question": "q", "answers": ["ไทย", "Thai"]}] * 2
    _, report = check(renamed(clean_rows(40, seed=1), "qa"), test, task="qa")
    assert not found(report, "not read", "test"), "another accepted answer is read"


def test_worked_answers_without_a_final_answer_are_found(check):
    ends = ("#### 7", "#### ", "####", "So 7.", "#### 7\n", "\n####\n", "\n#### 7 #### ")
    rows = [{"question": f"How many is 3 + 4 + {i}?", "answer": f"3 + 4 = 7\n{end}"}
            for i, end in enumerate(ends)]  # fmt: skip
    rows += [{"question": f"How many is {i}?", "answer": str(i)} for i in range(10)]
    _, report = check(rows, rows[:7], task="reason")
    for split in ("train", "test"):
        assert found(report, "no final answer", split) == {
            f"{split}.jsonl:{number}" for number in (2, 3, 6, 7)
        }
        assert found(report, "no mark", split) == {f"{split}.jsonl:4"}


def test_only_the_rows_that_are_scored_are_judged(check):
    test = [*clean_rows(4, seed=2), *({"document": "", "summary": ""} for _ in range(9))]
    code, report = check(clean_rows(40, seed=1), test, "evaluation.test_rows=4")
    assert (code, report["findings"]) == (0, [])
    assert report["splits"]["test"]["rows_read"] == 4
    code, report = check(clean_rows(40, seed=1), [{**test[0], "summary": 3}, *test])
    assert code == 2
    assert found(report, "unreadable", "test")


def test_a_split_without_a_row_to_learn_is_shown_all_the_same(check):
    code, report = check([{"document": "", "summary": "s"}] * 40)
    assert code == 2
    assert report["splits"]["train"]["rows"]["empty"] == 40
    assert report["num_steps"] == 0
    assert "most left out" in {finding["kind"] for finding in report["findings"]}


def test_copies_of_texts_that_differ_in_white_space_are_found(check):
    texts = [row["document"] for row in clean_rows(40, seed=1)]
    train = [{"text": text} for text in [*texts, f"{texts[3]} \n"]]
    _, report = check(train, [{"text": f"\n{texts[5]}"}, {"text": "New."}], task="pretrain")
    assert found(report, "repeated") == {"train.jsonl:41"}
    assert found(report, "in train", "test") == {"test.jsonl:1"}
    (finding,) = (f for f in report["findings"] if f["kind"] == "in train")
    assert Path(finding["originals"][0]).name == "train.jsonl:6"
    assert not found(report, "nearly repeated")
    assert report["samples"][0]["pieces"][0]["text"] == "<|endoftext|>"


def test_counts_add_up(check):
    rows = clean_rows(60, seed=1)
    rows[1]["document"] = " "
    rows[2]["document"] *= 9
    rows[3]["summary"] *= 60
    _, report = check(rows)
    train = report["splits"]["train"]
    assert sum(train["rows"].values()) == train["rows_read"] == 60
    assert train["rows"]["whole"] == 57
    tokens = train["tokens"]
    assert all(tokens[use] > 0 for use in ("supervised", "prompt", "truncated", "left out"))
    _, tokenizer = load_model("embedded")
    task = get_task("summarize")
    examples = [to_example({"id": "", **row}, task) for row in rows]
    texts = [[e.prompt[0].text, e.prompt[1].text, e.completion] for e in examples]
    read = [[len(ids) for ids in encode_text(row, tokenizer)] for row in texts]
    assert sum(tokens.values()) == sum(sum(counts) + 1 for counts in read)
    assert tokens["left out"] == sum(sum(read[i]) + 1 for i in (1, 3))
    lengths = train["lengths"]
    assert lengths["prompt"]["100"] == max(source + cue for source, cue, _ in read)
    assert lengths["completion"]["100"] == max(target for *_, target in read) + 1
    assert 0 <= report["padding_share"] < 1
    assert report["num_steps"] > 0


def test_questions_about_one_text_are_no_copies(check):
    rng = random.Random(4)
    rows = [
        {"context": context, "question": sentence(rng, 8) + "?", "answers": sentence(rng, 2)}
        for context in (sentence(rng, 60) for _ in range(15))
        for _ in range(3)
    ]
    rows[7] = {**rows[6], "question": "So, " + rows[6]["question"]}
    _, report = check(rows, None, "data.max_length=256", task="qa")
    assert found(report, "nearly repeated") == {"train.jsonl:8"}


def test_texts_for_pretraining_are_compared_as_a_whole(check):
    rng = random.Random(4)
    rows = [{"text": sentence(rng, 300)} for _ in range(30)]
    rows[20] = rows[3]
    rows[21] = {"text": "Once more: " + rows[4]["text"]}
    _, report = check(rows, [rows[5], {"text": sentence(rng, 300)}], task="pretrain")
    assert found(report, "repeated") == {"train.jsonl:21"}
    assert found(report, "nearly repeated") == {"train.jsonl:22"}
    assert found(report, "in train", "test") == {"test.jsonl:1"}
    assert report["splits"]["train"]["lengths"]["completion"]["50"] > 300


def test_copies_are_found_where_words_have_no_blanks(check):
    rng = random.Random(4)
    letters = [chr(code) for code in range(0x4E00, 0x4F00)]

    def chinese(count):
        return "，".join("".join(rng.choices(letters, k=10)) for _ in range(count))

    rows = [{"document": chinese(5), "summary": chinese(1)} for _ in range(40)]
    rows[30] = {**rows[2], "document": rows[2]["document"].replace(rows[2]["document"][12], "一")}
    _, report = check(rows)
    assert found(report, "nearly repeated") == {"train.jsonl:31"}


def test_of_splits_by_hash_an_unreadable_row_is_counted_once(llmkit, tmp_path):
    rows = clean_rows(80, seed=1)
    rows[0] = {"document": 5}
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    result = llmkit("check", "summarize", f"data.train={path}", *DEFAULTS, "--json")
    assert result.exit_code == 2
    report = json.loads(result.stdout)
    assert [(f["split"], f["kind"]) for f in report["findings"]] == [("train", "unreadable")]
    assert sum(sum(split["rows"].values()) for split in report["splits"].values()) == 80


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("data.columns.document=article",), "no column 'article'"),
        (("evaluation.metric=nonsense",), "summarize has no score 'nonsense'"),
        (
            ("data.max_length=20", "generation.max_new_tokens=19"),
            "leaves no room for the completion",
        ),
        (("train.freeze_layers=99",), "train.freeze_layers: 99 leaves nothing to train"),
        (("data.template={document} ",), "data.template: it ends in white space"),
    ],
)
def test_what_finetune_would_refuse_is_refused(llmkit, tmp_path, arguments, expected):
    path = write_jsonl(tmp_path / "rows.jsonl", clean_rows(80, seed=1))
    result = llmkit("check", "summarize", f"data.train={path}", *arguments)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_any_terminal_can_show_any_row(tmp_path, fork_server):
    rows = clean_rows(80, seed=1)
    for row in rows:
        row["document"] = f"ร้าน \x1b[31m {row['document']}"
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    environment = {**fork_server.environment, "PYTHONIOENCODING": "latin-1"}
    process = fork_server.start(
        ("check", "summarize", f"data.train={path}"), cwd=tmp_path, environment=environment
    )
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert r"\u0e23" in output
    assert "\x1b" not in output


def test_finetune_finds_texts_that_stand_twice(llmkit, tiny_gpt2, tmp_path):
    texts = [row["document"] for row in summary_rows(40)]
    path = write_jsonl(tmp_path / "rows.jsonl", [{"text": text} for text in [*texts, texts[3]]])
    test = write_jsonl(
        tmp_path / "test.jsonl", [{"text": text} for text in [texts[5], "A new one."]]
    )
    settings = (
        f"model={tiny_gpt2}", f"data.train={path}", f"data.validation={test}", f"data.test={test}",
        "data.max_length=64", "train.epochs=null", "train.max_steps=1",
    )  # fmt: skip
    result = llmkit("finetune", "pretrain", *settings, "--run-dir", "run")
    assert result.exit_code == 0, result.output
    copy = f"train: 1 row: the same as an earlier row ({path}:41 like {path}:4)"
    leak = f"also in train, so their scores measure memory ({test}:1 like {path}:6)"
    assert copy in result.output
    assert leak in result.output


def test_finetune_warns_and_stops_on_errors(llmkit, tiny_gpt2, tmp_path):
    rows = summary_rows(60)
    rows[7]["summary"] = ""
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    settings = (
        f"model={tiny_gpt2}", f"data.train={path}", "data.max_length=128", "train.epochs=null",
        "train.max_steps=1", "evaluation.validation_rows=4", "evaluation.test_rows=4",
        "generation.max_new_tokens=4",
    )  # fmt: skip
    result = llmkit("finetune", "summarize", *settings, "--run-dir", "run")
    assert result.exit_code == 0, result.output
    warning = f"warning: train: 1 row: a text is empty, so there is nothing to learn ({path}:8)"
    assert warning in result.output
    bad = write_jsonl(tmp_path / "bad.jsonl", [{**row, "summary": ""} for row in rows[:70]] + rows)
    splits = (f"data.train={bad}", f"data.validation={path}", f"data.test={path}")
    result = llmkit("finetune", "summarize", *settings, *splits, "--run-dir", "again")
    assert result.exit_code == 2
    assert "rows: nothing to learn, which is most of the split" in result.stderr
    assert not (tmp_path / "again").exists()


def test_the_terminal_shows_rows_counts_and_findings(llmkit, tmp_path):
    rows = clean_rows(90, seed=1)
    for row in rows[:3]:
        row["document"] = "<b>" + row["document"] + sentence(random.Random(row["document"]), 200)
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    arguments = ("check", "summarize", f"data.train={path}", *DEFAULTS)
    result = llmkit(*arguments, "--html", "page.html")
    assert result.exit_code == 0, result.output
    roles = ("[prompt]", "[truncated]", "[supervised]")
    for expected in (*roles, "<|endoftext|>", "rows read", " note"):
        assert expected in result.output
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>")
    assert '<span class="part-supervised">' in page
    assert (ASSETS / "page.css").read_text("utf-8") in page, "the style of the report"
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert "://" not in page
    result = llmkit(*arguments, "--html", path)
    assert result.exit_code == 2
    assert "name a file that ends in .html" in result.stderr
    result = llmkit(*arguments, "--html", "missing/page.html")
    assert result.exit_code == 2
    assert "--html: there is no folder missing" in result.stderr


REAL = {
    "scitldr": ("summarize", "document", "summary", ()),
    "multi30k-en-de": (
        "translate", "en", "de", ("data.columns.source=en", "data.columns.target=de"),
    ),
}  # fmt: skip


def plant(train: list[dict], test: list[dict], source: str, target: str, rng: random.Random):
    """Faulty rows to append to train; returns them with what must be found, by kind.

    The rows found are numbers (from 0) in the split that a kind is found in.
    """
    planted, expected = [], {}

    def add(split, kind, number, row):
        planted.append(row)
        expected.setdefault((split, kind), set()).add(
            number if number is not None else len(train) + len(planted) - 1
        )

    def reworded(row):
        words = row[source].split()
        words[len(words) // 2] = "elsewhere"
        return {**row, source: " ".join(words) + " !"}

    def long_enough(rows):  # of a short sentence, one word is too large a part
        return [i for i, row in enumerate(rows) if len(row[source].split()) >= 9]

    originals = iter(rng.sample(long_enough(train), 80))
    leaked = iter(rng.sample(long_enough(test), 25))
    for _ in range(20):
        add("train", "repeated", None, train[next(originals)])
        add("train", "nearly repeated", None, reworded(train[next(originals)]))
    for _ in range(15):
        number = next(leaked)
        add("test", "in train", number, test[number])
    for _ in range(10):
        number = next(leaked)
        add("test", "nearly in train", number, reworded(test[number]))
    for _ in range(15):
        words = " ".join(train[i][source] for i in rng.sample(range(len(train)), 150)).split()
        words = words[:1300]  # over 1,024 tokens, but not many times as long as a real row
        rng.shuffle(words)
        row = train[next(originals)]
        add("train", "prompt truncated", None, {**row, source: " ".join(words)})
        rng.shuffle(words)
        add("train", "completion too long", None, {**row, target: " ".join(words)})
    for number in range(10):
        name = (source, target)[number % 2]
        rng.shuffle(words)
        fresh = {source: " ".join(words[:20]), target: " ".join(words[20:30])}
        add("train", "empty", None, {**fresh, name: " \n"[: number % 3]})
    return planted, expected


LONG = (
    "model=scratch", "model.scratch.n_layer=1", "model.scratch.n_positions=1024",
    "data.max_length=1024",     "model.scratch.vocab_size=4000",
)  # fmt: skip


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real data sets are not here")
@pytest.mark.parametrize("name", REAL)
def test_faults_planted_in_a_real_set_are_all_found(check, figure, trials, name):
    """Copies (20 exact, 20 near), leaks (15 exact, 10 near), 30 over-long rows and 10 empty ones
    are found; beside them only what is found without them."""
    task, source, target, columns = REAL[name]
    train, test = (
        [json.loads(line) for line in (SHARED_DATA / name / f"{split}.jsonl").open()][: len(count)]
        for split, count in (("train", trials(500, 1500)), ("test", trials(120, 500)))
    )
    for row in train + test:
        row[target] = row[target] if isinstance(row[target], str) else row[target][0]
    planted, expected = plant(train, test, source, target, random.Random(3))

    def found_by_kind(rows):
        _, report = check(rows, test, *LONG, *columns, task=task)
        return {
            (split, kind): {int(row.rpartition(":")[2]) - 1 for row in found(report, kind, split)}
            for split in ("train", "test")
            for kind in KINDS
        }

    before, after = found_by_kind(train), found_by_kind(train + planted)
    new = {key: after[key] - before[key] for key in after if after[key] - before[key]}
    num_found = sum(len(new.get(key, set()) & rows) for key, rows in expected.items())
    figure(f"planted faults that are reported ({name})", num_found, of=105)
    accused = {
        (key[0], row) for key, rows in new.items() for row in rows - expected.get(key, set())
    }
    others = len(train) + len(test)
    figure(f"unchanged rows that are not reported ({name})", others - len(accused), of=others)
