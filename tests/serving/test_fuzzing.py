"""Malformed and hostile requests: the server does not fail, and touches no file."""

import json
import random
import string
from collections import Counter

import pytest
from file_access import HAS_COUNTS, file_accesses
from served import open_tiny, serving
from tokenizers import Tokenizer

from llmkit.serving.body import IGNORED, UNSUPPORTED, ChatBody, CompletionBody
from llmkit.serving.security import Limits

FEW, MANY = 250, 20_000
LIMITS = Limits(max_body_bytes=4000, max_new_tokens=2, max_queue=40)
PATHS = ("/v1/completions", "/v1/chat/completions")
OTHER_PATHS = (
    "/", "/health", "/metrics", "/v1/models", "/v1/models/tiny", "/v1", "/%00", "/%ff%fe", "/..%2f",
    "/../../etc/passwd", "/v1/models/..%2f..%2fetc", "/?a=%00", "/v1/completions/", "/\u20ac",
)  # fmt: skip
METHODS = ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "POST", "BREW")
FIELDS = {*CompletionBody.model_fields, *ChatBody.model_fields}
NAMES = sorted({*FIELDS, *IGNORED, *UNSUPPORTED, "schema", "__proto__"})
TEXTS = (
    "", " ", "\n", "\0",
    "The ferry", "<|endoftext|>", "\u202e\ufeff", "é" * 50, "😀👩‍👩‍👧", "a" * 900,
    "\ud800", "${jndi:ldap://x}", "{text}", "../../etc/passwd", "user", "assistant", "system",
    "text", "json_schema", "[a-z]+", "(a*)*b", "(", "\\",
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2, 0.5, 1e-9, 1e308, -1e308, 2**31, 2**63, 2**64, -(2**63), 10**40, float("nan"),
    float("inf"), -float("inf"), True, False,
)  # fmt: skip
CONTENT_TYPES = (
    "application/json", "application/json; charset=utf-8", "application/json;", "text/plain",
    "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "", "\x7f", "a/b/c",
)  # fmt: skip
HEADERS = (
    ("host", "evil.example"), ("host", ""), ("host", "127.0.0.1:99999999"), ("host", "[::1"),
    ("origin", "null"), ("origin", "http://127.0.0.1:8000"), ("origin", "\xff"),
    ("authorization", "Bearer " + "x" * 500), ("content-encoding", "gzip"),
    ("content-length", "-1"), ("content-length", "9" * 400), ("content-length", "x"),
    ("transfer-encoding", "gzip, chunked"), ("expect", "100-continue"), ("accept", "\0"),
    ("x-forwarded-for", "1.2.3.4"), ("cookie", "a" * 2000), ("upgrade", "websocket"),
    ("range", "bytes=0-"), ("access-control-request-method", "POST"),
)  # fmt: skip


@pytest.fixture(scope="module")
def served(tiny_gpt2):
    with serving(open_tiny(tiny_gpt2, "chat", max_new_tokens=2), LIMITS, max_rows=8) as served:
        yield served


def value(rng: random.Random, depth: int = 0):
    """A JSON value, sometimes slightly invalid."""
    kind = rng.randrange(8 if depth < 3 else 4)
    if kind == 0:
        return rng.choice(TEXTS)
    if kind == 1:
        return rng.choice(NUMBERS)
    if kind == 2:
        return "".join(rng.choices(string.printable, k=rng.randrange(20)))
    if kind == 3:
        return rng.choice([None, [], {}, rng.randrange(-5, 400)])
    if kind == 4:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 5:
        return [rng.choice(NUMBERS[:4])] * rng.randrange(200)
    return {rng.choice((*NAMES, *TEXTS)): value(rng, depth + 1) for _ in range(rng.randrange(4))}


def body(rng: random.Random, path: str) -> dict:
    """The fields of a request, most of them valid."""
    fields = {"max_tokens": rng.choice([1, 2])}
    if (path == PATHS[0]) != (rng.random() < 0.1):
        fields["prompt"] = rng.choice([*TEXTS, [1, 2, 3], ["a", "b"], [[1], [2]]])
    else:
        roles = ["system"] * rng.randrange(2) + ["user", "assistant"] * rng.randrange(3) + ["user"]
        if rng.random() < 0.2:
            rng.shuffle(roles)
            del roles[rng.randrange(len(roles) + 1) :]
        fields["messages"] = [{"role": role, "content": rng.choice(TEXTS)} for role in roles]
    for _ in range(rng.randrange(3)):
        fields[rng.choice(NAMES)] = value(rng)
    if rng.random() < 0.1:
        fields["messages"] = [value(rng, 1) for _ in range(3)]
    return fields


