"""Two systems' predictions for the same rows, from runs, folders and files of any tool."""

import json

import pytest
from rows import summary_rows, write_jsonl

from llmkit.scoring.significance import MIN_ROWS

REFERENCES = [
    ["the ferry left the port at noon", "at noon the ferry left"],
    ["a red dog slept"],
] * 20


def predictions(texts, **more):
    return [
        {"id": f"r{i}", "prediction": text, "references": REFERENCES[i], **more}
        for i, text in enumerate(texts)
    ]


GOOD = predictions(["the ferry left the port at noon", "a red dog slept there"] * 20)
BAD = predictions(["the ferry sank", "a red dog barked"] * 20)


def test_a_better_system_is_found_whatever_the_order_of_the_rows(llmkit, tmp_path):
    write_jsonl(tmp_path / "bad.jsonl", BAD)
    write_jsonl(tmp_path / "good.jsonl", GOOD[::-1])
    result = llmkit("compare", "bad.jsonl", "good.jsonl", "--task", "translate", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["num_rows"] == 40
    for name, sign in (("bleu", 1), ("chrf", 1), ("ter", -1)):
        each = found["differences"][name]
        assert each["difference"] == pytest.approx(found["second"][name] - found["first"][name])
        assert min(sign * each["low"], sign * each["high"]) > 0
        assert each["p"] < 0.001
    shown = llmkit("compare", "bad.jsonl", "good.jsonl", "--task", "translate").stdout
    assert f"{found['differences']['bleu']['difference']:+.2f}" in shown
    assert "A: bad.jsonl\nB: good.jsonl\n40 rows" in shown


def test_references_in_one_of_the_files_suffice(llmkit, tmp_path):
    write_jsonl(tmp_path / "good.jsonl", GOOD)
    write_jsonl(tmp_path / "bad.jsonl", [{k: r[k] for k in ("id", "prediction")} for r in BAD])
    result = llmkit("compare", "bad.jsonl", "good.jsonl", "--task", "qa", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["differences"]["exact_match"]["difference"] == 50


@pytest.mark.parametrize(
    ("first", "second", "arguments", "expected"),
    [
        (GOOD, BAD, [], "give --task NAME"),
        (GOOD, BAD, ["--task", "pretrain"], "pretrain has no predictions"),
        (GOOD, BAD[1:], ["--task", "qa"], "b.jsonl do not predict the same rows: id r0"),
        (GOOD, BAD + BAD[:1], ["--task", "qa"], "b.jsonl:41: id r0 was used before, in b.jsonl:1"),
        (GOOD, [{"id": 1, "text": "x"}], ["--task", "qa"], "b.jsonl:1: no column 'prediction'"),
        (GOOD, [BAD[0] | {"references": []}], ["--task", "chat"], "b.jsonl:1: references must be"),
        (GOOD[:1], [BAD[0] | {"references": "x"}], ["--task", "qa"], "id r0 has other references"),
        ([{"prediction": "x"}], [{"prediction": ""}], ["--task", "qa"], "a.jsonl:1: no references"),
        ([], BAD, ["--task", "qa"], "a.jsonl: no rows in it"),
    ],
)  # fmt: skip
def test_predictions_that_cannot_be_compared_are_refused_in_one_line(
    llmkit, tmp_path, first, second, arguments, expected
):
    write_jsonl(tmp_path / "a.jsonl", first)
    write_jsonl(tmp_path / "b.jsonl", second)
    result = llmkit("compare", "a.jsonl", "b.jsonl", *arguments)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_folders_without_predictions_are_refused_with_the_reason(llmkit, tmp_path):
    for name in ("empty", "pretrained"):
        (tmp_path / name).mkdir()
    scores = {"task": "pretrain", "scores": {"fine-tuned": {"loss": 3.0}}}
    (tmp_path / "pretrained" / "metrics.json").write_text(json.dumps(scores))
    for name, expected in (
        ("empty", "no predictions in it; name a finished run"),
        ("pretrained", "scored by its loss, not by predictions; `llmkit report` shows several"),
    ):
        result = llmkit("compare", name, name)
        assert result.exit_code == 2
        assert f"llmkit: {name}: {expected}" in result.stderr


def test_too_few_rows_give_a_difference_without_interval_and_p_value(llmkit, tmp_path):
    write_jsonl(tmp_path / "bad.jsonl", BAD[: MIN_ROWS - 1])
    write_jsonl(tmp_path / "good.jsonl", GOOD[: MIN_ROWS - 1])
    command = ("compare", "bad.jsonl", "good.jsonl", "--task", "qa")
    found = json.loads(llmkit(*command, "--json").stdout)["differences"]["exact_match"]
    assert found["difference"] > 0
    assert {found[name] for name in ("low", "high", "p", "detectable")} == {None}
    shown = llmkit(*command).stdout
    assert "9 rows are too few" in shown
    assert "detectable" not in shown


def test_a_file_of_predictions_is_scored_as_the_run_that_made_it(llmkit, tiny_gpt2, tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", summary_rows(120))
    short = ("train.epochs=null", "train.max_steps=1", "generation.max_new_tokens=5")
    result = llmkit(
        "finetune", "summarize", f"model={tiny_gpt2}", "data.train=rows.jsonl",
        "data.max_length=120", *short, "--run-dir", "run",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    recipe = ("--recipe", "run/recipe.yaml")
    result = llmkit(
        "evaluate", "--predictions", "run/predictions.jsonl", *recipe, "--output", "again"
    )
    assert result.exit_code == 0, result.output
    run, again = (
        json.loads((tmp_path / folder / "metrics.json").read_text()) for folder in ("run", "again")
    )
    del run["scores"]["fine-tuned"]["loss"], run["intervals"]["fine-tuned"]["loss"]
    for what in ("scores", "intervals"):
        assert again[what]["these predictions"] == run[what]["fine-tuned"]
        assert again[what]["lead-3"] == run[what]["lead-3"]
    for low, high in run["intervals"]["lead-3"].values():
        assert 0 <= low <= high <= 100
    assert run["task"] == again["task"] == "summarize"
    assert run["intervals"]["lead-3"]

    untuned = ("evaluate", tiny_gpt2, *recipe, "--output", "untuned")
    assert llmkit(*untuned).exit_code == 0
    compared = json.loads(llmkit("compare", "untuned", "run", "--json").stdout)["differences"]
    for name, kept in run["differences"]["untuned"].items():
        if name != "loss":  # predictions.jsonl has none
            p, kept_p = compared[name].pop("p"), kept.pop("p")
            assert kept == pytest.approx(compared[name])
            assert kept_p == pytest.approx(p, abs=0.04)  # 10,000 exchanges against 2,000

    result = llmkit("compare", "run", "again", "--json")
    assert result.exit_code == 0, result.output
    assert {each["p"] for each in json.loads(result.stdout)["differences"].values()} == {1.0}

    write_jsonl(tmp_path / "few.jsonl", [{"id": "r0", "prediction": "x"}])
    result = llmkit("evaluate", "--predictions", "few.jsonl", *recipe)
    assert result.exit_code == 2
    assert f"few.jsonl: no prediction for {tmp_path / 'rows.jsonl'}:" in result.stderr
    result = llmkit("evaluate", "run", "--predictions", "few.jsonl")
    assert result.exit_code == 2
    assert "give either run or --predictions, not both" in result.stderr
