"""Scores of answers that need no model: naive answers to beat, and the agreement of people."""

from llmkit.errors import count_of
from llmkit.metrics.prediction import Prediction
from llmkit.scoring.deciding_metric import choose_metric
from llmkit.scoring.scores import SystemResult, row_scores, score_predictions
from llmkit.scoring.testset import TestSet
from llmkit.scoring.verdict import BEST_REFERENCE
from llmkit.tasks import Task
from llmkit.tasks.pretrain import compressor_bits_per_byte


def score_baselines(test: TestSet, num_rows: int | None = None) -> dict[str, SystemResult]:
    """Score the task's naive answers on the test rows.

    num_rows: Score only the first rows.
    """
    task, rows = test.task, test.rows[:num_rows]
    if task.output == "text":
        texts = [row["text"] for row in rows]
        return {"xz compressor": SystemResult({"bits_per_byte": compressor_bits_per_byte(texts)})}
    answers = {
        name: [Prediction(answer(row)) for row in rows] for name, answer in task.baselines.items()
    }
    if test.answers:
        majority = Prediction(test.answers.most_common(1)[0][0])
        answers[task.majority_baseline] = [majority] * len(rows)
    references = test.references[:num_rows]
    baselines = {
        name: score_predictions(task, task.row_statistics(predictions, references), predictions)
        for name, predictions in answers.items()
    }
    return baselines | score_references(task, references)


def score_references(task: Task, references: list[list[str]]) -> dict[str, SystemResult]:
    """Score the best reference of each row against the other references of the row.

    This shows how far people agree. The best reference is chosen by the task's first score; rows
    with a single reference are left out. Since predictions are scored against one reference more,
    they can score higher.
    """
    if task.output == "label":
        return {}
    candidates = [
        (row, text, accepted[:index] + accepted[index + 1 :])
        for row, accepted in enumerate(references)
        for index, text in enumerate(accepted)
        if len(accepted) > 1
    ]
    if not candidates:
        return {}
    predictions = [Prediction(text) for _, text, _ in candidates]
    statistics = task.row_statistics(predictions, [others for _, _, others in candidates])
    metric, higher_is_better = choose_metric(task, None)
    scores = row_scores(statistics, metric)
    worst_first = sorted(
        range(len(candidates)),
        key=lambda index: scores[index] or 0,
        reverse=not higher_is_better,
    )
    best = sorted({candidates[index][0]: index for index in worst_first}.values())
    label = BEST_REFERENCE
    if len(best) < len(references):
        label += f", {count_of(len(best), 'row')}"
    of_best = {name: rows[best] for name, rows in statistics.items()}
    return {label: score_predictions(task, of_best, [predictions[index] for index in best])}
