"""Mistakes that other toolkits have made, put into a copy of the package: a test catches each."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from llmkit.paths import PACKAGE

TESTS = Path(__file__).parent


class Mutation(NamedTuple):
    """An edit of one file, and the test that has to fail with it."""

    file: str
    old: str
    new: str
    test: str


PROOF = "training/test_training_math.py::test_"
MUTATIONS = {
    "the end-of-text is masked, as padding has its id": Mutation(
        "data/encode.py",
        "[IGNORE_INDEX] * sum(map(len, self.prompt)) + self.completion",
        "[IGNORE_INDEX] * sum(map(len, self.prompt)) + self.completion[:-1] + [IGNORE_INDEX]",
        f"{PROOF}learnt_is_the_completion_and_its_end",
    ),
    "the vocabulary grows by a padding token": Mutation(
        "model/trainable.py",
        "    if settings.dropout is not None:\n",
        "    model.resize_token_embeddings(model.config.vocab_size + 1)\n"
        "    if settings.dropout is not None:\n",
        "training/test_loop.py::test_making_a_model_trainable_leaves_what_it_says",
    ),
    "rows without a label are trained on": Mutation(
        "data/encode.py",
        'return Encoded([], [], "completion too long")',
        'return Encoded(prompt_ids, [IGNORE_INDEX], "completion too long")',
        "data/test_encode.py::test_rows_that_are_too_long",
    ),
    "a completion that was cut ends in end-of-text": Mutation(
        "data/encode.py",
        'Encoded(shortest, completion[:max_tokens], "completion truncated")',
        'Encoded(shortest, completion[: max_tokens - 1] + [eos], "completion truncated")',
        "data/test_encode.py::test_rows_that_are_too_long",
    ),
    "packing drops what overflows": Mutation(
        "data/blocks.py",
        "for start in range(0, len(ids) - 1, max_length - 1):",
        "for start in range(0, min(len(ids) - 1, max_length - 1), max_length - 1):",
        "data/test_encode.py::test_language_modelling_teaches_every_token_once",
    ),
    "the mask begins two tokens late": Mutation(
        "data/encode.py",
        "[IGNORE_INDEX] * sum(map(len, self.prompt)) + self.completion",
        "[IGNORE_INDEX] * (sum(map(len, self.prompt)) + 2) + self.completion[2:]",
        f"{PROOF}learnt_is_the_completion_and_its_end",
    ),
    "packed rows see each other": Mutation(
        "model/loss.py",
        "(row_ids[:, :, None] == row_ids[:, None, :]) & is_causal",
        "is_causal.expand(len(row_ids), -1, -1)",
        f"{PROOF}packed_rows_do_not_see_each_other",
    ),
    "rows laid end to end see each other": Mutation(
        "families/padding_free.py",
        "bundles[-1].append(slice(start, start + length))",
        "bundles[-1].append(slice(0, start + length))",
        f"{PROOF}packed_rows_do_not_see_each_other",
    ),
    "a packed row's first token is learnt from its neighbour's last": Mutation(
        "data/batches.py",
        'batch["labels"][line, start] = IGNORE_INDEX',
        "pass",
        "model/test_loss.py::test_packed_rows_give_the_loss_and_gradient_of_rows_alone",
    ),
    "end-of-text typed in a text ends it": Mutation(
        "data/encode.py",
        "backend.encode_special_tokens = True  # ",
        "backend.encode_special_tokens = False  # ",
        "data/test_encode.py::test_special_tokens_in_user_text_stay_text",
    ),
    "a broken row is said to be in line 1": Mutation(
        "io/json_rows.py",
        "_explain(broken, text, path, number)",
        "_explain(broken, text, path, 1)",
        "data/test_sources.py::test_bad_files_end_in_one_line",
    ),
    "another template finds the old tokens in the cache": Mutation(
        "data/cache.py",
        '        "template": rows.task.template,\n',
        "",
        "data/test_cache.py::test_any_change_of_the_inputs_makes_a_new_key",
    ),
    "an answer of weight 0 is supervised": Mutation(
        "tasks/chat.py",
        "is_supervised = said.is_supervised and bool(answer)",
        "is_supervised = bool(answer)",
        "data/test_shapes.py::test_weights_decide_which_answers_are_supervised",
    ),
    "columns of one split are read for another": Mutation(
        "data/cache.py",
        '        "columns": dict(rows.columns),\n',
        "",
        "data/test_columns.py::test_whatever_the_tokens_depend_on_is_in_the_cache_key",
    ),
    "the last block of a corpus is lost": Mutation(
        "data/blocks.py",
        "    if len(buffer) > 1:\n        yield",
        "    if len(buffer) >= max_length:\n        yield",
        "data/test_encode.py::test_language_modelling_teaches_every_token_once",
    ),
    "validation rows are trained on too": Mutation(
        "data/rows.py",
        "self.assignment.split_of(index, row) == self.split",
        'self.assignment.split_of(index, row) in (self.split, "validation")',
        "data/test_sources.py::test_splits_by_hash_are_disjoint_complete_and_keep_copies_together",
    ),
    "an unknown key is ignored": Mutation(
        "config/schema.py",
        'extra="forbid"',
        'extra="ignore"',
        "config/test_recipe.py::test_a_mistyped_key_is_refused_with_the_right_one",
    ),
    "labels are shifted twice": Mutation(
        "model/loss.py",
        "SumCrossEntropy.apply(hidden, weight, targets)",
        "SumCrossEntropy.apply("
        "hidden, weight, labels.roll(-1, 1)[:, 1:][is_supervised].clamp(min=0))",
        f"{PROOF}loss_and_gradients_are_those_of_the_papers",
    ),
    "a mean of the micro-batches' means": Mutation(
        "training/step.py",
        "accelerator.backward(micro_loss / num_supervised)",
        "accelerator.backward(\n"
        '                micro_loss / max(1, int((batch["labels"][:, 1:] != -100).sum()))\n'
        "                / len(schedule.dealt(step)[0])\n"
        "            )",
        f"{PROOF}accumulation_gives_the_gradient_of_the_whole_step",
    ),
    "divided once more by the number of micro-batches": Mutation(
        "training/step.py",
        "accelerator.backward(micro_loss / num_supervised)",
        "accelerator.backward(micro_loss / num_supervised / len(schedule.dealt(step)[0]))",
        f"{PROOF}accumulation_gives_the_gradient_of_the_whole_step",
    ),
    "the first token, never predicted, is counted": Mutation(
        "data/encoded_rows.py",
        "        is_supervised[starts] = False\n",
        "",
        "data/test_encode.py::test_token_counts_leave_out_the_first_token",
    ),
    "the model's own mean is taken for a sum": Mutation(
        "model/loss.py",
        "log_p.gather(1, wanted).sum()",
        "log_p.gather(1, wanted).mean()",
        f"{PROOF}loss_and_gradients_are_those_of_the_papers",
    ),
    "the epoch's short last step is divided as if it were full": Mutation(
        "training/batch_schedule.py",
        "count = sum(self.supervised[index] for index in self.rows(step))",
        "count = sum(self.supervised[index] for index in self.rows(0))",
        f"{PROOF}accumulation_gives_the_gradient_of_the_whole_step",
    ),
    "processes average what they should add": Mutation(
        "training/step.py",
        "torch.distributed.all_reduce(buffer)",
        "torch.distributed.all_reduce(buffer)\n    buffer /= 2",
        f"{PROOF}accumulation_gives_the_gradient_of_the_whole_step",
    ),
    "the evaluation loss is a mean of the batches' means": Mutation(
        "evaluation/evaluate.py",
        "nats[rows == row] for row",
        "nats[rows == row] * (100 / len(nats)) for row",
        f"{PROOF}the_loss_of_an_evaluation_does_not_depend_on_the_batch_size",
    ),
    "padding is scored": Mutation(
        "data/batches.py",
        '"labels": IGNORE_INDEX, "position_ids"',
        '"labels": 0, "position_ids"',
        "model/test_loss.py::test_a_batch_is_the_sum_of_its_rows",
    ),
    "a step with a NaN goes into the weights": Mutation(
        "training/step.py",
        "if math.isfinite(loss) and math.isfinite(grad_norm):",
        "if True:",
        "training/test_loop.py::test_a_loss_that_is_not_finite_stops_before_the_step",
    ),
    "no adapter gets a gradient, and the loss is printed all the same": Mutation(
        "model/trainable.py",
        "return get_peft_model(model, config)",
        "return get_peft_model(model, config).requires_grad_(False)",
        "training/test_loop.py::test_lora_reaches_each_layer_of_gpt2_and_merges_exactly",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mistake_of_the_past_is_caught(tmp_path, name, tally):
    passed = tally("known bugs of other toolkits, reintroduced: caught by a named test")
    mutation = MUTATIONS[name]
    path = copy_package(tmp_path) / mutation.file
    source = path.read_text("utf-8")
    path.write_text(source.replace(mutation.old, mutation.new), "utf-8")
    result = run_tests(tmp_path, mutation.test)
    assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.stdout[-3000:]
    failed = [line for line in result.stdout.splitlines() if line.startswith("FAILED")]
    assert any(mutation.test in line for line in failed)
    passed()


@pytest.mark.slow
def test_without_a_mistake_every_one_of_these_tests_passes(tmp_path):
    copy_package(tmp_path)
    result = run_tests(tmp_path, *sorted({mutation.test for mutation in MUTATIONS.values()}))
    assert result.returncode == pytest.ExitCode.OK, result.stdout[-3000:]


def run_tests(folder: Path, *tests: str) -> subprocess.CompletedProcess:
    """pytest on tests of this suite, with the package that stands in the folder."""
    return subprocess.run(
        [sys.executable, "-c", "import pytest, sys; sys.exit(pytest.main(sys.argv[1:]))",
         *(str(TESTS / test) for test in tests), "-q", "-x", "-p", "no:cacheprovider"],
        cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )  # fmt: skip


def copy_package(folder: Path) -> Path:
    copy = folder / "llmkit"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("embedded", "__pycache__"))
    (copy / "embedded").symlink_to(PACKAGE / "embedded")
    (folder / "recipes").symlink_to(PACKAGE.parent / "recipes")
    return copy


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_edit_fits_the_source(name):
    """So that a change of the package cannot take a mutation away unseen."""
    mutation = MUTATIONS[name]
    assert (PACKAGE / mutation.file).read_text("utf-8").count(mutation.old) == 1
    module, _, test = mutation.test.partition("::")
    assert f"def {test}(" in (TESTS / module).read_text("utf-8")
