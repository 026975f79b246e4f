"""The chat page: its content security policy, and its behavior in a real browser."""

import asyncio
import base64
import hashlib
import re

import pytest
from browser import BROWSER, open_tab
from served import Served, eventually, listening, one_step, open_tiny, serving

from llmkit.serving.page import Page
from llmkit.serving.security import Access

needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
ENTER, ESCAPE = ("Enter", 13), ("Escape", 27)
LABELS = ("bad", "good")
TOKEN = "0123456789abcdef"
TURNS = (
    "[...document.querySelectorAll('#turns > li')].map((e) => "
    "[e.className, e.querySelector('.said').textContent])"
)
IS_IDLE = "!document.getElementById('send').disabled"
HOSTILE = "<img src=x onerror=alert(1)></textarea><script>alert(1)</script>"
# Ratios of the contrast (WCAG 2) between each visible text and what is behind it, below 4.5.
FAINT_TEXTS = """
(() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = (color) => channels(color).slice(0, 3).reduce((sum, c, i) => {
    const s = c / 255;
    return sum + [0.2126, 0.7152, 0.0722][i] * (s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4);
  }, 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor;
      if ((channels(color)[3] ?? 1) > 0) return color;
    }
  };
  const texts = [...document.querySelectorAll("h1, p, label, small, summary, .said, button")];
  return texts.filter((e) => e.textContent.trim() && e.checkVisibility() && !e.disabled)
    .map((e) => {
      const pair = [luminance(getComputedStyle(e).color), luminance(ground(e))];
      return [e.textContent, (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)];
    }).filter(([, ratio]) => ratio < 4.5);
})()
"""  # noqa: E501


@pytest.fixture(scope="module")
def chatting(tiny_gpt2):
    session = open_tiny(tiny_gpt2, "chat", max_new_tokens=20)
    with serving(session) as served, listening(served) as url:
        yield served, url


def answer_to(served: Served, *turns, **body) -> str:
    return served.chat(*turns, **body).json()["choices"][0]["message"]["content"]


async def ask(tab, text: str) -> None:
    await tab.run("document.getElementById('text').focus()")
    await tab.type(text)
    await tab.press(*ENTER)


def test_the_page_allows_only_its_own_script_and_style(chatting):
    response = chatting[0].client.get("/")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", response.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.search(r"\son\w+=|(src|href)=\"(?!data:,)|style=|@import|url\(", response.text)
    assert len(response.content) < 30_000


@needs_browser
def test_a_conversation_in_a_browser(chatting):
    served, url = chatting

    async def converse():
        async with open_tab() as tab:
            await tab.look(1000, "light")
            await tab.open(url)
            assert await tab.run("document.activeElement.id") == "text"
            await tab.type("Who left?")
            await tab.press(*ENTER, shift=True)
            assert await tab.run(TURNS) == []
            await tab.type("Tell me.")
            await tab.press(*ENTER)
            await tab.until(f"{IS_IDLE} && document.querySelectorAll('#turns > li').length === 2")
            first = answer_to(served, "Who left?\nTell me.")
            turns = [["user", "Who left?\nTell me."], ["model", first]]
            assert await tab.run(TURNS) == turns
            await ask(tab, HOSTILE)
            await tab.until(f"{IS_IDLE} && document.querySelectorAll('#turns > li').length === 4")
            second = answer_to(served, "Who left?\nTell me.", ("assistant", first), HOSTILE)
            assert await tab.run(TURNS) == [*turns, ["user", HOSTILE], ["model", second]]
            await tab.run("document.getElementById('reset').click()")
            assert await tab.run(TURNS) == []
            await ask(tab, "Who?")
            await tab.until(f"{IS_IDLE} && document.querySelectorAll('#turns > li').length === 2")
            assert await tab.run(TURNS) == [["user", "Who?"], ["model", answer_to(served, "Who?")]]
            assert tab.problems == []

    asyncio.run(converse())


