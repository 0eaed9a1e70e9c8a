"""What all sections of the configuration share. Each topic's sections are in a file of its own."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Seconds = Annotated[float, Field(gt=0, le=86_400)]
MIB = 1024 * 1024


def _names_as_mapping(serves: object) -> object:
    """A list of names is a mapping in which each model keeps its name."""
    if isinstance(serves, dict):
        if not all(serves) or not all(serves.values()):
            raise ValueError("must not have an empty name")
        return serves
    if not isinstance(serves, list | tuple) or not all(isinstance(name, str) for name in serves):
        raise ValueError("must be a list of names, or a mapping from our name to its name")
    return _names_as_mapping({name: name for name in serves})


Serves = Annotated[
    dict[str, str],
    BeforeValidator(_names_as_mapping, json_schema_input_type=dict[str, str] | list[str]),
]
"""Models that an engine serves, our name to its name."""


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
