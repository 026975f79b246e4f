"""The chat page: one HTML file with inline style and script."""

import base64
import hashlib
import html
import re
from pathlib import Path

from starlette.responses import HTMLResponse, Response

from llmkit.generation.chat_modes import message_kind
from llmkit.generation.session import GenerationSession

ASSETS = Path(__file__).parent / "assets"


class Page:
    """The chat page for one model, built once from the assets."""

    def __init__(self, model: str, session: GenerationSession) -> None:
        style, script = (_asset(name).strip() for name in ("chat.css", "chat.js"))
        parts = {
            "style": style, "script": script, "model": html.escape(model),
            "kind": kind_of(session), "task": html.escape(session.task.name),
        }  # fmt: skip
        self._html = re.sub(r"\{\{(\w+)\}\}", lambda mark: parts[mark[1]], _asset("chat.html"))
        self._policy = "; ".join(
            (
                "default-src 'none'",
                f"script-src {_source(script)}",
                f"style-src {_source(style)}",
                "connect-src 'self'",
                "img-src data:",  # the empty icon
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
            )
        )

    @property
    def response(self) -> Response:
        headers = {"content-security-policy": self._policy, "referrer-policy": "no-referrer"}
        return HTMLResponse(self._html, headers=headers)


def kind_of(session: GenerationSession) -> str:
    """How the page uses the model: `chat` sends the history, `label` and `prompt` send each message
    as an independent input, `text` continues a text."""
    kind = message_kind(session.task)
    if kind == "input":
        return "label" if session.labels else "prompt"
    return "chat" if kind == "turn" else "text"


def _source(content: str) -> str:
    """The source expression of a content security policy that allows only this inline content."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _asset(name: str) -> str:
    return (ASSETS / name).read_text("utf-8")
