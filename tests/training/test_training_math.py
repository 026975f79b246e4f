"""The mathematics of training in many trials; `make proof` runs all and writes the table."""

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from forked_process import ForkServer
from gradient_cases import accumulated_gradient, load, random_rows, whole_gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_gpt2 import loss_and_gradients
from rows import write_jsonl
from runs import HELPERS
from safetensors.torch import load_file

from llmkit.constants import IGNORE_INDEX
from llmkit.data.batches import UNLIMITED, collate
from llmkit.data.encode import EncodingOptions, encode_examples
from llmkit.data.encoding_report import EncodingReport, RowRecords
from llmkit.data.row_records import RECORD, row_record
from llmkit.evaluation.evaluator import token_losses
from llmkit.model.load import load_model
from llmkit.model.loss import SupervisedLoss
from llmkit.model.trainable import set_dropout
from llmkit.tasks import TASKS, is_blank

LIMITS = {torch.float32: 1e-6, torch.float64: 1e-12}


def distance(value: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative, in double precision."""
    return float((value.double() - expected.double()).norm() / expected.double().norm())


FORWARDS = ("padding_free", "transformers")


def loss_of(model: torch.nn.Module, rows: list[dict], forward: str) -> torch.Tensor:
    return SupervisedLoss(model, forward)(
        collate(rows, UNLIMITED if forward == "padding_free" else None)
    )


def test_loss_and_gradients_are_those_of_the_papers(tiny_gpt2, trials, figure):
    """Against GPT-2 in NumPy, on random weights and random ragged batches, by either engine."""
    model = load_model(str(tiny_gpt2))[0].double()
    set_dropout(model, 0.0)
    tried, reached, worst = trials(20, 1000), 0, 0.0
    for seed in tried:
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.3)
        rows = random_rows(random.Random(seed), 4)
        loss = loss_of(model.train(), list(rows), FORWARDS[seed % 2])
        loss.backward()
        weights = {name: p.detach().numpy() for name, p in model.transformer.named_parameters()}
        expected, _, gradients = loss_and_gradients(
            weights, [(row["input_ids"], row["labels"]) for row in rows], model.config.n_head
        )
        errors = [abs(loss.item() - expected) / abs(expected)]
        for name, parameter in model.transformer.named_parameters():
            norm = max(np.linalg.norm(gradients[name]), 1e-6)
            errors.append(np.linalg.norm(parameter.grad.numpy() - gradients[name]) / norm)
        model.zero_grad(set_to_none=True)
        reached += max(errors) <= 1e-6
        worst = max(worst, *errors)
    claim = "loss and every gradient match GPT-2 written in NumPy (fp64, within 1e-6)"
    figure(claim, reached, len(tried), f"worst {worst:.0e}")


def test_accumulation_gives_the_gradient_of_the_whole_step(
    tiny_gpt2, tmp_path, fork_server, trials, figure
):
    """Micro-batches, ragged rows, packing, engines, short last steps, one process and two."""
    tried = trials(4, 200)
    alone, shared = tried[: len(tried) // 2], tried[len(tried) // 2 :]
    in_two_processes(tiny_gpt2, tmp_path, shared, fork_server)
    accelerator = Accelerator(cpu=True)
    worst = dict.fromkeys(LIMITS, 0.0)
    reached = dict.fromkeys(LIMITS, 0)
    for dtype, limit in LIMITS.items():
        model = load(str(tiny_gpt2), dtype)
        for seed in tried:
            if seed in alone:
                gradient = accumulated_gradient(model, seed, accelerator)
            else:
                gradient = load_file(tmp_path / f"{seed}.safetensors")[str(dtype)]
            error = distance(gradient, whole_gradient(model, seed))
            worst[dtype] = max(worst[dtype], error)
            reached[dtype] += error <= limit
    for dtype, limit in LIMITS.items():
        name = "fp32" if dtype is torch.float32 else "fp64"
        claim = (
            "accumulated gradient equals that of a single batch, half of the cases on 2 processes "
            f"({name}, {limit:.0e})"
        )
        figure(claim, reached[dtype], len(tried), f"worst {worst[dtype]:.0e}")


def in_two_processes(model: Path, folder: Path, seeds: range, server: ForkServer) -> None:
    script = str(HELPERS / "gradient_cases.py")
    arguments = (model, folder, seeds.start, seeds.stop)
    ranks = server.start_ranks(2, arguments, 0, cwd=folder, program=script)
    errors = [rank.communicate(timeout=900)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], errors


def test_supervised_text_is_the_completion_and_its_end(tiny_gpt2, trials, figure):
    """Any unicode, every task: supervised text, and the count of every token."""
    tokenizer = load_model(str(tiny_gpt2))[1]
    tried = len(trials(150, 10_000))
    texts = st.text(min_size=1, max_size=40).filter(lambda text: not is_blank(text))
    reached = 0

    @settings(max_examples=tried, database=None)
    @given(name=st.sampled_from(sorted(TASKS)), data=st.data(), max_length=st.integers(12, 400))
    def check(name, data, max_length):
        nonlocal reached
        task = TASKS[name]
        row = {"id": "0", **{column: data.draw(texts) for column in task.columns}}
        if task.chat is not None:
            said = {"role": "user", "content": data.draw(texts)}
            row[task.target] = [said, {"role": "assistant", "content": row[task.target]}]
        ((example, ids, encoded),) = encode_examples(
            [row], task, tokenizer, EncodingOptions(max_length, data.draw(st.booleans()))
        )
        supervised = [token for token in encoded.labels if token != IGNORE_INDEX]
        shown = [t for t, label in zip(encoded.input_ids, encoded.labels, strict=True) if label < 0]
        assert [*shown, *supervised] == encoded.input_ids
        if encoded.outcome in ("whole", "prompt truncated"):
            assert supervised.pop() == tokenizer.eos_token_id
            assert tokenizer.decode(supervised) == example.completion
        else:
            assert example.completion.startswith(tokenizer.decode(supervised).rstrip("�"))
        assert tokenizer.eos_token_id not in supervised
        prompt = 0 if task.output == "text" else sum(map(len, encoded.prompt))
        record = row_record(example, ids, encoded)
        table = pa.Table.from_pylist([record], schema=RECORD.arrow_schema)
        encoding_report = EncodingReport(RowRecords(Dataset(table, fingerprint="unused")))
        whole = [*ids[:-1], [*ids[-1], tokenizer.eos_token_id]]
        if not encoded.completion:
            num_left_out = sum(map(len, whole))
            expected = {"supervised": 0, "prompt": 0, "truncated": 0, "left out": num_left_out}
        else:
            kept = [*([] if task.output == "text" else encoded.prompt), encoded.completion]
            cut = [token for a, b in zip(whole, kept, strict=True) for token in a[len(b) :]]
            expected = {
                "supervised": sum(label >= 0 for label in encoded.labels),
                "prompt": prompt,
                "truncated": len(cut),
                "left out": 0,
            }
        assert encoding_report.tokens == expected
        reached += 1

    check()
    claim = (
        "supervised tokens are the completion and end-of-text, every token is counted (random "
        "Unicode)"
    )
    figure(claim, min(reached, tried), tried)


@pytest.mark.parametrize("attention", ["padding_free", "sdpa", "eager"])
def test_packed_rows_do_not_see_each_other(tiny_gpt2, attention, trials, figure):
    """Other neighbours, of the same length, move a row's own loss by exactly nothing."""
    model = load_model(str(tiny_gpt2))[0].eval()
    forward, capacity = (
        ("padding_free", UNLIMITED) if attention == "padding_free" else ("transformers", 128)
    )
    if forward == "transformers":
        model.set_attn_implementation(attention)
    tried, reached = trials(6, 100), 0
    for seed in tried:
        rows = list(random_rows(random.Random(seed), 6))
        own = last_in_its_sequence(collate(rows, capacity).row_ids)
        losses = set()
        for change in range(3):
            others = [
                row
                if index == own
                else {
                    "input_ids": [(t + change) % 300 for t in row["input_ids"]],
                    "labels": [IGNORE_INDEX] * len(row["labels"]),
                }
                for index, row in enumerate(rows)
            ]
            losses.add(SupervisedLoss(model, forward)(collate(others, capacity)).item())
        reached += len(losses) == 1
    claim = f"loss of a packed row is exactly unchanged when its neighbors change ({attention})"
    figure(claim, reached, len(tried))


def last_in_its_sequence(row_ids: torch.Tensor) -> int:
    """A row that comes after another one in its sequence."""
    for line in row_ids.tolist():
        rows = list(dict.fromkeys(row for row in line if row >= 0))
        if len(rows) > 1:
            return rows[-1]
    raise AssertionError("no two rows share a sequence")


def test_the_loss_of_an_evaluation_does_not_depend_on_the_batch_size(tiny_gpt2, trials, figure):
    model = load_model(str(tiny_gpt2))[0]
    accelerator = Accelerator(cpu=True)
    tried, reached, worst = trials(2, 20), 0, 0.0
    for seed in tried:
        rows = random_rows(random.Random(seed), 70)
        forward = FORWARDS[seed % 2]
        losses = [
            np.concatenate(token_losses(model, rows, size, accelerator, forward)).mean(dtype=float)
            for size in (1, 2, 3, 7, 16, 64)
        ]
        spread = (max(losses) - min(losses)) / min(losses)
        reached += spread <= 1e-6
        worst = max(worst, spread)
    claim = "evaluation loss is the same for batch sizes 1 to 64 (relative spread within 1e-6)"
    figure(claim, reached, len(tried), f"worst {worst:.0e}")


def test_an_overfitted_model_stops_where_its_target_ends(llmkit, tmp_path, trials, figure):
    """Memorized pairs are predicted word for word, and no further."""
    count = len(trials(12, 50))
    rng = np.random.default_rng(0)
    words = ["ferry", "goose", "mill", "bread", "lamp", "river", "stone", "pier", "hat", "tower"]
    pairs = [
        {
            "document": f"Number {number}: " + " ".join(rng.choice(words, 6)),
            "summary": " ".join(rng.choice(words, rng.integers(1, 9))) + ".",
        }
        for number in range(count)
    ]
    path = write_jsonl(tmp_path / "pairs.jsonl", pairs)
    result = llmkit(
        "finetune", "summarize", *(f"data.{split}={path}" for split in ("train", "validation")),
        f"data.test={path}", "data.max_length=128", "model=scratch", "model.scratch.n_layer=2",
        "model.scratch.n_head=4", "model.scratch.n_embd=64", "model.scratch.n_positions=128",
        "model.scratch.vocab_size=400", "train.epochs=100", "train.global_batch_size=25",
        "train.micro_batch_size=25", "train.learning_rate=5e-3", "train.dropout=0",
        "evaluation.every=1000", "evaluation.metric=loss", "generation.max_new_tokens=24",
        "--run-dir", "run",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (tmp_path / "run" / "predictions.jsonl").open()]
    exact = sum(row["prediction"] == row["references"][0] for row in rows)
    figure("memorized pairs: the prediction ends exactly where the target does", exact, count)
