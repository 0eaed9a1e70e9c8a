"""The sections of simulated engines (`headrace engine sim`) and of what shall go wrong in them."""

from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from headrace.config.section import Seconds, Section
from headrace.config.surface import Surface

FaultKind = Literal[
    "slow", "hang", "full", "stuck", "die", "reset", "freeze", "error", "limit", "length",
    "garbage", "stale", "start",
]  # fmt: skip
FAULT_KINDS: tuple[str, ...] = get_args(FaultKind)


class Fault(Section):
    """Something that goes wrong in a simulated replica, for some time, for some requests."""

    kind: FaultKind = Field(
        description="What goes wrong; the page about the simulator says what each kind does."
    )
    share: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Share of requests (slow: of iterations, stale: of scrapes) that it hits.",
    )
    begin_s: float = Field(
        default=0.0, ge=0, le=86_400, description="Seconds until it begins, from when it is set."
    )
    duration_s: Seconds | None = Field(
        default=None, description="Seconds that it lasts; by default until it is cleared."
    )
    after_tokens: int | None = Field(
        default=None,
        ge=0,
        description="Tokens sent before it happens (die, freeze, garbage: 3 by default;"
        " error, reset: none).",
    )
    factor: float = Field(
        default=10.0, ge=0.01, le=10_000, description="How many times slower an iteration is."
    )
    status: int = Field(default=500, ge=500, le=599, description="Status of an error.")
    retry_after_s: int = Field(
        default=1, ge=0, le=86_400, description="Retry-After of a refusal by limit (429)."
    )
    replica: int | None = Field(
        default=None, ge=0, description="The only replica that has it, counted from 0."
    )

    @model_validator(mode="after")
    def _slow_start_ends(self) -> Self:
        if self.kind == "start" and self.duration_s is None:
            raise ValueError("a slow start needs `duration_s`, the seconds until it is healthy")
        return self


class Simulator(Section):
    """Replicas that look like vLLM, without a GPU (`headrace engine sim`)."""

    replicas: int = Field(default=1, ge=1, le=1024, description="Replicas in the one process.")
    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(
        default=8100,
        ge=0,
        le=65_535,
        description="Port of the first replica, the others follow; 0 picks free ones.",
    )
    model: str = Field(default="sim", min_length=1, description="Name of the model it serves.")
    preset: str = Field(
        default="l4-8b",
        description="The GPU and model class whose time it takes, see `headrace engine presets`;"
        " or a file that `headrace engine calibrate` wrote.",
    )
    speed: float = Field(
        default=1.0, gt=0, le=10_000, description="How many times faster than real its time is."
    )
    seed: int = Field(default=0, description="Equal seeds give equal answers and equal faults.")
    answer_tokens: int = Field(
        default=128, ge=1, description="Mean length of an answer that may end by itself."
    )
    max_model_len: int = Field(default=8192, ge=16, description="Longest prompt plus answer.")
    max_num_seqs: int | None = Field(
        default=None, ge=1, description="Sequences in a batch at most; by default the preset's."
    )
    max_num_batched_tokens: int | None = Field(
        default=None, ge=1, description="Tokens in a batch at most; by default the preset's."
    )
    kv_tokens: int | None = Field(
        default=None, ge=16, description="Tokens the KV cache holds; by default the preset's."
    )
    max_num_queued_reqs: int | None = Field(
        default=None, ge=0, description="Unfinished requests at most, others get 503; as vLLM's."
    )
    max_num_queued_tokens: int | None = Field(
        default=None,
        ge=0,
        description="Prompt tokens before their first answer token at most, others get 503.",
    )
    block_size: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Tokens in a KV cache block; by default the preset's, 16 for GPUs.",
    )
    enable_prefix_caching: bool = Field(
        default=True, description="Whether prompts that begin alike share blocks."
    )
    enable_prompt_tokens_details: bool = Field(
        default=True, description="Whether usage says how many prompt tokens were cached."
    )
    shutdown_timeout_s: float = Field(
        default=0.0,
        ge=0,
        le=3600,
        description="On SIGTERM, running requests get this long and new ones 500, as with vLLM's"
        " --shutdown-timeout; 0 breaks all of them.",
    )
    wake_s: float = Field(
        default=0.5, ge=0, le=600, description="Seconds of its time to wake from sleep."
    )
    reload_s: float = Field(
        default=5.0,
        ge=0,
        le=600,
        description="Seconds of its time to read weights that it dropped.",
    )
    surface: Surface = Field(
        default_factory=Surface, description="What routers see; mostly for benchmarks."
    )
    faults: tuple[Fault, ...] = Field(default=(), description="What goes wrong, one entry each.")
