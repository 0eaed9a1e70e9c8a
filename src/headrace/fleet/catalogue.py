"""
The declared models and the names they go by. A name that is not here is answered 404, never routed.
"""

import difflib
from collections.abc import Iterable
from typing import Protocol

from headrace.config.backends import Model
from headrace.errors import ModelNotFound


class Asker(Protocol):
    """Who asks for a model."""

    def may_use(self, *names: str) -> bool: ...


class Catalogue:
    """Names and aliases to models; fixed once built."""

    def __init__(self, models: Iterable[Model]) -> None:
        self.models = tuple(models)
        self._by_name = {
            name: model for model in self.models for name in (model.name, *model.aliases)
        }
        self._only = self.models[0].name if len(self.models) == 1 else None

    @property
    def names(self) -> tuple[str, ...]:
        """All names and aliases."""
        return tuple(self._by_name)

    def find(self, asked: str) -> str | None:
        """Like ``resolve``, only the name; None where that raises."""
        model = self._by_name.get(asked or self._only or "")
        return None if model is None else model.name

    def resolve(self, asked: str | None, asker: Asker | None = None) -> Model:
        """
        The model behind a name or alias; the only model there is when the client named none. Names
        that the ``asker`` may not use are no hints.

        Raises:
            ModelNotFound: nothing goes by that name; the message names the closest ones.

        """
        model = self._by_name.get(asked or self._only or "")
        if model is not None:
            return model
        if not asked:
            raise ModelNotFound("The request names no `model`.", param="model")
        names = [
            name
            for name, model in self._by_name.items()
            if asker is None or asker.may_use(model.name, name)
        ]
        close = difflib.get_close_matches(asked[:256], names, n=3, cutoff=0.5)
        known = close or sorted(names)[:5]
        hint = f" Did you mean {' or '.join(f'`{name}`' for name in known)}?" if known else ""
        raise ModelNotFound(f"The model `{asked[:256]}` does not exist.{hint}", param="model")
