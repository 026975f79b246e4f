"""Generate completions for a list of prompts."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmkit.config.generation import Generation
from llmkit.generation.beams import beam_search
from llmkit.generation.engine import Engine
from llmkit.generation.kv_cache import KeyValueCache
from llmkit.generation.prompt_length import check_prompt_length
from llmkit.generation.request import Request, Sequence
from llmkit.generation.text_stream import TextStream
from llmkit.metrics.prediction import Prediction
from llmkit.model.load import evaluating
from llmkit.model.packed import generation_dtype, packed_linear_layers

MIN_TOKENS_TO_PACK = 512  # new tokens from which packing the weights pays off
RUNNING_ROWS_PER_BATCH_ROW = 4
SMALL_CACHE_BYTES = 2**31


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    generation: Generation,
    batch_size: int,
    seed: int = 0,
    numbers: Iterable[int] | None = None,
) -> list[list[Prediction]]:
    """Generate the `num_return_sequences` completions of each prompt.

    Their texts are as generated, without end-of-text.

    Args:
        prompts: Token ids of each prompt.
        batch_size: Number of prompts per forward pass; see `max_running_rows`.
        seed: Random seed for sampling.
        numbers: The number of each prompt; default: its index. The samples of a prompt depend on
            the seed and its number, not on the other prompts.

    Raises UserError for a prompt that does not fit into the context together with its completion.
    """
    check_prompts(prompts, generation.max_new_tokens, model)
    numbers = range(len(prompts)) if numbers is None else numbers
    keys = [(seed, number) for number in numbers]
    if generation.num_beams > 1:
        return _beam_search(model, tokenizer, prompts, keys, generation, batch_size)
    requests = make_requests(prompts, keys, generation)
    completions = map(to_prediction, complete(model, tokenizer, requests, batch_size))
    return [list(islice(completions, generation.num_return_sequences)) for _ in prompts]


def check_prompts(prompts: list[list[int]], max_new_tokens: int, model: PreTrainedModel) -> None:
    """Raises UserError for a prompt that does not fit into the context with its completion."""
    advice = " or lower generation.max_new_tokens"
    for number, prompt in enumerate(prompts, 1):
        check_prompt_length(f"prompt {number}", len(prompt), max_new_tokens, model, advice)


def make_requests(
    prompts: list[list[int]], keys: list[tuple[int, ...]], generation: Generation
) -> list[Request]:
    """Requests for the `num_return_sequences` completions of each prompt, grouped by prompt.

    keys: Seed sequence of each prompt's random numbers.
    """
    return [
        Request(prompt, generation, (*key, copy))
        for prompt, key in zip(prompts, keys, strict=True)
        for copy in range(generation.num_return_sequences)
    ]


def complete(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    requests: list[Request],
    batch_size: int,
) -> list[Sequence]:
    """Complete all requests and return their sequences, in the order of the requests."""
    if not requests:
        return []
    with open_engine(model, tokenizer, requests, batch_size) as engine:
        # Sorted, so that rows of similar length run together; the longest first, so that a lack of
        # memory shows in the first step.
        longest_first = sorted(range(len(requests)), key=lambda i: -len(requests[i].prompt))
        sequences = {index: engine.add(requests[index]) for index in longest_first}
        while not engine.is_idle:
            engine.step()
    return [sequences[index] for index in range(len(requests))]


def iter_completions(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    requests: list[Request],
    batch_size: int,
) -> Iterator[Sequence]:
    """Yield the sequences in the order of the requests, each as soon as it and all earlier ones
    have ended."""
    if not requests:
        return
    with open_engine(model, tokenizer, requests, batch_size) as engine:
        for sequence in list(map(engine.add, requests)):
            while sequence.finish_reason is None:
                engine.step()
            yield sequence


def iter_text(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, request: Request
) -> Iterator[str]:
    """Yield the text generated so far after each token."""
    with open_engine(model, tokenizer, [request], batch_size=1) as engine:
        sequence = engine.add(request)
        while sequence.finish_reason is None:
            engine.step()
            yield sequence.text


@contextmanager
def open_engine(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    requests: list[Request],
    batch_size: int,
) -> Iterator[Engine]:
    """An engine whose number of rows and cache are just large enough for the requests.

    batch_size: Number of prompts per forward pass; see `max_running_rows`.
    """
    max_length = max(len(r.prompt) + r.generation.max_new_tokens for r in requests)
    token_bytes = KeyValueCache.bytes_per_token(model.config, generation_dtype(model))
    max_rows = max_running_rows(batch_size, max_length * token_bytes)
    num_new_tokens = sum(request.generation.max_new_tokens for request in requests)
    is_long = num_new_tokens >= MIN_TOKENS_TO_PACK
    with (
        evaluating(model),
        packed_linear_layers(model, generation_dtype(model), enabled=is_long),
    ):
        yield Engine(model, tokenizer, min(max_rows, len(requests)), max_length)


def max_running_rows(batch_size: int, row_bytes: int) -> int:
    """Maximum number of concurrent completions in a file or an evaluation.

    A step reads one token of each running row, so more rows than the prompts of a batch can run at
    once. This saves steps, but each row needs its cache.

    Args:
        batch_size: Number of prompts per forward pass.
        row_bytes: Size of a row's keys and values in bytes.
    """
    rows_in_small_cache = SMALL_CACHE_BYTES // row_bytes
    return max(batch_size, min(RUNNING_ROWS_PER_BATCH_ROW * batch_size, rows_in_small_cache))


def to_prediction(sequence: Sequence) -> Prediction:
    """The completion of a finished sequence."""
    return Prediction(sequence.text, ended=sequence.finish_reason == "stop")


def _beam_search(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    keys: list[tuple[int, ...]],
    generation: Generation,
    batch_size: int,
) -> list[list[Prediction]]:
    """The best beams of each prompt."""

    def predict(tokens: list[int]) -> Prediction:
        stream = TextStream(tokenizer, generation.stop)
        for token in tokens:
            stream.push(token)
        stream.finish()
        return Prediction(
            stream.text, ended=stream.is_stopped or tokens[-1:] == [tokenizer.eos_token_id]
        )

    found = beam_search(model, tokenizer, prompts, keys, generation, batch_size)
    return [list(map(predict, beams)) for beams in found]
