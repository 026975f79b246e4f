"""API errors: an HTTP status and a JSON object in OpenAI's format."""

from http import HTTPStatus

from starlette.responses import JSONResponse, Response

from llmkit.errors import printable

# Request parameters whose names differ from the keys of `Generation`, by key.
PARAMETERS = {
    "max_new_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
    "json_schema": "response_format",
}


class ApiError(Exception):
    """An error response: HTTP status, message, parameter and code."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """
        Args:
            param: The invalid parameter of the request.
            code: Machine-readable error code.
            headers: Response headers, such as Retry-After.
        """
        super().__init__(message)
        self.status = status
        self.param, self.code, self.headers = param, code, headers

    @property
    def content(self) -> dict[str, dict[str, str | None]]:
        """The body of the response."""
        return {
            "error": {
                "message": printable(str(self)),
                "type": error_type(self.status),
                "param": self.param and printable(self.param),
                "code": self.code,
            }
        }

    @property
    def response(self) -> Response:
        return JSONResponse(self.content, self.status, self.headers)


def error_type(status: int) -> str:
    """OpenAI's error type for an HTTP status."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limit_error"
    return "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"


def retryable_error(status: int, message: str, code: str, retry_after: int = 1) -> ApiError:
    """An error for a request that may succeed later. retry_after: Seconds."""
    return ApiError(status, message, code=code, headers={"retry-after": str(retry_after)})


def stopping() -> ApiError:
    """The error of a request to a server that is shutting down."""
    return retryable_error(503, "the server is stopping", "stopping", retry_after=10)


def engine_failed() -> ApiError:
    """The error of a request to a server whose engine has ended."""
    return ApiError(503, "the engine has failed", code="engine_failed")


def out_of_time() -> ApiError:
    """The error of a request that timed out before its first token."""
    return ApiError(504, "the request timed out in the queue", code="timeout")


def decoding_error(key: str, reason: str) -> ApiError:
    """An error for an invalid decoding parameter.

    key: Key of `Generation`; empty if several keys contradict each other.
    """
    param = PARAMETERS.get(key, key) or None
    for name, parameter in PARAMETERS.items():
        reason = reason.replace(name, parameter)
    message = f"{param}: {reason}" if param else reason
    return ApiError(400, message, param=param, code="invalid_value")
