"""Samples in the terminal: prompts on one line, texts on a few."""

import io
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from llmkit.training.samples import ELLIPSIS, MAX_LINES, Sample, shorten, show_samples

TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from("\x1b\n\t 船👩🏽‍🌾é"), max_size=300)


def shown(samples, width):
    output = io.StringIO()
    show_samples(Console(file=output, width=width), samples)
    return output.getvalue()


@given(TEXTS, st.integers(20, 100))
def test_a_shortened_text_fits_and_keeps_both_ends(text, width):
    short = shorten(text, width)
    assert cell_len(short) <= width
    if cell_len(text) <= width:
        assert short == text
    else:
        head, _, tail = short.rpartition(ELLIPSIS)
        assert text.endswith(tail)
        assert text.startswith(head.rstrip(" "))


@given(TEXTS, TEXTS, TEXTS, st.sampled_from([40, 60, 100]))
def test_no_line_is_wider_than_the_terminal_or_moves_its_cursor(prompt, expected, said, width):
    lines = shown([Sample("1", prompt, [expected], said)], width).split("\n")[:-1]
    assert 3 <= len(lines) <= 1 + 2 * MAX_LINES
    assert max(map(cell_len, lines)) <= width
    assert not any(unicodedata.category(c) == "Cc" for line in lines for c in line)


def test_samples_at_60_columns():
    said = "Ferry " * 40
    text = shown(
        [
            Sample("1", "The ferry left. " * 30 + "\n\nTL;DR:", ["It left.", "Gone."], said),
            Sample("2", "Good soup.\nLabel:", ["positive"], "negative", 0.625),
        ],
        60,
    )
    assert text.splitlines() == [
        "  The ferry left. The ferry le… left. The ferry left. TL;DR:",
        "    expected:   It left. | Gone.",
        "    prediction: " + " ".join(["Ferry"] * 7),
        "                " + " ".join(["Ferry"] * 7),
        "                " + " ".join(["Ferry"] * 7) + ELLIPSIS,
        "  Good soup. Label:",
        "    expected:   positive",
        "    prediction: negative (62.5%)",
    ]
