"""What there is to choose from: the declared models and the running engines that serve them."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from headrace.config.address import Key, Printable, base_url
from headrace.config.events import Endpoint
from headrace.config.section import Seconds, Section, Serves
from headrace.errors import ConfigError


class Model(Section):
    """A model that clients may ask for. Declared once, whether or not a replica serves it now."""

    name: str = Field(min_length=1, max_length=256, description="The name clients use.")
    aliases: tuple[str, ...] = Field(default=(), description="Other names for the same model.")
    context_length: int | None = Field(
        default=None, ge=1, description="Longest prompt plus answer in tokens; shown in /v1/models."
    )
    cold_start_s: Seconds | None = Field(
        default=None,
        description="How long a first replica takes to start: requests wait that long for it, "
        "where this is more than timeouts.queue_s.",
    )


class Backend(Section):
    """One running engine that speaks the OpenAI API."""

    url: Annotated[str, AfterValidator(base_url)] = Field(
        description="Base URL, for example http://gpu-1:8000; a path in it stands before /v1."
    )
    name: Printable = Field(
        default="", description="Name in logs and metrics; by default host:port of the URL."
    )
    serves: Serves = Field(
        description="Models it serves: a list of names, or a mapping from our name to its name."
    )
    api_key: Key | None = Field(
        default=None,
        description="Sent to this backend as a bearer token; the client's key never is.",
    )
    api_key_file: Path | None = Field(
        default=None, description="A file that holds the key, instead of `api_key`."
    )
    tls_verify: bool = Field(default=True, description="Check the certificate of an https backend.")
    tls_ca: Path | None = Field(
        default=None, description="PEM file of the authority that signed it."
    )
    probe: bool = Field(
        default=True,
        description="Whether its /health and /metrics are read; switch it off for hosted APIs.",
    )
    kv_events: Endpoint | None = Field(
        default=None,
        description="Where it publishes what its prefix cache holds, for example "
        "tcp://gpu-1:5557; routing then knows evictions exactly.",
    )
    kv_events_replay: Endpoint | None = Field(
        default=None, description="Where it gives batches of these events again that were lost."
    )

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.api_key is not None and self.api_key_file is not None:
            raise ValueError("has both `api_key` and `api_key_file`; keep one of them")
        return self

    @model_validator(mode="after")
    def _replay_of_events(self) -> Self:
        if self.kv_events_replay is not None and self.kv_events is None:
            raise ValueError("has `kv_events_replay` without `kv_events`; give both")
        return self

    def key(self) -> str:
        """
        What is sent as its bearer token; empty when none is. A file is read anew each time.

        Raises:
            ConfigError: the file cannot be read, or holds more than a key.

        """
        file = self.api_key_file
        if file is None:
            return self.api_key.get_secret_value() if self.api_key is not None else ""
        try:
            key = file.expanduser().read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "is not plain text"
            raise ConfigError(f"Backend {self.name}: `api_key_file` {file}: {why}.") from error
        if not key.isprintable() or not key or " " in key:
            raise ConfigError(
                f"Backend {self.name}: `api_key_file` {file} must hold the key and nothing else."
            )
        return key

    @field_validator("serves")
    @classmethod
    def _serves_something(cls, serves: dict[str, str]) -> dict[str, str]:
        if not serves:
            raise ValueError("must name at least one model")
        return serves

    @model_validator(mode="before")
    @classmethod
    def _name_from_url(cls, data: object) -> object:
        if isinstance(data, dict) and not data.get("name") and isinstance(data.get("url"), str):
            return {**data, "name": data["url"].partition("://")[2].partition("/")[0]}
        return data
