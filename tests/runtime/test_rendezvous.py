"""Decisions of the first process, and machines that share no folder."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from rows import summary_rows, write_jsonl
from runs import SHORT, read_metrics, with_timings
from stopped_runs import run_to_the_end
from torch.distributed import DistStoreError, HashStore

from llmkit.config.recipe import load_recipe
from llmkit.config.schema import Recipe
from llmkit.errors import UserError
from llmkit.runtime import rendezvous
from llmkit.runtime.rendezvous import (
    from_first_process,
    greet_first_process,
    greet_others,
)
from llmkit.tasks import TASKS


def test_a_single_process_decides_for_itself():
    assert from_first_process(lambda: [1]) == [1]

    def refuse():
        raise UserError("no")

    with pytest.raises(UserError, match=r"^no$"):
        from_first_process(refuse)


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_recipe_arrives_as_it_was_sent(task):
    kind = tuple[Recipe, Path | None, Path]
    sent = load_recipe(task), None, Path("runs/a")
    adapter = TypeAdapter(kind)
    assert adapter.validate_json(adapter.dump_json(sent)) == sent


def test_what_processes_of_an_earlier_start_left_in_the_store_is_not_heard():
    """As after a restart by torchrun, whose store lives on."""
    store = HashStore()
    store.set("greeting of 1", "of the first start")
    starts = []
    for _ in range(2):
        with ThreadPoolExecutor() as pool:
            first = pool.submit(greet_others, store, 3)
            others = [pool.submit(greet_first_process, store, rank) for rank in (1, 2)]
            tokens = {first.result(), *(other.result() for other in others)}
        assert len(tokens) == 1
        starts += tokens
    assert starts[0] != starts[1]


def test_processes_that_do_not_come_are_counted(monkeypatch):
    monkeypatch.setattr(rendezvous, "MEETING_TIME", timedelta(0))
    with pytest.raises(DistStoreError, match="2 missing"):
        greet_others(HashStore(), 3)


@pytest.fixture
def machines(tmp_path):
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        with_timings(folder / "cache")
        write_jsonl(folder / "rows.jsonl", summary_rows(50))
    return folders


def outcome(processes):
    """Exit codes, and what was printed on stderr, without warnings about few steps."""
    errors = [process.communicate()[1] for process in processes]
    lines = [line for line in "".join(errors).splitlines() if "train.warmup_steps" not in line]
    return [process.returncode for process in processes], lines


def test_machines_that_share_no_folder_train_and_resume_one_run(
    tiny_gpt2, machines, fork_server, monkeypatch
):
    """One of them alone is asked to stop; the first one alone has recipe, checkpoint and model."""
    overrides = (
        f"model={tiny_gpt2}", "data.train=rows.jsonl", *SHORT, "train.max_steps=4",
        "train.mixed_precision=no", "train.global_batch_size=7", "train.micro_batch_size=2",
        "train.log_every=1", "train.learning_rate=1e-3", "train.dropout=0.0", "train.device=cpu",
        "evaluation.every=4",
    )  # fmt: skip
    monkeypatch.chdir(machines[0])
    run_to_the_end(load_recipe("summarize", overrides=overrides), machines[0] / "alone")
    arguments = ("finetune", "summarize", *overrides, "--run-dir", "run")
    fault = ["signal_at_step", 2, 15]
    codes, lines = outcome(fork_server.start_machines(machines, arguments, [None, fault]))
    assert codes == [143, 143], lines
    resume = "under the same launcher with: llmkit finetune run/recipe.yaml --resume run"
    assert lines == [f"llmkit: stopped by SIGTERM; resume {resume}"]
    arguments = ("finetune", "run/recipe.yaml", "--resume", "run")
    codes, lines = outcome(fork_server.start_machines(machines, arguments))
    assert codes == [0, 0], lines
    assert {path.name for path in machines[1].iterdir()} == {"rows.jsonl", "cache"}
    for reached, expected in zip(
        read_metrics(machines[0] / "run"), read_metrics(machines[0] / "alone"), strict=True
    ):
        assert [line["loss"] for line in reached] == pytest.approx(
            [line["loss"] for line in expected], rel=1e-6
        )


def test_a_mistake_that_the_first_process_sees_ends_all_in_one_line(machines, fork_server):
    (machines[0] / "run").mkdir()
    (machines[0] / "run" / "file").touch()
    arguments = ("finetune", "summarize", "--run-dir", "run")
    codes, lines = outcome(fork_server.start_machines(machines, arguments))
    assert codes == [2, 2]
    assert lines == ["llmkit: run: not an empty folder; give another --run-dir"]


def test_machines_with_different_rows_are_refused(tiny_gpt2, machines, fork_server):
    rows = summary_rows(50)
    rows[0]["summary"] += " Really."
    write_jsonl(machines[1] / "rows.jsonl", rows)
    arguments = (
        "finetune", "summarize", f"model={tiny_gpt2}", "data.train=rows.jsonl", *SHORT,
        "train.device=cpu", "train.mixed_precision=no",
    )  # fmt: skip
    codes, lines = outcome(fork_server.start_machines(machines, arguments))
    assert codes == [2, 2], lines
    assert re.search(r"data\.\w+: differs between .* and ", lines[0]), lines
    assert not (machines[0] / "runs").exists()
