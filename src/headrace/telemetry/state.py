"""The metrics of the state that gateways share. Who reaches it is state/redis.py's."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# From a Redis beside us (0.2 ms) to the longest deadline.
SECONDS = (0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 10)


class StateMetrics:
    """Whether the state is up, and what its operations took; ``operation`` is a word of ours."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._up = Gauge(
            "headrace_state_up", "1 while the shared state answers, else 0.",
            ("state",), registry=registry,
        )  # fmt: skip
        self._errors = Counter(
            "headrace_state_errors_total", "Operations on the shared state that failed.",
            ("operation",), registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "headrace_state_operation_seconds", "Operations on the shared state that succeeded.",
            ("operation",), buckets=SECONDS, registry=registry,
        )  # fmt: skip

    def up(self, state: str, now: bool) -> None:
        self._up.labels(state).set(now)

    def failed(self, operation: str) -> None:
        self._errors.labels(operation).inc()

    def took(self, operation: str, seconds: float) -> None:
        self._seconds.labels(operation).observe(seconds)
