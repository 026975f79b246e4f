"""Prometheus metrics, served at /metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from llmkit.serving.engine_thread import EngineThread

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The metrics of one server."""

    def __init__(self, engine: EngineThread) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "llmkit_requests", "HTTP requests", ["path", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "llmkit_request_seconds", "Time from the request header to the end of the response",
            ["path"], buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.first_token_seconds = Histogram(
            "llmkit_first_token_seconds", "Time from the request body to the first token",
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.prompt_tokens = Counter(
            "llmkit_prompt_tokens", "Prompt tokens", registry=registry
        )  # fmt: skip
        self.completion_tokens = Counter(
            "llmkit_completion_tokens", "Generated tokens", registry=registry
        )
        running = Gauge("llmkit_running", "Completions in the batch", registry=registry)
        running.set_function(lambda: engine.num_running)
        waiting = Gauge(
            "llmkit_waiting", "Completions waiting for a slot in the batch", registry=registry
        )
        waiting.set_function(lambda: engine.num_waiting)

    def render(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self._registry)
