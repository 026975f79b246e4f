"""A real server: the official client, concurrent clients, a token, and signals."""

import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx2
import openai
import pytest
from rows import TEXT
from served import listening, open_tiny, serving

from llmkit.serving.security import Access

PROMPTS = [text[:length] for text in TEXT[:3] for length in range(4, 12)]


@pytest.fixture(scope="module")
def client(tiny_gpt2):
    with serving(open_tiny(tiny_gpt2)) as served, listening(served) as url:
        yield openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def test_the_official_client_completes_and_streams(client):
    assert [model.id for model in client.models.list()] == ["tiny"]
    body = {"model": "tiny", "prompt": "The ferry", "temperature": 1, "seed": 3}
    whole = client.completions.create(**body)
    assert whole.choices[0].finish_reason in ("stop", "length")
    assert whole.usage.completion_tokens <= 8
    options = {"include_usage": True}
    parts = list(client.completions.create(**body, stream=True, stream_options=options))
    text = "".join(choice.text for part in parts for choice in part.choices)
    assert text == whole.choices[0].text
    assert parts[-1].usage == whole.usage
    with pytest.raises(openai.BadRequestError, match="unknown parameter"):
        client.completions.create(**body, extra_body={"max_token": 3})
    with pytest.raises(openai.NotFoundError, match="no model 'gpt-4o'"):
        client.completions.create(model="gpt-4o", prompt="a")


def test_the_official_client_chats(tiny_gpt2):
    with serving(open_tiny(tiny_gpt2, "chat")) as served, listening(served) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        messages = [{"role": "user", "content": "Who left?"}]
        body = {"model": "tiny", "messages": messages, "temperature": 1, "seed": 3}
        whole = client.chat.completions.create(**body, max_completion_tokens=12)
        (choice,) = whole.choices
        assert choice.message.role == "assistant"
        parts = client.chat.completions.create(**body, max_completion_tokens=12, stream=True)
        deltas = [part.choices[0].delta.content or "" for part in parts]
        assert "".join(deltas) == choice.message.content


def test_concurrent_clients_get_the_same_texts_as_single_clients(client):
    def ask(number: int) -> str:
        prompt, stream = PROMPTS[number], number % 2 == 1
        answer = client.completions.create(
            model="tiny", prompt=prompt, temperature=number % 3, seed=number, stream=stream,
            max_tokens=3 + number % 9,
        )  # fmt: skip
        parts = answer if stream else [answer]
        return "".join(part.choices[0].text for part in parts)

    alone = [ask(number) for number in range(len(PROMPTS))]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(len(PROMPTS)))) == alone


def test_a_server_with_a_token_requires_it(tiny_gpt2):
    token = "0123456789abcdef"
    access = Access("127.0.0.1", token)
    with serving(open_tiny(tiny_gpt2), access=access) as served, listening(served, access) as url:
        body = {"model": "tiny", "prompt": "a", "max_tokens": 1}
        client = openai.OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0)
        assert client.completions.create(**body).choices
        for wrong in ("0123456789abcdeg", token[:-1], f"{token}0", "é" * 16):
            headers = {"authorization": f"Bearer {wrong}".encode()}
            refused = httpx2.post(f"{url}/v1/completions", json=body, headers=headers)
            assert refused.status_code == 401
            assert refused.json()["error"]["code"] == "invalid_api_key"
        assert httpx2.get(f"{url}/metrics").status_code == 401
        assert httpx2.get(f"{url}/health").status_code == 200
        assert httpx2.get(f"{url}/").status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_lets_running_requests_finish(tiny_gpt2, tmp_path, subprocess_env, number, code):
    process, client = start(tiny_gpt2, tmp_path, subprocess_env)
    body = {"prompt": ["The"] * 10, "max_tokens": 120, "stream": True}
    with client.stream("POST", "/v1/completions", json=body) as stream:
        lines = stream.iter_lines()
        next(lines)
        process.send_signal(number)
        while (refused := client.get("/health")).status_code == 200:
            pass
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "stopping"
        assert [line for line in lines if line][-1] == "data: [DONE]"
    assert process.wait(60) == code
    assert "Traceback" not in process.stderr.read()


@pytest.mark.slow
def test_a_second_signal_exits_immediately(tiny_gpt2, tmp_path, subprocess_env):
    process, client = start(tiny_gpt2, tmp_path, subprocess_env)
    body = {"prompt": ["The"] * 60, "max_tokens": 120, "stream": True}
    with client.stream("POST", "/v1/completions", json=body) as stream:
        lines = stream.iter_lines()  # kept, since the end of the iterator closes the stream
        next(lines)
        process.send_signal(signal.SIGTERM)
        while client.get("/health").status_code == 200:
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143


def start(model, folder, environment):
    """Start a server in a separate process, with one row, and a client."""
    options = ("--model", model, "--port", "0", "--max-rows", "1")
    process = subprocess.Popen(
        [sys.executable, "-m", "llmkit", "serve", *options],
        cwd=folder, env={**environment, "OMP_NUM_THREADS": "1"}, text=True, stderr=subprocess.PIPE,
    )  # fmt: skip
    for line in process.stderr:
        if found := re.search(r"http://\S+?(?=;)", line):
            return process, httpx2.Client(base_url=found[0], timeout=120, verify=False)
    raise AssertionError("the server did not start")