@needs_browser
def test_an_answer_can_be_stopped_and_errors_are_shown(chatting):
    served, url = chatting

    async def interrupt():
        async with open_tab() as tab:
            await tab.look(1000, "dark", motion="reduce")
            await tab.open(url)
            for stop in ("document.getElementById('stop').click()", None):
                with one_step(served.service.engine):
                    await ask(tab, "Who?")
                    await tab.until("document.querySelector('.working') !== null")
                    assert await tab.run("!document.getElementById('stop').disabled")
                    blink = "getComputedStyle(document.querySelector('.working .said'), '::after')"
                    assert await tab.run(f"{blink}.animationName") == "none"
                    await (tab.run(stop) if stop else tab.press(*ESCAPE))
                    await tab.until(IS_IDLE)
                    eventually(lambda: not served.service.jobs)
                assert await tab.run("document.querySelector('.note').textContent") == "Stopped."
                await tab.run("document.getElementById('reset').click()")
            served.service.is_draining = True
            try:
                await ask(tab, "Who left?")
                await tab.until("!document.getElementById('error').hidden")
            finally:
                served.service.is_draining = False
            shown = await tab.run("document.getElementById('error').textContent")
            assert shown == "the server is stopping"
            assert await tab.run(TURNS) == []
            assert await tab.run("document.getElementById('text').value") == "Who left?"
            await tab.press(*ENTER)  # once more
            await tab.until(f"{IS_IDLE} && document.querySelectorAll('#turns > li').length === 2")
            assert await tab.run("document.getElementById('error').hidden")

    asyncio.run(interrupt())


@needs_browser
def test_the_page_is_readable_for_every_kind_of_model(tiny_gpt2):
    kinds = (("chat", ()), ("classify", LABELS), ("summarize", ()), ("pretrain", ()))

    async def visit(tab, url, labels):
        await tab.open(url)
        await ask(tab, "The ferry left. " * 4 + "x" * 60)
        await tab.until(f"{IS_IDLE} && document.querySelector('#turns > li') !== null")
        await tab.run("document.querySelector('.said').append('x'.repeat(400))")
        assert await tab.overflowing_widths("#turns") == []
        for width, scheme in ((360, "light"), (360, "dark"), (1200, "light")):
            await tab.look(width, scheme)
            assert await tab.run(FAINT_TEXTS) == []
        unlabelled = "[...document.querySelectorAll('input, textarea')].filter((e) => "
        assert await tab.run(f"{unlabelled} !e.labels.length).length") == 0
        assert await tab.run("document.querySelectorAll('table tr').length") == len(labels)
        assert await tab.run("document.getElementById('error').hidden"), await tab.run(TURNS)
        assert tab.problems == []

    async def give_token(tab, url):
        await tab.open(url)
        await ask(tab, "Who?")
        await tab.until(f"{IS_IDLE} && document.activeElement.id === 'token'")
        assert "a token is required" in await tab.run(
            "document.getElementById('error').textContent"
        )
        await tab.type(TOKEN)
        await tab.run("document.getElementById('text').focus()")
        await tab.press(*ENTER)  # the text was kept
        await tab.until(f"{IS_IDLE} && document.querySelectorAll('#turns > li').length === 1")

    async def visit_all():
        async with open_tab() as tab:
            for task, labels in kinds:
                session = open_tiny(tiny_gpt2, task, labels)
                with serving(session) as served, listening(served) as url:
                    await visit(tab, url, labels)
            access = Access("127.0.0.1", TOKEN)
            with serving(session) as served, listening(served, access) as url:
                await give_token(tab, url)

    asyncio.run(visit_all())


def test_the_page_escapes_model_names(tiny_gpt2):
    page = Page(HOSTILE, open_tiny(tiny_gpt2, "chat")).response.body.decode()
    assert page.count("<script>") == 1
    assert "<h1>&lt;img src=x" in page
