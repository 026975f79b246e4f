"""Incremental decoding of tokens to text."""

from collections.abc import Sequence

from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerBase


class TextStream:
    """Decodes tokens incrementally without splitting characters, and ends the text before the first
    stop string: the one completed first or, if several end at the same character, the longest.

    Decoding is deferred until the text is read, unless there are stop strings to find.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: list[str]) -> None:
        self.is_stopped = False
        """Whether a stop string has appeared; the text is then final."""
        self._tokenizer = tokenizer
        self._stop = stop
        self._decoder = DecodeStream(skip_special_tokens=True)
        self._token_ids: list[int] = []
        self._num_read = 0  # tokens passed to the decoder
        self._num_decoded = 0  # characters, including those held back
        self._text = ""
        self._held_back = ""

    @property
    def text(self) -> str:
        """The text so far. An incomplete character and a possible beginning of a stop string are
        held back, so the text only ever grows and never has to be retracted."""
        self._decode()
        return self._text

    def push(self, token_id: int) -> None:
        """Append a token. Tokens after a stop string are ignored."""
        if self.is_stopped:
            return
        self._token_ids.append(token_id)
        if self._stop:
            self._decode()

    def finish(self) -> None:
        """Release held-back text after the last token."""
        if self.is_stopped:
            return
        whole = self._tokenizer.decode(
            self._token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        self._num_read = len(self._token_ids)
        self._append(whole[self._num_decoded :])
        if not self.is_stopped:
            self._text += self._held_back
            self._held_back = ""

    def _decode(self) -> None:
        """Decode the pending tokens."""
        backend = self._tokenizer.backend_tokenizer
        for token_id in self._token_ids[self._num_read :]:
            piece = self._decoder.step(backend, token_id)
            if piece:
                self._append(piece)
        self._num_read = len(self._token_ids)

    def _append(self, piece: str) -> None:
        self._num_decoded += len(piece)
        pending = self._held_back + piece
        complete = before_stop(pending, self._stop)
        if len(complete) < len(pending):
            self.is_stopped = True
            self._text += complete
            return
        num_certain = len(pending) - self._possible_beginning(pending)
        self._text += pending[:num_certain]
        self._held_back = pending[num_certain:]

    def _possible_beginning(self, pending: str) -> int:
        """Length of the longest suffix of the text that a stop string begins with."""
        longest = max(map(len, self._stop), default=0) - 1
        lengths = range(min(longest, len(pending)), 0, -1)
        return next((n for n in lengths if self._could_begin_a_stop(pending[-n:])), 0)

    def _could_begin_a_stop(self, text: str) -> bool:
        return any(stop.startswith(text) for stop in self._stop)


def before_stop(text: str, stop: Sequence[str]) -> str:
    """The text before its first stop string: the one completed first or, if several end at the same
    character, the longest."""
    found = [(text.find(each), len(each)) for each in stop if each in text]
    start, _ = min(found, key=lambda match: (sum(match), match[0]), default=(len(text), 0))
    return text[:start]
