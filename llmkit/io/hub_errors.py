"""What the exceptions of the hub's client library mean."""

from collections.abc import Iterator


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception, and those that it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def first_line(error: BaseException) -> str:
    """The first line of the message, or the name of the exception if it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def is_unreachable(error: BaseException) -> bool:
    """Whether no connection was made, it was lost, or HF_HUB_OFFLINE forbids it."""
    return any(
        isinstance(cause, ConnectionError | TimeoutError)
        or any(word in type(cause).__name__ for word in ("Connect", "Timeout", "RemoteProtocol"))
        for cause in causes(error)
    )
