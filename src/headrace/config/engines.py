"""The engines that Headrace starts itself, and the settings of each kind. No starting here."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from headrace.config.section import Seconds, Section

KINDS = ("vllm", "llamacpp", "sim")
REMOTE = ("s3://", "gs://", "az://")  # addresses that vLLM's own loaders read

Count = Annotated[int, Field(ge=1)]
FULL_AT = 64  # requests at a replica, where its own limit is not known


class Vllm(Section):
    """What an engine of type ``vllm`` is started with. What is not given is left to vLLM."""

    command: tuple[str, ...] = Field(
        default=("vllm", "serve"),
        min_length=1,
        description="How vLLM is run; also [PYTHON, -m, vllm.entrypoints.openai.api_server].",
    )
    env: dict[str, SecretStr] = Field(
        default={}, description="Environment variables for it, on top of our own; never shown."
    )
    dtype: str | None = Field(default=None, description="Type of weights and activations.")
    quantization: str | None = Field(
        default=None, description="How the weights are quantized, for example awq_marlin or fp8."
    )
    load_format: str | None = Field(
        default=None, description="How the weights are read, for example runai_streamer."
    )
    max_model_len: Count | None = Field(default=None, description="Longest prompt plus answer.")
    max_num_seqs: Count | None = Field(
        default=None, description="Requests it runs at the same time."
    )
    max_num_batched_tokens: Count | None = Field(
        default=None, description="Tokens in one step over all requests."
    )
    gpu_memory_utilization: float | None = Field(
        default=None, gt=0, le=1, description="Share of each GPU's memory that it may take."
    )
    kv_cache_dtype: str | None = Field(
        default=None, description="Type of the KV cache, for example fp8."
    )
    tensor_parallel_size: int = Field(default=1, ge=1, description="GPUs that share each layer.")
    pipeline_parallel_size: int = Field(
        default=1, ge=1, description="Groups of GPUs that share out the layers."
    )
    gpus: tuple[int, ...] = Field(
        default=(),
        description="GPUs it may use, by number; replicas share them out. By default all.",
    )
    enable_prefix_caching: bool | None = Field(
        default=None, description="Whether prompts that begin alike are computed once."
    )
    enable_chunked_prefill: bool | None = Field(
        default=None, description="Whether long prompts are computed in parts."
    )
    enforce_eager: bool = Field(
        default=False, description="Start sooner and answer slower: no CUDA graphs, no compiling."
    )
    enable_sleep_mode: bool = Field(
        default=False,
        description="Whether it can be put to sleep to free the GPU's memory. When idle it is,"
        " where `min` allows that.",
    )
    sleep_level: int = Field(
        default=1,
        ge=1,
        le=2,
        description="1 keeps the weights in main memory, 2 drops them and reads them anew.",
    )
    speculative_config: dict[str, Any] = Field(
        default={}, description="Speculative decoding, for example {method: ngram, ...}."
    )
    kv_events_config: dict[str, Any] = Field(
        default={}, description="Where it tells which blocks its prefix cache holds."
    )
    lora_modules: dict[str, str] = Field(
        default={}, description="LoRA adapters: the name that clients use, and its folder."
    )
    max_lora_rank: Count | None = Field(default=None, description="Largest rank of an adapter.")
    enable_auto_tool_choice: bool = Field(
        default=False, description="Whether the model may decide to call a tool."
    )
    tool_call_parser: str | None = Field(
        default=None, description="How tool calls are found in its text, for example hermes."
    )
    reasoning_parser: str | None = Field(
        default=None, description="How reasoning is found in its text, for example qwen3."
    )
    extra_args: tuple[str, ...] = Field(
        default=(), description="Further options, as on vLLM's command line; they come last."
    )

    @field_validator("tool_call_parser")
    @classmethod
    def _parser_is_used(cls, parser: str | None, info: Any) -> str | None:
        if parser and not info.data.get("enable_auto_tool_choice"):
            raise ValueError("is not used by vLLM unless `enable_auto_tool_choice` is true")
        return parser

    @property
    def gpus_each(self) -> int:
        """GPUs that one replica needs."""
        return self.tensor_parallel_size * self.pipeline_parallel_size


class LlamaCpp(Section):
    """What an engine of type ``llamacpp`` is started with."""

    context_length: int = Field(default=8192, ge=256, description="Tokens of context per slot.")
    slots: int = Field(default=4, ge=1, le=256, description="Requests it runs at the same time.")
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads; by default one less than there are cores."
    )
    gpu_layers: int | None = Field(
        default=None, ge=0, description="Layers on the GPU, where llama.cpp was built for one."
    )
    mmproj: Path | None = Field(
        default=None, description="The GGUF file that lets the model see; comes with the model."
    )
    embeddings: bool = Field(default=False, description="Whether it answers /v1/embeddings, too.")
    pooling: Literal["mean", "cls", "last"] | None = Field(
        default=None, description="How embeddings are made of tokens; by default as the model says."
    )


class Sim(Section):
    """What an engine of type ``sim``, the simulated vLLM, is started with."""

    preset: str | None = Field(
        default=None,
        description="GPU and model that it behaves like; see `headrace engine presets`. Or a file"
        " that `headrace engine calibrate` wrote.",
    )
    speed: float = Field(default=1.0, gt=0, description="Simulated seconds per second.")
    seed: int = Field(default=0, ge=0, description="The same seed gives the same answers.")
    enable_sleep_mode: bool = Field(
        default=False, description="Whether it is put to sleep when idle, as vLLM can be."
    )
    sleep_level: int = Field(default=1, ge=1, le=2, description="Like that of vLLM.")
    extra_args: tuple[str, ...] = Field(
        default=(), description="Further options of `headrace engine sim`."
    )


class LocalEngine(Section):
    """An engine that Headrace starts on this machine and starts again when it dies."""

    type: Literal["vllm", "llamacpp", "sim"] = Field(
        description="Which program; its settings are in the section of the same name."
    )
    name: str = Field(
        default="",
        description="Name in logs and metrics; by default that of the model. Replicas add -0, -1.",
    )
    model: str | None = Field(
        default=None,
        description="A folder, s3:// or a hub's name (vllm), a GGUF file (llamacpp), or any name"
        " (sim).",
    )
    serves: tuple[str, ...] = Field(
        default=(), description="Names clients use for the model; by default one made of `model`."
    )
    replicas: int = Field(default=1, ge=1, le=64, description="How many of it run at most.")
    min: int | None = Field(
        default=None,
        ge=0,
        description="How many of them run when nobody calls; 0 is allowed. By default all.",
    )
    idle_stop_s: Seconds = Field(
        default=300.0,
        description="A replica above `min` without a request for so long is stopped, or sleeps.",
    )
    full_at: Count | None = Field(
        default=None,
        description="Requests at each running replica at which another one is started; by default"
        " what one runs at the same time, where that is set, else 64.",
    )
    port: int = Field(
        default=0,
        ge=0,
        le=65_535,
        description="Its loopback port, the next replica's is one higher; 0 picks free ones.",
    )
    start_s: Seconds = Field(default=600.0, description="Time to get ready before giving up.")
    stop_s: Seconds = Field(default=10.0, description="Time to end by itself when told to.")
    log: bool = Field(default=True, description="Whether what it prints goes into our log.")
    vllm: Vllm = Vllm()
    llamacpp: LlamaCpp = LlamaCpp()
    sim: Sim = Sim()

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        strange = sorted(self.model_fields_set & set(KINDS) - {self.type})
        if strange:
            raise ValueError(
                f"has the section `{strange[0]}`, which an engine of type {self.type} does not read"
            )
        if self.model is None and self.type != "llamacpp":
            raise ValueError(f"needs a `model`, as every engine of type {self.type} does")
        if self.min is not None and self.min > self.replicas:
            raise ValueError(f"has `min` {self.min}, which is more than `replicas` {self.replicas}")
        return self

    @property
    def least(self) -> int:
        """Replicas that run when nobody calls."""
        return self.replicas if self.min is None else self.min

    @property
    def elastic(self) -> bool:
        """Whether replicas come and go with the calls."""
        return self.least < self.replicas

    @property
    def slots(self) -> int:
        """Requests at each replica at which another one is started."""
        if self.type == "llamacpp":
            return self.full_at or self.llamacpp.slots
        return self.full_at or self.vllm.max_num_seqs or FULL_AT

    @property
    def sleep_level(self) -> int:
        """How deep an idle replica sleeps; 0: it is stopped instead."""
        kinds: dict[str, Vllm | Sim] = {"vllm": self.vllm, "sim": self.sim}
        kind = kinds.get(self.type)
        if kind is None or not (self.elastic and kind.enable_sleep_mode):
            return 0
        return kind.sleep_level

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the catalogue that each replica serves: the model, and its adapters."""
        return (self.names[0], *self.vllm.lora_modules)

    @property
    def names(self) -> tuple[str, ...]:
        """The names clients use; the first is the model's own."""
        return self.serves or (self.title,)

    @property
    def title(self) -> str:
        """A name for the model, made of where it lies."""
        if self.model is None:
            return "SmolLM2-135M-Instruct"
        path = self.model.rstrip("/")
        if self.type == "vllm" and not path.startswith((*REMOTE, "/", ".", "~")):
            return path  # a name of the hub, owner/model
        last = path.rpartition("/")[2]
        return last.removesuffix(".gguf")

    @property
    def replica_names(self) -> tuple[str, ...]:
        """One name for each replica."""
        name = self.name or self.names[0].rpartition("/")[2]
        if self.replicas == 1:
            return (name,)
        return tuple(f"{name}-{number}" for number in range(self.replicas))
