"""Scripts written without spaces between words, and the settings that they require of metrics."""

from collections.abc import Iterable

import regex

# U+30FC, the mark of a long vowel, is shared by Hiragana and Katakana.
UNSPACED = (
    r"[\p{Han}\p{Hiragana}\p{Katakana}\u30fc\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
    r"\p{Tibetan}]"
)
LETTER = r"[\p{L}\p{M}\p{N}]"
MIN_SCRIPT_SHARE = 0.25  # of the letters of a text, for a script to decide how it is read
# Japanese mixes Kanji with Kana; Chinese texts contain Kana in quotations at most.
MIN_KANA_SHARE = 0.2


def share_of(pattern: str, text: str) -> float:
    """Share of the text's letters, marks and digits that match the pattern; 0 without any."""
    num_letters = _count(LETTER, text)
    return _count(rf"(?={LETTER}){pattern}", text) / num_letters if num_letters else 0.0


def is_unspaced(text: str) -> bool:
    """Whether the text has too few spaces to be split into words at white space."""
    return share_of(UNSPACED, text) >= MIN_SCRIPT_SHARE


def bleu_tokenizer(texts: Iterable[str]) -> str:
    """sacreBLEU's tokenizer for the language of the texts, guessed from their script.

    sacreBLEU's defaults for Chinese, Japanese and Korean, `char` for other scripts without spaces
    (Thai, Lao, Khmer, Burmese, Tibetan), and `13a` for everything else.
    """
    text = " ".join(texts)
    if share_of(r"\p{Hangul}", text) >= MIN_SCRIPT_SHARE:
        return "ko-mecab"
    if not is_unspaced(text):
        return "13a"
    num_kana = _count(r"[\p{Hiragana}\p{Katakana}]", text)
    num_han = _count(r"\p{Han}", text)
    num_unspaced = _count(UNSPACED, text)
    if num_kana >= MIN_KANA_SHARE * num_unspaced:
        return "ja-mecab"
    return "zh" if num_han >= num_unspaced / 2 else "char"


def split_words(text: str) -> list[str]:
    """Words between white space; each character of an unspaced script is a separate word."""
    return regex.findall(rf"{UNSPACED}|(?:(?!{UNSPACED})\S)+", text)


def _count(pattern: str, text: str) -> int:
    return sum(map(len, regex.findall(rf"(?:{pattern})+", text)))
