"""The state of a checkpoint: progress, best weights, and files of earlier versions."""

import json
import math

import pytest

from llmkit.config.recipe import load_recipe
from llmkit.training.state import (
    DROPOUT_VERSION,
    CheckpointState,
    ReproducibilityKey,
    TrainingProgress,
)


def test_best_score_is_finite_and_of_equal_scores_the_lower_loss_wins():
    progress = TrainingProgress()
    scores = [(1.0, 9.0), (3.0, 5.0), (3.0, 4.0), (3.0, 4.0), (2.0, 1.0), (math.nan, 1.0)]
    found = []
    for step, (rouge, loss) in enumerate(scores):
        progress.step = step
        found.append(progress.update_best({"rougeL": rouge, "loss": loss}, "rougeL", True))
    assert found == [True, True, True, False, False, False]
    assert progress.best_step == 2
    assert progress.validations_without_improvement == 3
    lower = TrainingProgress()
    assert [lower.update_best({"loss": s}, "loss", False) for s in [2.0, 1.0, 1.5]] == [1, 1, 0]
    assert not TrainingProgress().update_best({"loss": math.nan}, "loss", False)


KEY = {
    "device": "cpu", "mixed_precision": "no", "float32_matmul_precision": "high",
    "num_processes": 1, "threads": 2, "torch": "2.0", "model": {"sha256": "a"},
    "data": {"train": {"tokens_sha256": "b"}},
}  # fmt: skip


def test_state_survives_json():
    recipe = load_recipe("summarize")
    state = CheckpointState(
        progress=TrainingProgress(step=3, validation_pending=True, best_rank=[1.5, -2.0]),
        recipe=recipe,
        reproducibility_key=KEY,
        decided={"evaluation.every": 4, "train.mixed_precision": "no", "train.dropout": 0.1},
        dropout_version=DROPOUT_VERSION,
    )
    assert CheckpointState.model_validate(json.loads(state.model_dump_json())) == state


@pytest.mark.parametrize("is_validated", [True, False])
def test_state_of_an_earlier_version_is_read(is_validated):
    progress = {"step": 3, "is_validated": is_validated, "misses": 2, "num_left_out": 1}
    recipe = load_recipe("summarize").model_dump(mode="json")
    state = CheckpointState.model_validate({"progress": progress, "recipe": recipe, "facts": KEY})
    assert state.progress.validation_pending is not is_validated
    assert state.progress.validations_without_improvement == 2
    assert state.progress.num_skipped_steps == 1
    assert state.progress.num_tokens is None
    assert state.reproducibility_key == ReproducibilityKey(**KEY)
    assert state.decided == {}
    assert state.dropout_version == 1


@pytest.mark.parametrize(("device", "expected"), [("cpu", True), ("cuda:0", False)])
def test_earlier_versions_were_deterministic_on_a_cpu_alone(device, expected):
    assert ReproducibilityKey(**KEY | {"device": device}).deterministic is expected
