"""Continuous batching: requests join and leave a running batch, one forward pass at a time."""

from collections import deque
from itertools import accumulate, chain, takewhile

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmkit.errors import UserError, count_of
from llmkit.families import family_of
from llmkit.families.padding_free import FastDropout
from llmkit.generation.kv_cache import CachedAttention, KeyValueCache, Span
from llmkit.generation.prompt_length import check_prompt_length
from llmkit.generation.request import Request, Sequence
from llmkit.generation.token_choice import choose_tokens
from llmkit.model.load import check_finite
from llmkit.model.packed import generation_dtype
from llmkit.runtime.memory import available_bytes

MAX_PROMPT_TOKENS = 2048  # maximum prompt tokens per step, so that running rows need not wait
MIN_SHARED_TOKENS = 16  # minimum length of a shared prefix that is copied instead of computed
MEMORY_FRACTION = 0.5  # fraction of the free memory for the cache


class Engine:
    """Completes requests with one model.

    Each step is one forward pass without padding. It reads one token of each running row and the
    prompts of the rows that join. A row that ends leaves at once, and the next request takes its
    place. Keys and values stay in a preallocated cache. The prefix that a prompt shares with a row
    in the cache is copied instead of computed, such as the earlier turns of a conversation.

    A completion depends on its request alone, not on what else is in the batch, up to rounding.
    Not thread-safe.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        max_rows: int,
        max_length: int | None = None,
    ) -> None:
        """
        Args:
            model: In evaluation mode.
            max_rows: Maximum number of concurrent rows; reduced if the cache would not fit into
                memory.
            max_length: Maximum number of tokens of a prompt with its completion; default: the
                model's context.
        """
        self.model, self.tokenizer = model, tokenizer
        config, device = model.config, model.device
        self.max_length = min(max_length or config.max_position_embeddings,
                              config.max_position_embeddings)  # fmt: skip
        dtype = generation_dtype(model)
        row_bytes = self.max_length * KeyValueCache.bytes_per_token(config, dtype)
        fitting = int(MEMORY_FRACTION * available_bytes(device) / row_bytes)
        self.max_rows = max(1, min(max_rows, fitting))
        self.cache = KeyValueCache(config, self.max_rows, self.max_length, dtype, device)
        self.slot_tokens: list[list[int]] = [[] for _ in range(self.max_rows)]
        self.running: list[Sequence] = []  # the row at index i is in slot i
        self.waiting: deque[Sequence] = deque()

    @property
    def is_idle(self) -> bool:
        return not self.running and not self.waiting

    @property
    def num_running(self) -> int:
        return len(self.running)

    @property
    def num_waiting(self) -> int:
        return len(self.waiting)

    def free_slots(self, number: int) -> range:
        """The next free slots of the cache, at most `number` of them."""
        first = len(self.running)
        return range(first, min(first + number, self.max_rows))

    def add(self, request: Request) -> Sequence:
        """Queue a request. Raises UserError if prompt and completion exceed the context or the
        constraint cannot be met."""
        num_tokens, num_new_tokens = len(request.prompt), request.generation.max_new_tokens
        check_prompt_length("the prompt", num_tokens, num_new_tokens, self.model)
        if num_tokens + num_new_tokens > self.max_length:
            raise UserError(
                f"the prompt: {count_of(num_tokens, 'token')} and up to {num_new_tokens} new ones "
                f"exceed the limit of {self.max_length}"
            )
        sequence = Sequence(request, self.tokenizer)
        self.waiting.append(sequence)
        return sequence

    def join(self, sequences: list[Sequence]) -> None:
        """Take over sequences that have been read elsewhere, all but their last token: their keys
        and values are in the next free slots, in order."""
        for slot, sequence in enumerate(sequences, len(self.running)):
            self.slot_tokens[slot] = sequence.request.prompt + sequence.token_ids[:-1]
            sequence.num_cached = len(self.slot_tokens[slot])
        self.running += sequences
        self._free_finished()

    def cancel(self, sequence: Sequence) -> None:
        """End a request at once, whether it runs or waits."""
        if sequence.finish_reason is not None:
            return
        sequence.finish("cancelled")
        if sequence in self.waiting:
            self.waiting.remove(sequence)
        else:
            self._free_slot(self.running.index(sequence))

    @torch.inference_mode()
    def step(self) -> list[Sequence]:
        """Run one forward pass; return the sequences that got a token or ended.

        Raises FloatingPointError if the model's output is not finite.
        """
        self._admit()
        if not self.running:
            return []
        sequences, end_of_text = list(self.running), self.tokenizer.eos_token_id
        logits = self._next_logits(sequences)
        tokens = choose_tokens(logits, sequences, end_of_text)
        for sequence, token in zip(sequences, tokens, strict=True):
            sequence.push(token, end_of_text)
        self._free_finished()
        return sequences

    def _admit(self) -> None:
        """Move waiting requests to free slots and reuse the longest cached prefix of each.

        A prompt that shares a prefix with another that joins in this step waits for the next, when
        the prefix can be copied.
        """
        num_tokens, first_joining = 0, len(self.running)
        while self.waiting and len(self.running) < self.max_rows:
            prompt, slot = self.waiting[0].request.prompt, len(self.running)
            source, shared = self._longest_shared_prefix(prompt)
            if first_joining <= source < slot:
                break
            num_tokens += len(prompt) - shared
            if num_tokens > MAX_PROMPT_TOKENS and slot > first_joining:
                break
            sequence = self.waiting.popleft()
            if shared and source != slot:
                self.cache.copy(source, slot, shared)
            sequence.num_cached, self.slot_tokens[slot] = shared, list(prompt)
            self.running.append(sequence)

    def _longest_shared_prefix(self, prompt: list[int]) -> tuple[int, int]:
        """The slot with the longest prefix of a prompt, and the length of the prefix; (-1, 0) if
        none is long enough to copy. The last prompt token is always computed because its logits are
        needed."""
        best, reusable = (-1, 0), prompt[:-1]
        if len(reusable) < MIN_SHARED_TOKENS:
            return best
        start = reusable[:MIN_SHARED_TOKENS]
        for slot, tokens in enumerate(self.slot_tokens):
            if tokens[:MIN_SHARED_TOKENS] != start:  # quick, and true of most slots
                continue
            pairs = zip(tokens, reusable, strict=False)
            shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            if shared > best[1]:
                best = (slot, shared)
        return best

    def _next_logits(self, sequences: list[Sequence]) -> torch.Tensor:
        """(num_sequences, vocab_size), float32: the logits after all tokens of each sequence."""
        unread = [sequence.unread for sequence in sequences]
        spans = [
            Span(slot, sequence.num_cached, sequence.num_cached + len(tokens))
            for slot, (sequence, tokens) in enumerate(zip(sequences, unread, strict=True))
        ]
        device = self.model.device
        positions = chain.from_iterable(range(span.start, span.end) for span in spans)
        last = torch.tensor(list(accumulate(map(len, unread)))) - 1
        hidden = family_of(self.model.config).hidden_states(
            self.model.base_model,
            torch.tensor(list(chain.from_iterable(unread)), device=device),
            torch.tensor(list(positions), device=device),
            CachedAttention(self.cache, spans),
            FastDropout(device),
            last.to(device),
        )
        for sequence, span, tokens in zip(sequences, spans, unread, strict=True):
            if span.start >= len(sequence.request.prompt):
                self.slot_tokens[span.slot] += tokens
            sequence.num_cached = span.end
        check_finite(hidden)
        return self.model.get_output_embeddings()(hidden).float()

    def _free_finished(self) -> None:
        for slot in reversed(range(len(self.running))):
            if self.running[slot].finish_reason is not None:
                self._free_slot(slot)

    def _free_slot(self, slot: int) -> None:
        """Free a slot; the row in the last slot moves there, so that running rows stay together."""
        last = len(self.running) - 1
        if slot != last:
            self.running[slot] = self.running[last]
            self.cache.copy(last, slot, self.running[slot].num_cached)
            self.slot_tokens[slot] = list(self.slot_tokens[last])
        self.running.pop()
