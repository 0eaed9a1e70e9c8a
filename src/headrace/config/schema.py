"""The whole configuration as one frozen tree; unknown keys are refused. Reading it is load.py's."""

from pathlib import Path
from typing import Literal, Self

from pydantic import (
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from headrace.config.backends import Backend, Model
from headrace.config.classes import Classes
from headrace.config.diagnosis import Diagnosis
from headrace.config.discovery import Discovery
from headrace.config.edge import Edge
from headrace.config.engines import LlamaCpp, LocalEngine
from headrace.config.fleet import Admin, Health, Load, Outliers
from headrace.config.guards import Guards, strangers
from headrace.config.hold import Hold
from headrace.config.identity import Identity, Tenants
from headrace.config.identity import strangers as nobodys
from headrace.config.limits import Limits
from headrace.config.media import Media
from headrace.config.metering import Metering
from headrace.config.parameters import Parameters
from headrace.config.pressure import Pressure, unknowns
from headrace.config.queue import Queue
from headrace.config.routing import Routing
from headrace.config.rules import Rule, conflicts
from headrace.config.section import MIB, Seconds, Section
from headrace.config.simulator import Simulator
from headrace.config.state import State
from headrace.config.store import Store
from headrace.config.tracing import Decisions, Tracing


class Server(Section):
    """Where the gateway listens and how much it takes in."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(
        default=8000, ge=0, le=65_535, description="Port to listen on; 0 picks a free one."
    )
    max_body_bytes: int = Field(
        default=32 * MIB, ge=1024, description="Largest request body; above it the answer is 413."
    )
    max_inflight_bytes: int = Field(
        default=1024 * MIB,
        ge=MIB,
        description="Request bytes held at one time over all clients; above it the answer is 503.",
    )
    max_header_bytes: int = Field(
        default=64 * 1024, ge=1024, description="Largest request head (request line and headers)."
    )
    keep_alive_s: Seconds = Field(
        default=75.0,
        description="Idle client connections close after this; keep it above the load balancer's.",
    )
    read_s: Seconds = Field(
        default=30.0,
        description="Longest pause while a client sends its request; then the answer is 408.",
    )
    drain_s: Seconds = Field(
        default=30.0, description="On SIGTERM, running requests get this long to finish."
    )
    drain_grace_s: float = Field(
        default=0.0,
        ge=0,
        le=300,
        description="On SIGTERM, readiness fails this long before the listener closes.",
    )


class Timeouts(Section):
    """The five clocks of a request. A clock that runs out names itself in the error."""

    connect_s: Seconds = Field(default=5.0, description="To open a connection to a replica.")
    queue_s: Seconds = Field(
        default=30.0, description="To wait for a replica while the model has none ready; then 503."
    )
    first_byte_s: Seconds = Field(
        default=300.0, description="From each attempt to the first byte of a streamed answer."
    )
    chunk_s: Seconds = Field(default=120.0, description="Between two chunks of a streamed answer.")
    total_s: Seconds = Field(default=3600.0, description="For the whole request, streamed or not.")


class Retries(Section):
    """When a request is sent again: only before its answer's first byte, only elsewhere."""

    attempts: int = Field(
        default=3, ge=1, le=10, description="Replicas tried for one request at most."
    )
    budget: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Retries allowed as a share of requests, so that they cannot storm.",
    )
    budget_min: int = Field(
        default=10,
        ge=0,
        le=1000,
        description="Retries that are always allowed in a row, on top of the share.",
    )
    statuses: frozenset[int] = Field(
        default=frozenset({429, 502, 503, 504}),
        description="Answers of a replica that lead to another attempt.",
    )

    @field_validator("statuses")
    @classmethod
    def _only_failures(cls, statuses: frozenset[int]) -> frozenset[int]:
        wrong = sorted(s for s in statuses if s != 429 and not 500 <= s <= 599)
        if wrong:
            raise ValueError(f"{wrong[0]} is not retryable; use 429 or 500 to 599")
        return statuses


class Engine(LlamaCpp):
    """The embedded engine (llama.cpp in a child process) that ``headrace up`` starts."""

    enabled: bool = Field(
        default=True,
        description="Whether `headrace up` starts it; beside `engines` only if `model` is given.",
    )
    model: Path | None = Field(
        default=None,
        description="A GGUF file; by default SmolLM2-135M-Instruct, which comes with Headrace.",
    )
    name: str | None = Field(
        default=None, description="Name clients use for its model; by default the file's name."
    )
    start_s: Seconds = Field(default=120.0, description="Time to load the model before giving up.")


class Logging(Section):
    """The log: one JSON line per request plus lifecycle events, on standard error."""

    requests: bool = Field(default=True, description="Whether each finished request is logged.")
    format: Literal["json", "console"] = Field(
        default="json", description="JSON lines for collectors, or short lines for people."
    )
    file: Path | None = Field(
        default=None, description="Write the log to this file, not to standard error."
    )


