"""Request bodies: reading within the limits, parsing and validation."""

import asyncio
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json
from starlette.requests import Request

from llmkit.errors import did_you_mean
from llmkit.serving.errors import ApiError
from llmkit.serving.security import Limits

MAX_COMPLETIONS = 128
MAX_STOP_STRINGS = 4

# Parameters that have no effect on the answer.
IGNORED = (
    "user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    "service_tier", "store", "parallel_tool_calls",
)  # fmt: skip
# Unsupported parameters, and the values that are accepted because they have no effect.
UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "presence_penalty": (0, 0.0),
    "frequency_penalty": (0, 0.0),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "best_of": (1,),
    "suffix": ("",),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "web_search_options": (),
    "moderation": (),
}


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class StreamOptions(Strict):
    include_usage: bool = False
    include_obfuscation: bool = (
        False  # OpenAI pads chunks against traffic analysis; this server does not
    )


class JsonSchema(Strict):
    name: str = ""
    description: str = ""
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None  # the schema is always enforced


class ResponseFormat(Strict):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> "ResponseFormat":
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError(
                "the type json_schema requires the field json_schema, and no other allows it"
            )
        return self

    @property
    def as_json_schema(self) -> dict[str, Any] | None:
        """The schema that the completion must conform to; None for unconstrained text."""
        if self.json_schema is not None:
            return self.json_schema.schema_
        return {"type": "object"} if self.type == "json_object" else None


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Body(Strict):
    """Parameters of both completions endpoints. None: the value of the recipe."""

    model: str | None = None
    max_tokens: int | None = None
    min_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    stop: Annotated[
        list[str] | None, BeforeValidator(_as_list), Field(max_length=MAX_STOP_STRINGS)
    ] = None  # fmt: skip
    choices: list[str] | None = None
    regex: str | None = None
    response_format: ResponseFormat | None = None
    n: int = Field(1, ge=1, le=MAX_COMPLETIONS)
    seed: int | None = Field(None, ge=0, lt=2**63)
    stream: bool = False
    stream_options: StreamOptions | None = None

    @property
    def decoding(self) -> dict[str, Any]:
        """The keys of `Generation` that the request sets."""
        names = (
            "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "no_repeat_ngram_size",
            "stop", "choices", "regex",
        )  # fmt: skip
        given = {name: getattr(self, name) for name in names}
        given |= {"max_new_tokens": self.max_new_tokens, "min_new_tokens": self.min_tokens}
        if self.response_format is not None:
            given["json_schema"] = self.response_format.as_json_schema
        return {name: value for name, value in given.items() if value is not None}

    @property
    def max_new_tokens(self) -> int | None:
        """Requested maximum number of new tokens; None: the value of the recipe."""
        return self.max_tokens

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with a chunk of token counts."""
        return self.stream_options is not None and self.stream_options.include_usage


class CompletionBody(Body):
    """Body of POST /v1/completions."""

    prompt: Any
    """A string, a list of strings, a list of token ids, or a list of such lists."""
    echo: bool = False


class ChatBody(Body):
    """Body of POST /v1/chat/completions."""

    messages: list[dict[str, Any]] = Field(min_length=1)
    max_completion_tokens: int | None = None

    @property
    def max_new_tokens(self) -> int | None:
        given = self.max_completion_tokens
        return self.max_tokens if given is None else given


AnyBody = TypeVar("AnyBody", CompletionBody, ChatBody)


async def read_body(request: Request, kind: type[AnyBody], limits: Limits) -> AnyBody:
    """The checked body of a request; raises ApiError."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise ApiError(415, "the Content-Type must be application/json")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ApiError(415, "compressed bodies are not supported; send it without Content-Encoding")
    try:
        content = await asyncio.wait_for(
            _read_bytes(request, limits.max_body_bytes), limits.read_timeout
        )
    except asyncio.TimeoutError:
        raise ApiError(
            408, f"the body did not arrive within {limits.read_timeout:g} seconds"
        ) from None
    return parse_body(content, kind)


async def _read_bytes(request: Request, max_bytes: int) -> bytes:
    too_large = ApiError(413, f"the body exceeds {max_bytes:,} bytes", code="request_too_large")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > max_bytes:
        raise too_large
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > max_bytes:
            raise too_large
    return bytes(content)


def parse_body(content: bytes, kind: type[AnyBody]) -> AnyBody:
    """Parse and validate a body; null parameters count as omitted. Raises ApiError."""
    try:
        fields = from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ApiError(400, "the body must be a JSON object")
    given = {name: value for name, value in fields.items() if value is not None}
    for name, neutral in UNSUPPORTED.items():
        if name in given:
            value = given.pop(name)
            if not any(value == each and type(value) is type(each) for each in neutral):
                raise ApiError(
                    400, f"{name}: not supported; remove it", param=name,
                    code="unsupported_parameter",
                )  # fmt: skip
    try:
        return kind.model_validate({k: v for k, v in given.items() if k not in IGNORED})
    except ValidationError as error:
        raise explain(error, kind) from None


def explain(error: ValidationError, kind: type[BaseModel]) -> ApiError:
    """The first validation error as an ApiError that names the parameter."""
    mistake = error.errors(include_url=False, include_input=False)[0]
    param = ".".join(map(str, mistake["loc"]))
    if mistake["type"] == "extra_forbidden":
        hint = did_you_mean(param, list(kind.model_fields)) if len(mistake["loc"]) == 1 else ""
        return ApiError(
            400, f"{param}: unknown parameter{hint}", param=param, code="unknown_parameter"
        )
    if mistake["type"] == "missing":
        return ApiError(
            400, f"{param}: this parameter is required", param=param,
            code="missing_required_parameter",
        )  # fmt: skip
    message = mistake["msg"].removeprefix("Value error, ")
    return ApiError(400, f"{param}: {message}", param=param, code="invalid_value")
