"""How replicas are chosen, and how requests wait for them. What it computes is routing/'s."""

from typing import Literal

from pydantic import Field

from headrace.config.section import MIB, Section

Policy = Literal[
    "lowest_cost",
    "prefix",
    "consistent_hash",
    "power_of_two",
    "least_tokens",
    "least_requests",
    "round_robin",
    "random",
]


class Routing(Section):
    """Which replica answers: the policy, its weights, and the central queue of each model."""

    policy: Policy = Field(
        default="lowest_cost",
        description="How a replica is chosen. Only `lowest_cost` knows times, and lets requests"
        " wait here for the replica that is worth it; all others send at once.",
    )
    order: Literal["fast", "balanced", "fair"] = Field(
        default="balanced",
        description="Who goes first when requests wait: `fast` the shortest prefill, and only where"
        " its KV fits; `balanced` the same but aged by the wait; `fair` who came first.",
    )
    kappa: float = Field(
        default=3.0,
        ge=0,
        le=100,
        description="How many times a prefill's own time is charged for delaying those who come"
        " next; more holds on to cached prefixes longer.",
    )
    slowdown: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="Weight of the time that running answers lose; more spreads decodes wider.",
    )
    sticky_ms: float = Field(
        default=20.0,
        ge=0,
        le=60_000,
        description="What it costs to leave the replica that a session is used to; 0 forgets it.",
    )
    session_header: str = Field(
        default="x-session-id",
        pattern=r"^[a-z0-9-]{1,64}$",
        description="The header, in lower case, that names a client's session; else `user` in the"
        " body does.",
    )
    session_cookie: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="A cookie that names it when the header does not. By default none.",
    )
    gate_tokens: int = Field(
        default=16_384,
        ge=256,
        le=10_000_000,
        description="A replica gets no further request while so many tokens wait for prefill"
        " there: about twice the engine's `max_num_batched_tokens`.",
    )
    max_waiting: int = Field(
        default=10_000,
        ge=0,
        description="Requests that wait for room at most, for each model, over all classes; then"
        " the answer is 503, or one of a lower class makes way.",
    )
    index_bytes: int = Field(
        default=256 * MIB,
        ge=MIB,
        description="Memory for what replicas have cached; the least recently used is forgotten.",
    )
    seed: int = Field(
        default=0, ge=0, description="For the policies that draw lots: equal seeds draw equally."
    )
