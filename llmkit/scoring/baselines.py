"""Scores of answers that need no model: the naive answers to beat, and people's agreement."""

from llmkit.errors import count_of
from llmkit.metrics.prediction import Prediction
from llmkit.scoring.scores import SystemResult, row_scores, score_predictions
from llmkit.scoring.testset import TestSet
from llmkit.scoring.verdict import BEST_REFERENCE
from llmkit.tasks import Task
from llmkit.tasks.pretrain import compressor_bits_per_byte


def score_baselines(test: TestSet, num_rows: int | None = None) -> dict[str, SystemResult]:
    """What the task's simple answers score on the same rows, or on the first of them."""
    task, rows = test.task, test.rows[:num_rows]
    if task.output == "text":
        texts = [row["text"] for row in rows]
        return {"xz compressor": SystemResult({"bits_per_byte": compressor_bits_per_byte(texts)})}
    said = {name: [Prediction(give(row)) for row in rows] for name, give in task.baselines.items()}
    if test.answers:
        said[task.majority_baseline] = [Prediction(test.answers.most_common(1)[0][0])] * len(rows)
    references = test.references[:num_rows]
    baselines = {
        name: score_predictions(task, task.row_statistics(predictions, references), predictions)
        for name, predictions in said.items()
    }
    return baselines | score_references(task, references)


def score_references(task: Task, references: list[list[str]]) -> dict[str, SystemResult]:
    """What the best of each row's references scores against its others: how far people agree.

    The best by the task's deciding score; rows with one reference have no say. A prediction is
    scored against one reference more, so it may come out above.
    """
    if task.output == "label":
        return {}
    turns = [
        (row, text, accepted[:place] + accepted[place + 1 :])
        for row, accepted in enumerate(references)
        for place, text in enumerate(accepted)
        if len(accepted) > 1
    ]
    if not turns:
        return {}
    said = [Prediction(text) for _, text, _ in turns]
    statistics = task.row_statistics(said, [others for _, _, others in turns])
    metric, higher_is_better = next(iter(task.scores.items()))
    alone = row_scores(statistics, metric)
    ranked = sorted(
        range(len(turns)), key=lambda turn: alone[turn] or 0, reverse=not higher_is_better
    )
    kept = sorted({turns[turn][0]: turn for turn in ranked}.values())  # the last is the best
    label = BEST_REFERENCE
    if len(kept) < len(references):
        label += f", {count_of(len(kept), 'row')}"
    of_best = {name: rows[kept] for name, rows in statistics.items()}
    return {label: score_predictions(task, of_best, [said[turn] for turn in kept])}
