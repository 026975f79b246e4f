"""Chromium, driven by its DevTools protocol."""

import asyncio
import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip

WIDTHS = (360, 768, 1200, 1600)
"""Widths of windows, from a phone to a large screen, in pixels."""


class Tab:
    """One tab of a browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._last_id = 0
        self.problems: list[str] = []
        """Exceptions of scripts, and what the browser logged as an error."""

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol."""
        self._last_id += 1
        await self._socket.send_json(
            {"id": self._last_id, "method": method, "params": parameters}
        )  # fmt: skip
        while True:
            message = json.loads((await self._socket.receive()).data)
            if message.get("id") == self._last_id:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        entry = message.get("params", {}).get("entry", {})
        if message["method"] == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(message["params"]["exceptionDetails"]))
        elif message["method"] == "Log.entryAdded" and entry["level"] == "error":
            self.problems.append(f"{entry['text']} {entry.get('url', '')}")

    async def open(self, url: str) -> None:
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def run(self, script: str) -> Any:
        """The value of a JavaScript expression, which may be a promise."""
        result = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        while not await self.run(condition):
            await self.run("new Promise((done) => setTimeout(done, 20))")

    async def type(self, text: str) -> None:
        """Type into the element that has the focus."""
        await self.call("Input.insertText", text=text)

    async def press(self, key: str, code: int, shift: bool = False) -> None:
        """Press a key. code: its Windows key code."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code,
                modifiers=8 if shift else 0, **(text if kind == "keyDown" else {}),
            )  # fmt: skip

    async def look(self, width: int, scheme: str, motion: str = "no-preference") -> None:
        """Set the window's width and what the user prefers: `light` or `dark`, and motion."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1,
            mobile=width < 500,
        )  # fmt: skip
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": motion},
        ]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def overflowing_widths(self, selector: str = "html") -> list[int]:
        """The widths of windows in which the page or an element would scroll sideways, with all
        details open."""
        await self.run("document.querySelectorAll('details').forEach((e) => { e.open = true })")
        element, found = f"document.querySelector({json.dumps(selector)})", []
        for width in WIDTHS:
            await self.look(width, "light")
            page_width = await self.run("document.documentElement.scrollWidth")
            hidden_width = await self.run(f"{element}.scrollWidth - {element}.clientWidth")
            if page_width > width or hidden_width > 0:
                found.append(width)
        return found

    async def screenshot(self, path: Path) -> None:
        data = (await self.call("Page.captureScreenshot"))["data"]
        path.write_bytes(base64.b64decode(data))


@contextmanager
def start_browser(*arguments: str):
    """A browser with a new profile, as a process.

    Its temporary folder has a short path: the path of the socket there has 107 bytes at most.
    """
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [BROWSER, *FLAGS, f"--user-data-dir={profile}", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "TMPDIR": profile},
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@asynccontextmanager
async def open_tab():
    """A new browser with one empty tab."""
    with start_browser("--remote-debugging-port=0", "about:blank") as process:
        address = next(
            found[1]
            for line in process.stderr
            if (found := re.search(r"ws://([^/]+)/devtools", line))
        )
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{address}/json") as response:
                pages = [page for page in await response.json() if page["type"] == "page"]
            async with session.ws_connect(
                pages[0]["webSocketDebuggerUrl"], max_msg_size=0
            ) as socket:
                yield Tab(socket)


def overflowing_widths(*pages: Path) -> list[tuple[str, int]]:
    """The names of pages with the widths of windows in which they would scroll sideways."""

    async def visit() -> list[tuple[str, int]]:
        found = []
        async with open_tab() as tab:
            for page in pages:
                await tab.open(page.as_uri())
                found += [(page.name, width) for width in await tab.overflowing_widths()]
        return found

    return asyncio.run(visit())
