"""The section of what simulated replicas show to routers, and of what their texts stand for."""

from typing import Literal

from pydantic import Field

from headrace.config.section import Section


class Surface(Section):
    """What simulated replicas show to routers in front of them, and what their texts stand for."""

    token_scale: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="Tokens of the engine that one of text stands for, in prompts and in answers:"
        " short texts take the time of long ones.",
    )
    stream_interval: int = Field(
        default=1, ge=1, description="Tokens from one chunk of a stream to the next; as vLLM's."
    )
    early_headers: bool = Field(
        default=False,
        description="Whether a stream's headers are sent at once, as vLLM does, instead of"
        " with the first token.",
    )
    get_load: Literal["none", "object", "array"] = Field(
        default="none",
        description="What `/get_load` answers: nothing, as vLLM; an object for vllm-router, or"
        " SGLang's array for sglang-router.",
    )
    kv_events: bool = Field(
        default=False, description="Whether changes of the prefix cache are published over ZeroMQ."
    )
    kv_events_port: int = Field(
        default=0,
        ge=0,
        le=65_535,
        description="Port of the first replica's events, the others follow; 0 picks free ones.",
    )
