"""The section of the diagnosis (`headrace why`): its history, or the Prometheus that it asks."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from headrace.config.address import base_url
from headrace.config.section import Seconds, Section


class Diagnosis(Section):
    """What `headrace why` knows: a day of this gateway's own metrics in memory, or Prometheus."""

    enabled: bool = Field(
        default=True,
        description="Whether the gateway keeps a history of its metrics: 24 h in memory, some 8 MB"
        " with 64 replicas and 50 tenants, 26 MB with 256.",
    )
    interval_s: Seconds = Field(
        default=5.0,
        ge=0.1,
        le=60,
        description="Between two readings; 180 of them are kept, then 1,440 means of twelve each.",
    )
    prometheus: Annotated[str, AfterValidator(base_url)] | None = Field(
        default=None,
        description="A Prometheus to ask instead, for example http://prometheus:9090: it knows all"
        " gateways, and survives their restarts.",
    )
    prometheus_selector: str = Field(
        default="",
        pattern=r'^([a-zA-Z_][a-zA-Z0-9_]*="[^"\\]*"(,\s*[a-zA-Z_][a-zA-Z0-9_]*="[^"\\]*")*)?$',
        description='Labels that every query gets, for example namespace="prod",job="headrace".',
    )
    prometheus_token_file: Path | None = Field(
        default=None, description="A file with a bearer token for that Prometheus."
    )
    timeout_s: Seconds = Field(default=10.0, description="For all of its answers together.")

    @model_validator(mode="after")
    def _token_needs_prometheus(self) -> Self:
        if self.prometheus is None and (self.prometheus_token_file or self.prometheus_selector):
            raise ValueError("has settings of a Prometheus without `prometheus`; give its URL")
        return self
