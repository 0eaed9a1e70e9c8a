"""How a message of Envoy's is written in its YAML. What the messages are is in the other files."""

from typing import Any


def typed(name: str, **fields: Any) -> dict[str, Any]:
    """A message with its type: ``typed("config.trace.v3.OpenTelemetryConfig", ...)``."""
    return {"@type": f"type.googleapis.com/envoy.{name}", **fields}


def seconds(value: float) -> str:
    """A duration as protobuf's JSON writes it."""
    return f"{value:.9f}".rstrip("0").rstrip(".") + "s"
