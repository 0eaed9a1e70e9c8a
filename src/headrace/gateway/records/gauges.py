"""What a gateway holds at this moment, as gauges for a scrape. What it counted is telemetry's."""

from headrace.fleet.registry import Fleet
from headrace.gateway.place.placement import Placement
from headrace.telemetry.metrics import Gauges


def gauges(fleet: Fleet, placement: Placement, connections: int, held_bytes: int) -> Gauges:
    """The values of now; asked for at every scrape."""
    replicas = tuple(fleet.replicas.values())
    requests = {replica.name: float(replica.inflight_requests) for replica in replicas}
    tokens = {replica.name: float(replica.inflight_tokens) for replica in replicas}
    groups = {model: float(len(group.replicas)) for model, group in fleet.groups.items()}
    held = {model: float(group.hold.requests) for model, group in fleet.groups.items()}
    waiting = {name: float(m.pool.waiting) for name, m in placement.models.items()}
    return {
        "headrace_replica_inflight_requests": ("Requests at a replica.", "replica", requests),
        "headrace_replica_inflight_tokens": ("Estimated tokens at a replica.", "replica", tokens),
        "headrace_model_replicas": ("Replicas that serve a model.", "model", groups),
        "headrace_held_requests": (
            "Requests that wait for a model's first replica.",
            "model",
            held,
        ),
        "headrace_waiting_requests": (
            "Requests that wait for room at a replica.",
            "model",
            waiting,
        ),
        "headrace_index_blocks": (
            "Blocks of prompts that a replica is believed to have cached.",
            "replica",
            placement.held(),
        ),
        "headrace_client_connections": (
            "Open client connections.",
            "",
            {"": float(connections)},
        ),
        "headrace_inflight_bytes": (
            "Request bytes held in memory.",
            "",
            {"": float(held_bytes)},
        ),
    }