def content(rng: random.Random, path: str) -> bytes:
    """The bytes of a body: JSON, damaged JSON, or none."""
    fields, is_ascii = body(rng, path), rng.random() < 0.5
    text = json.dumps(fields, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    kind = rng.randrange(12)
    if kind == 0:
        return rng.randbytes(rng.randrange(200))
    if kind == 1:
        return text[: rng.randrange(len(text))]
    if kind == 2:
        return rng.choice(
            [b"[" * 3000, b'{"a":' * 600, b"9" * 3000, b'"' + b"\\u0000" * 400 + b'"']
        )
    if kind == 3:
        return text + rng.choice([b"\0", b"}", text, b" " * 4000])
    if kind == 4:
        position = rng.randrange(len(text))
        return text[:position] + rng.randbytes(1) + text[position + 1 :]
    return text


def hostile_request(rng: random.Random) -> dict:
    """The arguments of `client.request`."""
    headers = {"content-type": "application/json"}
    if rng.random() < 0.1:
        headers["content-type"] = rng.choice(CONTENT_TYPES)
    for _ in range(rng.choice([0, 0, 0, 1, 2])):
        name, text = rng.choice(HEADERS)
        headers[name] = text
    raw = [(name.encode(), text.encode("latin-1")) for name, text in headers.items()]
    is_other = rng.random() < 0.15
    path = rng.choice(OTHER_PATHS if is_other else PATHS)
    data = content(rng, path)
    if rng.random() < 0.1:
        data = iter([data[i : i + 50] for i in range(0, len(data), 50)])  # chunked
    return {
        "method": rng.choice(METHODS) if is_other else "POST",
        "url": path,
        "headers": raw,
        "content": data,
        "follow_redirects": False,
    }


def warm_up(served) -> None:
    """Send one valid request of each kind, because Python reads a module when it is first used."""
    for path in ("/", "/health", "/metrics", "/v1/models", "/v1/missing"):
        served.client.get(path)
    for body in ({}, {"stream": True}, {"regex": "[ab]"}, {"temperature": 1.0, "seed": 1}):
        assert served.complete("The ferry", **body).status_code == 200
        assert served.chat("Who left?", **body).status_code == 200


def send_hostile(served, count: int, seed: int) -> None:
    warm_up(served)
    rng = random.Random(seed)
    statuses: Counter[int] = Counter()
    with file_accesses() as accesses:
        for number in range(count):
            request = hostile_request(rng)
            response = served.client.request(**request)
            status = response.status_code
            statuses[status] += 1
            assert status < 500, (number, request, response.text)
            if status >= 400 and request["method"] != "HEAD":
                (error,) = response.json().values()
                assert list(error) == ["message", "type", "param", "code"]
                assert len(response.content) < 1500
            assert not accesses, (number, request)
    assert not accesses
    assert not served.service.jobs
    assert {200, 400, 403, 404, 405, 413, 415} <= set(statuses)
    assert min(statuses[200], statuses[400]) > count / 20  # neither too tame nor too wild
    response = served.complete("The ferry", max_tokens=2)
    assert response.status_code == 200


def test_files_read_or_written_are_noticed(tiny_gpt2, tmp_path):
    with file_accesses() as accesses:
        (tmp_path / "file").write_text("a")
    assert any("file" in access for access in accesses)
    with file_accesses() as accesses:
        Tokenizer.from_file(str(tiny_gpt2 / "tokenizer.json"))  # native code
    assert accesses or not HAS_COUNTS
    with file_accesses() as accesses:
        pass
    assert not accesses


def test_hostile_requests_are_answered(served):
    send_hostile(served, FEW, seed=0)


@pytest.mark.slow
def test_many_hostile_requests_are_answered(served):
    send_hostile(served, MANY, seed=1)
