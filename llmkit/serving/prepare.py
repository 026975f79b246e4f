"""From request bodies to the prompts and decoding settings for the engine."""

from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from llmkit.config.generation import CONSTRAINTS, Generation
from llmkit.data.encode import encode_text
from llmkit.errors import UserError
from llmkit.generation.chat_modes import encode_messages, message_kind
from llmkit.generation.session import GenerationSession
from llmkit.serving.body import Body, ChatBody, CompletionBody
from llmkit.serving.errors import ApiError, decoding_error
from llmkit.serving.security import Limits
from llmkit.tasks.conversation import Message, read_conversation

NOT_WITH_CONSTRAINTS = ("stop", "min_new_tokens", "no_repeat_ngram_size")
GREEDY = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


def check_servable(generation: Generation) -> None:
    """Raise UserError if the recipe's decoding settings cannot be served."""
    if generation.num_beams > 1:
        raise UserError(
            f"generation.num_beams={generation.num_beams}: beams cannot be streamed, so serve does "
            "not support them; add generation.num_beams=1"
        )


def decoding_of(body: Body, defaults: Generation, limits: Limits) -> Generation:
    """The decoding settings of a request; raises ApiError if they are invalid.

    Args:
        defaults: Settings of the recipe, for parameters that the request omits. Ignored are those
            that contradict the request: sampling settings if it is greedy, and the constraint if it
            has its own.
    """
    given = body.decoding
    merged = _defaults_without_constraint(defaults) if _constrains(given) else defaults.model_dump()
    merged["num_return_sequences"] = 1  # `n` completions are separate requests to the engine
    if limits.max_new_tokens is not None:
        _check_new_tokens(body.max_new_tokens, limits.max_new_tokens)
        merged["max_new_tokens"] = min(merged["max_new_tokens"], limits.max_new_tokens)
    merged |= given
    if "min_new_tokens" not in given and merged.get("min_new_tokens", 0) > merged["max_new_tokens"]:
        merged["min_new_tokens"] = merged["max_new_tokens"]
    temperature = merged["temperature"]
    if not temperature and body.n > 1:
        raise ApiError(
            400, "n: above 1 requires a temperature above 0; all completions would be identical",
            param="n", code="invalid_value",
        )  # fmt: skip
    try:
        generation = Generation.model_validate(merged | {"temperature": temperature or 1.0})
    except ValidationError as error:
        mistake = error.errors(include_url=False, include_input=False)[0]
        key = str(next(iter(mistake["loc"]), ""))
        raise decoding_error(key, mistake["msg"].removeprefix("Value error, ")) from None
    return generation if temperature else generation.model_copy(update=GREEDY)


def _constrains(given: dict[str, Any]) -> bool:
    return any(name in given for name in CONSTRAINTS)


def _defaults_without_constraint(defaults: Generation) -> dict[str, Any]:
    return defaults.model_dump(exclude={*CONSTRAINTS, *NOT_WITH_CONSTRAINTS})


def _check_new_tokens(num_new_tokens: int | None, most: int) -> None:
    if num_new_tokens is not None and num_new_tokens > most:
        raise ApiError(
            400, f"max_tokens: {num_new_tokens:,} exceeds the server's limit of {most:,}",
            param="max_tokens", code="invalid_value",
        )  # fmt: skip


@dataclass(frozen=True)
class PreparedRequest:
    """The prompts of a request with their decoding settings."""

    prompts: list[list[int]]
    """Token ids of each prompt."""
    generations: list[Generation]
    """Decoding settings for each prompt."""
    texts: list[str]
    """Text to prepend to the completions of each prompt: the prompt if `echo` is set, otherwise
    empty."""


def prepare_completion(
    body: CompletionBody, generation: Generation, session: GenerationSession, limits: Limits
) -> PreparedRequest:
    """Encode the prompts of a request to /v1/completions, without a template or truncation.

    Raises ApiError for a prompt that is invalid or does not fit into the context.
    """
    prompts = _read_prompts(body.prompt, session)
    generations = [
        _limit_new_tokens(prompt, generation, body.max_new_tokens, "prompt", session, limits)
        for prompt in prompts
    ]
    texts = [session.tokenizer.decode(prompt) if body.echo else "" for prompt in prompts]
    return PreparedRequest(prompts, generations, texts)


