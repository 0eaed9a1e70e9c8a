"""What guards have to say of one request: carried by the exchange, filled by guarding and relay."""

from headrace.gateway.guards.looks import Guard, Looks
from headrace.guard.screen import Tally

Chosen = tuple[tuple[Guard, ...], tuple[Guard, ...]]
"""The guards of prompts, and those of answers."""


class Watch:
    """One request's guards and what they have found so far. ``schema`` is the one it asks for."""

    __slots__ = ("inputs", "looks", "outputs", "schema", "tally")

    def __init__(self, chosen: Chosen, looks: Looks, tally: Tally) -> None:
        self.inputs, self.outputs = chosen
        self.looks = looks
        self.tally = tally
        self.schema: object = None
