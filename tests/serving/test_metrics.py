"""The counters of /metrics."""

import pytest
from prometheus_client.parser import text_string_to_metric_families
from served import eventually, listening, one_step, open_tiny, post, raw, serving

from llmkit.serving.metrics import SECONDS
from llmkit.serving.security import Limits


@pytest.fixture
def served(tiny_gpt2):
    with serving(open_tiny(tiny_gpt2), Limits(max_new_tokens=20), max_rows=1) as served:
        yield served


def samples(served) -> dict:
    """(name, labels) -> value."""
    response = served.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name.removeprefix("llmkit_"), *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_requests_and_tokens_are_counted(served):
    answers = [
        served.complete([[5] * 7, [6] * 4], max_tokens=3).json(),
        served.complete([5] * 9, max_tokens=6, stream=False, seed=1, temperature=1, n=2).json(),
    ]
    served.complete([5], max_tokens=21)
    for path in ("/v1/none", "/v1/models/none", "/%00"):
        served.client.get(path)
    found = samples(served)
    usage = [answer["usage"] for answer in answers]
    assert found["prompt_tokens_total",] == 20 == sum(u["prompt_tokens"] for u in usage)
    assert found["completion_tokens_total",] == sum(u["completion_tokens"] for u in usage)
    assert found["requests_total", "/v1/completions", "200"] == 2
    assert found["requests_total", "/v1/completions", "400"] == 1
    assert found["requests_total", "404", "other"] == 3, "clients cannot make up labels"
    assert found["request_seconds_count", "/v1/completions"] == 3
    assert found["first_token_seconds_count",] == 2, "a refused request has no first token"
    assert 0 < found["first_token_seconds_sum",] <= found["request_seconds_sum", "/v1/completions"]
    assert found["first_token_seconds_bucket", "+Inf"] == 2
    assert samples(served)["requests_total", "/metrics", "200"] == 1


def test_the_batch_and_the_queue_are_shown_while_requests_run(served):
    with listening(served) as url, raw(url) as connection:
        with one_step(served.service.engine):
            connection.sendall(post({"prompt": ["a", "b", "c"], "max_tokens": 20}))
            eventually(lambda: any(job.is_started for job in list(served.service.jobs)))
            found = samples(served)
            assert (found["running",], found["waiting",]) == (1, 2)
            assert found["completion_tokens_total",] == 0
        eventually(lambda: samples(served)["completion_tokens_total",] > 0)
    found = samples(served)
    assert (found["running",], found["waiting",]) == (0, 0)


def test_tokens_of_a_client_that_left_are_counted_too(served):
    with listening(served) as url, one_step(served.service.engine):
        with raw(url) as connection:
            connection.sendall(post({"prompt": "a", "max_tokens": 20, "stream": True}))
            eventually(lambda: any(job.is_started for job in list(served.service.jobs)))
        eventually(lambda: samples(served)["completion_tokens_total",] == 1)


def test_times_reach_as_far_as_the_default_timeout():
    assert max(SECONDS) >= Limits().timeout
    assert list(SECONDS) == sorted(SECONDS)
