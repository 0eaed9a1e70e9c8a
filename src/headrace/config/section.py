"""What all sections of the configuration share. The sections themselves are in schema.py."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Seconds = Annotated[float, Field(gt=0, le=86_400)]
MIB = 1024 * 1024


class Section(BaseModel):
    """What all sections share: frozen, no unknown keys, defaults checked like given values."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_default(cls, data: object) -> object:
        """A key without a value (`server:` with all of its lines commented out) has its default."""
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if value is not None}
        return data
