"""Access control (Host, Origin, token) and limits of the server."""

import hmac
import ipaddress
import os
import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from llmkit.errors import UserError
from llmkit.paths import expand
from llmkit.serving.errors import ApiError

TOKEN_VARIABLE = "LLMKIT_TOKEN"
MIN_TOKEN_LENGTH = 16
MAX_TOKEN_BYTES = 4096
HOST_NAME = re.compile(r"[\w.-]+")
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
# Paths that need no token because they do not use the model.
OPEN_PATHS = ("/", "/health")


@dataclass(frozen=True)
class Limits:
    """Limits of the server. Times are in seconds."""

    max_body_bytes: int = 2**20
    max_prompt_tokens: int | None = None
    """None: the context length of the model."""
    max_new_tokens: int | None = None
    """Maximum number of new tokens that a request may set; None: the context length."""
    max_queue: int = 64
    """Maximum number of completions waiting for a slot in the batch."""
    timeout: float = 300.0
    """Time per request after its body has arrived."""
    read_timeout: float = 30.0
    """Time for a client to send a request header or body, or to read the response."""
    max_connections: int = 256
    grace: float = 30.0
    """Time to finish running requests after SIGTERM or Ctrl-C."""


@dataclass(frozen=True)
class Access:
    """Decides who may use the server."""

    host: str
    """Address on which the server listens."""
    token: str | None
    """Access token; None: no token is required."""
    hosts: tuple[str, ...] = ()
    """Additional names accepted in the Host header."""
    origins: tuple[str, ...] = ()
    """Origins allowed in addition to the server's own page."""

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise UserError(
                f"--host: {self.host!r} can be reached from other machines, which requires a "
                f"token; set {TOKEN_VARIABLE} or --token-file"
            )
        for name in self.hosts:
            if not HOST_NAME.fullmatch(name) and not is_address(name):
                raise UserError(
                    f"--allow-host: {name!r} is not a host name such as example.org; give it "
                    "without scheme and port"
                )
        for origin in self.origins:
            if not is_origin(origin):
                raise UserError(
                    f"--allow-origin: {origin!r} is not an origin such as https://example.org"
                )

    def allows_host(self, header: str) -> bool:
        """Whether a Host header names this server.

        This prevents DNS rebinding, where a website makes its own domain name resolve to this
        machine. IP addresses cannot be rebound, so a server with a token accepts any of them.
        """
        name = host_name(header)
        if name is None:
            return False
        if name in (self.host.lower(), *LOOPBACK_NAMES, *map(str.lower, self.hosts)):
            return True
        if is_loopback(self.host):
            return False
        return is_address(name) or name == socket.gethostname().lower()

    def allows_origin(self, origin: str, host: str) -> bool:
        """Whether scripts from an origin may send requests: the server's own page or an allowed
        origin.

        host: The Host header of the request.
        """
        is_own = origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")
        return is_own or origin.lower() in self.origins

    def allows_token(self, authorization: str) -> bool:
        """Whether an Authorization header contains the token; compares in constant time."""
        if self.token is None:
            return True
        scheme, _, given = authorization.partition(" ")
        is_same = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self.token.encode())
        return is_same and scheme.lower() == "bearer"


class AccessMiddleware:
    """Rejects requests without access and passes on the others."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(Headers(scope=scope), scope["method"], scope["path"])
        except ApiError as error:
            await error.response(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _check(self, headers: Headers, method: str, path: str) -> None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self.access.allows_host(host):
            raise ApiError(
                403, f"the Host header {host!r} is not allowed; allow it with --allow-host",
                code="wrong_host",
            )  # fmt: skip
        if origin is not None and not self.access.allows_origin(origin, host):
            raise ApiError(
                403, f"requests from {origin!r} are not allowed; allow them with --allow-origin",
                code="wrong_origin",
            )  # fmt: skip
        is_preflight = method == "OPTIONS" and origin is not None  # browsers send no token with it
        if path in OPEN_PATHS or is_preflight:
            return
        if not self.access.allows_token(headers.get("authorization", "")):
            raise ApiError(
                401, "a token is required: send `Authorization: Bearer TOKEN`",
                code="invalid_api_key", headers={"www-authenticate": "Bearer"},
            )  # fmt: skip


def read_token(token_file: str | None) -> str | None:
    """Read the token from --token-file or else the environment; None if neither is set.

    Raises UserError if the file cannot be read or the token is too short or not printable ASCII.
    """
    if token_file is None:
        token, where = os.environ.get(TOKEN_VARIABLE), TOKEN_VARIABLE
        if token is None:
            return None
    else:
        path, where = expand(token_file), f"--token-file: {token_file}"
        if not path.is_file():
            raise UserError(f"{where}: no such file")
        try:
            with path.open("rb") as file:
                token = file.read(MAX_TOKEN_BYTES).decode("ascii")
        except OSError as error:
            raise UserError(f"{where}: cannot be read ({error.strerror})") from None
        except UnicodeDecodeError:
            raise UserError(f"{where}: a token may contain only ASCII characters") from None
    token = token.strip()
    if len(token) < MIN_TOKEN_LENGTH or not token.isascii() or not token.isprintable():
        raise UserError(
            f"{where}: a token must have at least {MIN_TOKEN_LENGTH} printable ASCII characters; "
            "create one with `openssl rand -hex 32`"
        )
    return token


def host_name(header: str) -> str | None:
    """The name or address in a Host header, without port and brackets; None if it is malformed."""
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port  # raises ValueError unless it is a number
        is_whole = parts.netloc == header and "@" not in header
        return parts.hostname if is_whole else None
    except ValueError:
        return None


def is_origin(text: str) -> bool:
    """Whether a text is an origin as browsers send it: a scheme and a host, in lower case."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    is_whole = text == f"{parts.scheme}://{parts.netloc}" == text.lower()
    return is_whole and bool(parts.scheme) and host_name(parts.netloc) is not None


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to a server that listens on the address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
