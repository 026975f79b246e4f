"""JSON without NaN and infinity."""

import json
import math
import unicodedata

import pytest

from llmkit.io.safe_json import to_json


def test_nan_and_infinity_become_null():
    content = {"a": math.nan, "b": [1.5, -math.inf, {"c": (math.inf, 2)}], "d": "NaN", "e": True}
    expected = {"a": None, "b": [1.5, None, {"c": [None, 2]}], "d": "NaN", "e": True}
    assert json.loads(to_json(content), parse_constant=pytest.fail) == expected


def test_no_control_character_and_no_line_separator_remains():
    content = {"\x9b31m": "\u2028\u2029 \x1b[31m \x7f \x85 \x9d0;title\x9c \r", "船": "é\xa0"}
    text = to_json(content, ensure_ascii=False)
    assert not [c for c in text if unicodedata.category(c) == "Cc"]
    assert text.splitlines() == [text]
    assert "船" in text
    assert json.loads(text) == content
