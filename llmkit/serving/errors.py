"""Errors of the API: an HTTP status and one JSON object in OpenAI's form."""

from http import HTTPStatus

from starlette.responses import JSONResponse, Response

from llmkit.errors import printable

# Key of `Generation` -> parameter of a request, where the names differ.
PARAMETERS = {
    "max_new_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
    "json_schema": "response_format",
}


class ApiError(Exception):
    """A request that is not answered: the status, what is wrong, and where."""

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
            param: The parameter of the request that is wrong.
            code: A word that programs can compare.
            headers: Headers of the response, such as Retry-After.
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
    """The type that OpenAI gives an error of that status."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limit_error"
    return "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"


def overloaded(status: int, message: str, code: str, retry_after: int = 1) -> ApiError:
    """A request that may succeed later. retry_after: seconds."""
    return ApiError(status, message, code=code, headers={"retry-after": str(retry_after)})


def wrong_decoding(key: str, reason: str) -> ApiError:
    """A key of `Generation` that a request set wrongly; an empty key: several that disagree."""
    param = PARAMETERS.get(key, key) or None
    for name, parameter in PARAMETERS.items():
        reason = reason.replace(name, parameter)
    message = f"{param}: {reason}" if param else reason
    return ApiError(400, message, param=param, code="invalid_value")
