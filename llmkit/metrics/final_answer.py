"""Exact match of final answers, which follow the last `####` of a worked answer.

Answers are compared in a canonical form: `$1,234.50` equals `1234.5 dollars`. Several answers to a
row are also scored by majority vote: the most common final answer counts; in a tie, the first of
them (Cobbe et al. 2021; Wang et al. 2023, self-consistency).
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import regex

from llmkit.metrics import means
from llmkit.metrics.prediction import Prediction

ANSWER_MARK = "####"
MAX_NUMBER_CHARACTERS = 100  # longer answers are not parsed as numbers
# Minus signs, full-width forms, fractions, and spaces that group digits -> what a keyboard types.
TO_ASCII = {
    **{
        fraction: " " + unicodedata.normalize("NFKC", chr(fraction)).replace("\u2044", "/")
        for fraction in (0xBC, 0xBD, 0xBE, *range(0x2150, 0x215F), 0x2189)
    },
    **dict.fromkeys(map(ord, "\u2044\u2215"), "/"),
    **{0x066B: ".", 0x066C: ","},  # between Arabic digits
    **{full_width: full_width - 0xFEE0 for full_width in range(0xFF01, 0xFF5F)},
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d"), "-"),
    **dict.fromkeys(map(ord, "\u00a0\u2009\u202f\u3000"), " "),
    **dict.fromkeys(map(ord, "\u2018\u2019"), "'"),
}
LATEX_FRACTION = regex.compile(r"\\[dt]?frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}")
BOXED = regex.compile(r"\\boxed\{([^{}]*)\}")
SCALE_WORDS = {
    "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12,
}  # fmt: skip
NUMBER = regex.compile(
    r"""
    (?P<sign>[-+]?) \s*
    (?:[A-Za-z]{0,3} \\? \p{Sc} | (?:[A-Z]{3}|Rs)\.? \s)? \s*
    (?P<inner_sign>[-+]?) \s*
    (?:(?P<units>\d+)\s+(?=\d{1,2}\s*/))?
    (?=\.?\d)
    (?P<whole> \d{1,3}(?:[ ,']\d{3})+ | \d{1,2}(?:,\d{2})*,\d{3} | \d* )
    (?:\.(?P<decimals>\d+))?
    (?:e(?P<exponent>[-+]?\d{1,2}))?
    (?:\s*/\s*(?P<denominator>\d+))?
    (?:\s+(?P<scale>hundred|thousand|million|billion|trillion)\b)?
    # A unit: not a variable of an equation, an operator, or a word that continues the number.
    (?!\p{L}(?!\p{L})) (?!\s*[-+*=^<>\u00d7\u00f7\p{No}])
    (?!\s*(?:and|or|to|over|point|plus|minus|times)\b)
    \D*
    """,
    regex.VERBOSE | regex.IGNORECASE,
)


def signature() -> str:
    return "exact match of what follows the last ####"


def misjudged_as(text: str) -> str | None:
    """The kind of finding for a worked answer whose final answer is missing or unclear."""
    if text.strip() and not final_answer(text):
        return "no final answer"
    return "no mark" if ANSWER_MARK not in text and "\n" in text.strip() else None


def vote(answers: Sequence[str]) -> str:
    """The most common final answer."""
    return Counter(map(final_answer, answers)).most_common(1)[0][0]


def row_statistics(
    predictions: Sequence[Prediction], references: Sequence[list[str]]
) -> np.ndarray:
    """(N, 2): whether the final answer is right, and whether the majority vote is, or NaN without
    votes; 0 or 100."""
    rows = []
    for prediction, accepted in zip(predictions, references, strict=True):
        right = {final_answer(text) for text in accepted}
        voted = 100 * (vote(prediction.votes) in right) if prediction.votes else np.nan
        rows.append([100 * (final_answer(prediction.text) in right), voted])
    return np.array(rows)


def scores(rows: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    return means(("final_answer", "majority_vote"), rows, weights)


def final_answer(text: str) -> str:
    """The canonical form of what follows the last mark on its line, or of the first line of a text
    without a mark.

    An answer that is one number becomes its shortest decimal form, so `$1,234.50`,
    `1234.5 dollars` and `+1234.5` are equal; other answers become lower case, without repeated
    white space and without punctuation around them.
    """
    answer = text.rpartition(ANSWER_MARK)[2].strip().partition("\n")[0].translate(TO_ASCII)
    answer = LATEX_FRACTION.sub(r" \1/\2", answer)
    answer = BOXED.sub(r"\1", answer)
    answer = answer.strip(" =*_`\"'\u2248") or answer
    number = number_of(answer)
    if number is None:
        answer = " ".join(answer.casefold().split())
        return answer.strip(" .,;:!?()[]") or answer  # never empty, unless the answer is
    return shortest_decimal(number)


def number_of(answer: str) -> Fraction | None:
    """The number in an answer, without currency sign and unit; None for other texts."""
    match = NUMBER.fullmatch(answer) if len(answer) <= MAX_NUMBER_CHARACTERS else None
    if match is None:
        return None
    part = match.groupdict(default="")
    whole = regex.sub(r"\D", "", part["whole"])
    value = Fraction(int(whole + part["decimals"]), 10 ** len(part["decimals"]))
    value *= Fraction(10) ** int(part["exponent"] or 0)
    if part["denominator"]:
        if int(part["denominator"]) == 0:
            return None
        value = int(part["units"] or 0) + value / int(part["denominator"])
    value *= SCALE_WORDS.get(part["scale"].lower(), 1)
    return -value if "-" in part["sign"] + part["inner_sign"] else value


def shortest_decimal(value: Fraction) -> str:
    """The number without trailing zeros; `numerator/denominator` if its digits never end."""
    ends = (n for n in range(3 * MAX_NUMBER_CHARACTERS) if 10**n % value.denominator == 0)
    num_decimals = next(ends, None)
    if num_decimals is None:
        return str(value)
    digits = str(abs(value) * 10**num_decimals).rjust(num_decimals + 1, "0")
    sign = "-" if value < 0 else ""
    if not num_decimals:
        return sign + digits
    return f"{sign}{digits[:-num_decimals]}.{digits[-num_decimals:]}"