class Config(Section):
    """headrace.yaml as a whole."""

    server: Server = Server()
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    models: tuple[Model, ...] = Field(
        default=(),
        description="The declared catalogue; by default what backends and the engine serve.",
    )
    backends: tuple[Backend, ...] = Field(
        default=(), description="Running engines, one entry each."
    )
    discovery: tuple[Discovery, ...] = Field(
        default=(), description="Sources of engines that come and go, one entry each."
    )
    engine: Engine = Engine()
    engines: tuple[LocalEngine, ...] = Field(
        default=(), description="Engines that Headrace starts on this machine, one entry each."
    )
    routing: Routing = Routing()
    queue: Queue = Queue()
    pressure: Pressure = Pressure()
    rules: tuple[Rule, ...] = Field(
        default=(), description="Who gets what: of these the first that matches decides."
    )
    rules_file: Path | None = Field(
        default=None, description="The same list in a file of its own, read again when it changes."
    )
    hold: Hold = Hold()
    store: Store = Store()
    state: State = State()
    health: Health = Health()
    outliers: Outliers = Outliers()
    load: Load = Load()
    admin: Admin = Admin()
    edge: Edge = Edge()
    tenants: Tenants = Field(default=(), description="Whom keys belong to, one entry each.")
    identity: Identity = Identity()
    limits: Limits = Limits()
    guards: Guards = Guards()
    media: Media = Media()
    parameters: Parameters = Parameters()
    metering: Metering = Metering()
    classes: Classes = Classes()
    logging: Logging = Logging()
    decisions: Decisions = Decisions()
    tracing: Tracing = Tracing()
    diagnosis: Diagnosis = Diagnosis()
    simulator: Simulator = Simulator()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        refused: list[InitErrorDetails] = []
        seen: dict[str, str] = {}
        for index, model in enumerate(self.models):
            for name in (model.name, *model.aliases):
                if name in seen:
                    message = f"the name {name!r} is already used by the model {seen[name]!r}"
                    refused.append(_refusal(message, "models", index))
                seen.setdefault(name, model.name)
        names = [backend.name for backend in self.backends]
        for index, name in enumerate(names):
            if name in names[:index]:
                message = f"another backend is named {name!r}; give one of them another `name`"
                refused.append(_refusal(message, "backends", index))
        return self._unless(refused)

    @model_validator(mode="after")
    def _backends_serve_declared_models(self) -> Self:
        declared = [model.name for model in self.models]
        refused: list[InitErrorDetails] = []
        for section in ("backends", "discovery") if declared else ():
            for index, entry in enumerate(getattr(self, section)):
                for name in sorted(entry.serves.keys() - declared):
                    known = ", ".join(declared)
                    message = f"{name!r} is not declared in `models`, which has {known}"
                    refused.append(_refusal(message, section, index, "serves"))
        return self._unless(refused)

    @model_validator(mode="after")
    def _discovery_has_declared_models(self) -> Self:
        """What comes and goes cannot say which models there are: an unknown one is 404."""
        message = "needs declared `models`, or a `serves` of its own: replicas may all be away"
        return self._unless(
            [
                _refusal(message, "discovery", index)
                for index, source in enumerate(self.discovery)
                if not self.models and not source.serves
            ]
        )

    @model_validator(mode="after")
    def _engines_fit(self) -> Self:
        declared = {name for model in self.models for name in (model.name, *model.aliases)}
        taken = {backend.name: "backend" for backend in self.backends}
        refused: list[InitErrorDetails] = []
        for index, engine in enumerate(self.engines):
            for name in engine.replica_names:
                if name in taken:
                    message = f"another {taken[name]} is named {name!r}; give this one a `name`"
                    refused.append(_refusal(message, "engines", index))
                taken[name] = "engine"
            if declared and engine.names[0] not in declared:
                message = f"{engine.names[0]!r} is not declared in `models`"
                refused.append(_refusal(message, "engines", index))
        return self._unless(refused)

    @model_validator(mode="after")
    def _rules_fit(self) -> Self:
        names = {name for model in self.models for name in (model.name, *model.aliases)}
        refused = [_refusal(text, "rules", *at) for text, at in conflicts(self.rules, names)]
        if self.rules and self.rules_file is not None:
            refused.append(_refusal("has `rules` beside it; keep one of the two", "rules_file"))
        return self._unless(refused)

    @model_validator(mode="after")
    def _pressure_is_known(self) -> Self:
        names = {name for model in self.models for name in (model.name, *model.aliases)}
        found = unknowns(self.pressure, names, self.queue.classes)
        return self._unless([_refusal(text, "pressure", *at) for text, at in found])

    @model_validator(mode="after")
    def _priorities_are_known(self) -> Self:
        found = nobodys(self.tenants, self.identity.jwt, self.queue.classes)
        return self._unless([_refusal(text, *at) for text, at in found])

    @model_validator(mode="after")
    def _guards_are_known(self) -> Self:
        known = self.guards.names
        refused = [_refusal(text, "rules", *at) for text, at in strangers(self.rules, known)]
        refused += [
            _refusal(
                f"{name!r} is no guard; declare it in `guards.policies`",
                *("tenants", index, "guards"),
            )
            for index, tenant in enumerate(self.tenants)
            for name in tenant.guards or ()
            if name not in known
        ]
        return self._unless(refused)

    @model_validator(mode="after")
    def _rules_know_classes(self) -> Self:
        """Of a file of examples the classes are not known yet."""
        known = self.classes.names
        return self._unless(
            [
                _refusal(
                    f"{name!r} is no class; there are {', '.join(known)}",
                    *("rules", index, "match", "classes"),
                )
                for index, rule in enumerate(self.rules)
                for name in rule.match.classes
                if known and name not in known
            ]
        )

    @property
    def served(self) -> tuple[str, ...]:
        """What backends and sources of others serve: the catalogue when none is declared."""
        named = [entry.serves for entry in self.backends]
        named += [entry.serves for entry in self.discovery]
        return tuple(dict.fromkeys(name for serves in named for name in serves))

    def _unless(self, refused: list[InitErrorDetails]) -> Self:
        if refused:
            raise ValidationError.from_exception_data("Config", refused)
        return self


def _refusal(message: str, *place: str | int) -> InitErrorDetails:
    """A problem between sections, at the place where a person would mend it."""
    error = PydanticCustomError("conflict", "{message}", {"message": message})
    return InitErrorDetails(type=error, loc=place, input=None)
