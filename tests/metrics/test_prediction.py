"""A prediction's fields have the names of its columns in predictions.jsonl."""

from dataclasses import fields

from llmkit.metrics.prediction import Prediction
from llmkit.scoring.results import SavedPrediction


def test_the_fields_of_a_prediction_are_columns_of_the_file():
    names = {field.name for field in fields(Prediction)} - {"text"}
    full = Prediction("a", {"a": 1.0}, ["a", "b"], True, [("a", 0.5)])
    row = SavedPrediction("0", "prompt", full, ["a"], 100.0).as_dict()
    assert set(row) == {"id", "prompt", "prediction", "references", "score", *names}
    bare = SavedPrediction("0", "prompt", Prediction("a"), ["a"], None).as_dict()
    assert set(bare) == {"id", "prompt", "prediction", "references", "score"}
