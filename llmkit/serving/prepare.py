"""From the body of a request to what the engine completes: the decoding and the prompts."""

from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from llmkit.config.generation import CONSTRAINTS, Generation
from llmkit.data.encode import encode_text
from llmkit.errors import UserError
from llmkit.generation.chat_modes import encode_messages, message_kind
from llmkit.generation.session import GenerationSession
from llmkit.serving.body import Body, ChatBody, CompletionBody
from llmkit.serving.errors import ApiError, wrong_decoding
from llmkit.serving.security import Limits
from llmkit.tasks.conversation import Message, read_conversation

NOT_WITH_CONSTRAINTS = ("stop", "min_new_tokens", "no_repeat_ngram_size")
GREEDY = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


def check_servable(generation: Generation) -> None:
    """Raise UserError if a recipe's decoding cannot be served."""
    if generation.num_beams > 1:
        raise UserError(
            f"generation.num_beams={generation.num_beams}: serve decodes without beams, which "
            "cannot be streamed; add generation.num_beams=1"
        )


def decoding_of(body: Body, defaults: Generation, limits: Limits) -> Generation:
    """The decoding of each completion of a request; raises ApiError.

    defaults: The decoding of the recipe. Keys of it that contradict what the request sets are left
    out: those that only apply to sampling in a greedy request, and another constraint.
    """
    given = body.decoding
    merged = _defaults_without_constraint(defaults) if _constrains(given) else defaults.model_dump()
    merged["num_return_sequences"] = 1  # each copy is a completion of its own
    if limits.max_new_tokens is not None:
        _check_new_tokens(body.new_tokens, limits.max_new_tokens)
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
        raise wrong_decoding(key, mistake["msg"].removeprefix("Value error, ")) from None
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
    """What a request asks the engine for."""

    prompts: list[list[int]]
    """Token ids of each prompt."""
    generations: list[Generation]
    """The decoding of each prompt's completions."""
    texts: list[str]
    """What each completion begins with: the prompt, if it is to be repeated."""


def prepare_completion(
    body: CompletionBody, generation: Generation, session: GenerationSession, limits: Limits
) -> PreparedRequest:
    """The prompts of /v1/completions, which pass without a template and are never truncated.

    Raises ApiError for a prompt that does not fit the model.
    """
    prompts = _read_prompts(body.prompt, session)
    generations = [
        _fit(prompt, generation, body.new_tokens, "prompt", session, limits) for prompt in prompts
    ]
    texts = [session.tokenizer.decode(prompt) if body.echo else "" for prompt in prompts]
    return PreparedRequest(prompts, generations, texts)


def prepare_chat(
    body: ChatBody, generation: Generation, session: GenerationSession, limits: Limits
) -> PreparedRequest:
    """The prompt of /v1/chat/completions, as `llmkit chat` builds it from the same messages.

    Raises ApiError for a model that was not trained with prompts, for messages that are not a
    conversation, and for a prompt that does not fit.
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
        message = str(error).removeprefix("messages: ").replace("max_new_tokens", "max_tokens")
        raise _too_long(f"messages: {message}", "messages") from None
    _check_prompt_length(encoded.ids, "messages", limits)
    return PreparedRequest([encoded.ids], [generation], [""])


def _read_messages(messages: list[dict[str, Any]]) -> list[Message]:
    """The conversation, which ends with a message of the user; raises ValueError."""
    conversation, _ = read_conversation(messages)
    if conversation[-1].role != "user":
        raise ValueError("the last message must be the user's")
    return conversation


def _read_prompts(prompt: Any, session: GenerationSession) -> list[list[int]]:
    """The token ids of each prompt of a list, or of a single one."""
    is_list = isinstance(prompt, list) and prompt
    is_single = isinstance(prompt, str) or (is_list and _is_token(prompt[0]))
    prompts = [prompt] if is_single else prompt
    if not isinstance(prompts, list) or not prompts:
        raise _invalid("must be a text, a list of texts, a list of token ids, or a list of these")
    return [_token_ids(each, session) for each in prompts]


def _token_ids(prompt: Any, session: GenerationSession) -> list[int]:
    if isinstance(prompt, str):
        (ids,) = encode_text([prompt], session.tokenizer)
    elif isinstance(prompt, list) and all(map(_is_token, prompt)):
        ids, vocab_size = prompt, session.model.config.vocab_size
        for token in ids:
            if not 0 <= token < vocab_size:
                raise _invalid(f"{token} is not a token id; they go from 0 to {vocab_size - 1:,}")
    else:
        raise _invalid("must be a text, a list of texts, a list of token ids, or a list of these")
    if not ids:
        raise _invalid("is empty; give it at least one character")
    return ids


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _invalid(message: str) -> ApiError:
    return ApiError(400, f"prompt: {message}", param="prompt", code="invalid_value")


def _fit(
    prompt: list[int],
    generation: Generation,
    num_asked: int | None,
    param: str,
    session: GenerationSession,
    limits: Limits,
) -> Generation:
    """The decoding, with as many new tokens as fit the model if the request asks for no number."""
    _check_prompt_length(prompt, param, limits)
    num_positions = session.model.config.max_position_embeddings
    num_new_tokens = session.max_new_tokens if session.labels else generation.max_new_tokens
    num_free = num_positions - len(prompt)
    if num_free >= num_new_tokens:
        return generation
    if num_asked is None and not session.labels and num_free >= max(1, generation.min_new_tokens):
        return generation.model_copy(update={"max_new_tokens": num_free})
    raise _too_long(
        f"{param}: {len(prompt):,} tokens and up to {num_new_tokens:,} new ones exceed the model's "
        f"{num_positions:,} positions; shorten the prompt or lower max_tokens",
        param,
    )


def _check_prompt_length(prompt: list[int], param: str, limits: Limits) -> None:
    most = limits.max_prompt_tokens
    if most is not None and len(prompt) > most:
        raise _too_long(f"{param}: {len(prompt):,} tokens exceed the limit of {most:,}", param)


def _too_long(message: str, param: str) -> ApiError:
    return ApiError(400, message, param=param, code="context_length_exceeded")
