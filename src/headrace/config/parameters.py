"""
What clients may ask of engines beyond prompts and the usual parameters: templates and switches of
an engine's own, and schemas that answers must follow. Who looks is gateway/guards/parameters.py.
"""

from pydantic import Field, field_validator

from headrace.config.section import Section

CONTROLS: dict[str, str] = {
    "chat_template": "a program that the engine would run",
    "mm_processor_kwargs": "settings of the engine's processor, such as whose code it loads",
    "media_io_kwargs": "settings of the engine's reader of media, such as how much it unpacks",
    "kv_transfer_params": "it names KV cache of others",
    "ec_transfer_params": "it names cached images of others",
    "priority": "it overtakes others in the engine's queue",
    "data_parallel_rank": "it chooses an engine's part, which is the gateway's to do",
    "routed_dp_rank": "it chooses an engine's part, which is the gateway's to do",
    "request_id": "two of one name break an engine",
    "rid": "two of one name break an engine",
    "prompt_embeds": "vectors, which nobody can read or count",
    "logits_processors": "the name of a program that the engine would run",
    "custom_logit_processor": "a program that the engine would run",
    "lora_path": "a path on the engine's machine",
    "bootstrap_host": "an address that the engine would ask",
    "bootstrap_port": "an address that the engine would ask",
    "bootstrap_room": "it names KV cache of others",
    "id_slot": "it chooses an engine's part, which is the gateway's to do",
}
"""What engines read from a body and strangers must not say, and why."""

USUAL: dict[str, object] = {"priority": 0, "id_slot": -1}
"""What some of them are where nobody says anything: clients that write it out ask for nothing."""


class Schemas(Section):
    """
    How large the forms may be that answers must have: JSON schemas, those of tools too, regular
    expressions, grammars, choices.
    """

    enabled: bool = Field(default=True, description="Look at them; else the engine has to.")
    max_bytes: int = Field(
        default=512 * 1024,
        ge=64,
        description="One parameter, such as all `tools`, as it stands in it.",
    )
    max_depth: int = Field(
        default=64, ge=2, le=500, description="Objects and lists within each other."
    )
    max_nodes: int = Field(
        default=20_000, ge=1, description="Values in one parameter's schemas together."
    )
    max_unfolded: int = Field(
        default=1_000_000,
        ge=1,
        description="Values of a schema with what `$ref` names put in each place that names it.",
    )
    max_choices: int = Field(
        default=5000, ge=1, description="Values of one `enum`, or choices for an answer."
    )
    max_repeat: int = Field(
        default=100_000,
        ge=1,
        description="The largest `maxLength`, `maxItems` and the like; where it has to be so many, "
        "the same for `minLength` and its like.",
    )
    max_pattern: int = Field(
        default=4096,
        ge=1,
        description="Characters of a regular expression or a `pattern`; all in one parameter "
        "together may have eight times as many.",
    )
    max_grammar: int = Field(
        default=32 * 1024, ge=1, description="Characters of a grammar; together likewise."
    )
    max_states: int = Field(
        default=20_000,
        ge=1,
        description="Size of a regular expression with its counted repeats written out: "
        "`(a{100}b){50}` is 5100.",
    )


class Parameters(Section):
    """What clients may ask of engines beyond prompts and the usual parameters."""

    allow: tuple[str, ...] = Field(
        default=(),
        description="Parameters that are refused by default, and may be given all the same: "
        + ", ".join(f"`{name}`" for name in CONTROLS)
        + ".",
    )
    trusted: tuple[str, ...] = Field(
        default=(), description="Tenants that may give all of them; schemas are looked at."
    )
    schemas: Schemas = Schemas()

    @field_validator("allow")
    @classmethod
    def _are_known(cls, allow: tuple[str, ...]) -> tuple[str, ...]:
        for name in allow:
            if name not in CONTROLS:
                raise ValueError(
                    f"{name!r} is not refused by default; those that are: {', '.join(CONTROLS)}"
                )
        return allow
