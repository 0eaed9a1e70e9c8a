"""Where models are kept on this machine, and from where they come. Pulling is engines/weights'."""

from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from headrace.config.section import MIB, Section

HUB = "https://huggingface.co"


class Store(Section):
    """Models on this machine: what ``headrace models`` pulls, lists and removes."""

    dir: Path = Field(
        default=Path("~/.cache/headrace/models"), description="The folder that holds them."
    )
    hub: str = Field(
        default=HUB, description="Hugging Face or a mirror of it; HF_ENDPOINT sets it, too."
    )
    token: SecretStr | None = Field(
        default=None, description="For private and gated repositories; HF_TOKEN sets it, too."
    )
    s3_endpoint: str | None = Field(
        default=None,
        description="URL of an S3 that is not Amazon's; AWS_ENDPOINT_URL sets it, too.",
    )
    s3_region: str | None = Field(
        default=None, description="Region of the buckets; AWS_REGION sets it, too."
    )
    workers: int = Field(default=8, ge=1, le=64, description="Parts that are loaded side by side.")
    part_bytes: int = Field(
        default=16 * MIB,
        ge=64 * 1024,
        description="Size of a part; what was begun is lost with it.",
    )
    reserve_bytes: int = Field(
        default=1024 * MIB, ge=0, description="Disk space that a pull leaves free."
    )

    @field_validator("hub", "s3_endpoint")
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return url.rstrip("/") if url else url
