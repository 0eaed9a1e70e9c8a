"""A file with a preset of the simulator, as `headrace engine calibrate` writes it. No reading."""

from pydantic import Field

from headrace.config.section import Seconds, Section


class CostSheet(Section):
    """The coefficients of an iteration's time, in ms."""

    weights: float = Field(ge=0, description="Least time of an iteration: reading the weights.")
    base: float = Field(ge=0, description="Of an iteration that computes more than it reads.")
    per_token: float = Field(ge=0, description="Of each token in the batch.")
    per_pair: float = Field(ge=0, description="Of each pair of a prompt's token and one before it.")
    per_sequence: float = Field(ge=0, description="Of each sequence that decodes.")
    per_kv_token: float = Field(ge=0, description="Of each token whose keys decoding reads.")
    host: float = Field(default=0.5, ge=0, description="Of each iteration, on the host.")


class PresetSheet(Section):
    """An engine on its hardware, for `headrace engine sim --preset FILE.yaml`."""

    name: str = Field(min_length=1, description="What it is called.")
    source: str = Field(min_length=1, description="Where the numbers come from.")
    cost: CostSheet = Field(description="What an iteration takes.")
    kv_tokens: int = Field(ge=16, description="Tokens the KV cache holds.")
    max_num_batched_tokens: int = Field(ge=1, description="Tokens in a batch at most.")
    max_num_seqs: int = Field(ge=1, description="Sequences in a batch at most.")
    start_s: Seconds = Field(default=60.0, description="Time to get ready.")
    request_ms: float = Field(
        default=0.0, ge=0, description="Of a request, beside iterations, before its first token."
    )
    block_size: int = Field(default=16, ge=1, le=1024, description="Tokens in a KV cache block.")
