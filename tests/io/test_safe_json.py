"""JSON without NaN and infinity."""

import json
import math

import pytest

from llmkit.io.safe_json import to_json


def test_nan_and_infinity_become_null():
    content = {"a": math.nan, "b": [1.5, -math.inf, {"c": (math.inf, 2)}], "d": "NaN", "e": True}
    expected = {"a": None, "b": [1.5, None, {"c": [None, 2]}], "d": "NaN", "e": True}
    assert json.loads(to_json(content), parse_constant=pytest.fail) == expected
