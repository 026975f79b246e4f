"""Texts decoded at once: the reference of incremental decoding."""


def whole_text(tokenizer, token_ids):
    return tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def cut(text, stop):
    """The text before the first stop string, by a character-wise search."""
    for end in range(1, len(text) + 1):
        starts = [end - len(each) for each in stop if text[:end].endswith(each)]
        if starts:
            return text[: min(starts)], True
    return text, False