def prepare_chat(
    body: ChatBody, generation: Generation, session: GenerationSession, limits: Limits
) -> PreparedRequest:
    """Build and encode the prompt of a request to /v1/chat/completions, as `llmkit chat` does.

    Raises ApiError if the model only continues text, the messages are invalid, or the prompt does
    not fit into the context.
    """
    if message_kind(session.task) == "text":
        raise ApiError(
            400, "this model continues text and has no chat format; use /v1/completions",
            code="no_chat_format",
        )  # fmt: skip
    try:
        conversation = _read_messages(body.messages)
        encoded = encode_messages(conversation, replace(session, generation=generation))
    except ValueError as error:
        raise ApiError(400, f"messages: {error}", param="messages", code="invalid_value") from None
    except UserError as error:
        message = str(error).removeprefix("messages: ").replace(session.limit_name, "max_tokens")
        raise _context_length_error(f"messages: {message}", "messages") from None
    _check_prompt_length(encoded.ids, "messages", limits)
    return PreparedRequest([encoded.ids], [generation], [""])


def _read_messages(messages: list[dict[str, Any]]) -> list[Message]:
    """Parse the messages; raises ValueError unless they are a conversation that ends with a user
    message."""
    conversation, _ = read_conversation(messages)
    if conversation[-1].role != "user":
        raise ValueError("the last message must have the role user")
    return conversation


def _read_prompts(prompt: Any, session: GenerationSession) -> list[list[int]]:
    """Token ids of each prompt, given as one prompt or a list."""
    is_list = isinstance(prompt, list) and prompt
    is_single = isinstance(prompt, str) or (is_list and _is_token(prompt[0]))
    prompts = [prompt] if is_single else prompt
    if not isinstance(prompts, list) or not prompts:
        raise _invalid_prompt(
            "must be a string, a list of strings, a list of token ids, or a list of such lists"
        )
    return [_token_ids(each, session) for each in prompts]


def _token_ids(prompt: Any, session: GenerationSession) -> list[int]:
    if isinstance(prompt, str):
        (ids,) = encode_text([prompt], session.tokenizer)
    elif isinstance(prompt, list) and all(map(_is_token, prompt)):
        ids, vocab_size = prompt, session.model.config.vocab_size
        for token in ids:
            if not 0 <= token < vocab_size:
                raise _invalid_prompt(
                    f"{token} is not a token id; the range is 0 to {vocab_size - 1:,}"
                )
    else:
        raise _invalid_prompt(
            "must be a string, a list of strings, a list of token ids, or a list of such lists"
        )
    if not ids:
        raise _invalid_prompt("is empty; it must have at least one character")
    return ids


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _invalid_prompt(message: str) -> ApiError:
    return ApiError(400, f"prompt: {message}", param="prompt", code="invalid_value")


def _limit_new_tokens(
    prompt: list[int],
    generation: Generation,
    num_requested: int | None,
    param: str,
    session: GenerationSession,
    limits: Limits,
) -> Generation:
    """The decoding settings; max_new_tokens is reduced to fit into the context, unless the request
    sets it."""
    _check_prompt_length(prompt, param, limits)
    num_positions = session.model.config.max_position_embeddings
    num_new_tokens = session.max_new_tokens if session.labels else generation.max_new_tokens
    num_free = num_positions - len(prompt)
    if num_free >= num_new_tokens:
        return generation
    if (
        num_requested is None
        and not session.labels
        and num_free >= max(1, generation.min_new_tokens)
    ):
        return generation.model_copy(update={"max_new_tokens": num_free})
    raise _context_length_error(
        f"{param}: {len(prompt):,} tokens and up to {num_new_tokens:,} new ones exceed the model's "
        f"{num_positions:,} positions; shorten the prompt or lower max_tokens",
        param,
    )


def _check_prompt_length(prompt: list[int], param: str, limits: Limits) -> None:
    most = limits.max_prompt_tokens
    if most is not None and len(prompt) > most:
        raise _context_length_error(
            f"{param}: {len(prompt):,} tokens exceed the limit of {most:,}", param
        )


def _context_length_error(message: str, param: str) -> ApiError:
    return ApiError(400, message, param=param, code="context_length_exceeded")
