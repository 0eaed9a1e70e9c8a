"""The endpoints that the gateway answers itself: the catalogue, liveness, readiness, metrics."""

from headrace.admission.types import NOBODY, Caller
from headrace.config.backends import Model
from headrace.errors import ModelNotFound
from headrace.fleet.catalogue import Catalogue
from headrace.fleet.floor import Floor
from headrace.fleet.registry import Fleet
from headrace.gateway.answers import encode
from headrace.gateway.door.entrance import check_model


def models(catalogue: Catalogue, created: int, caller: Caller = NOBODY) -> bytes:
    """
    ``GET /v1/models``: what is declared and the caller may use, aliases too, whether or not a
    replica serves it now.
    """
    data = [
        _model(model, name, created)
        for model in catalogue.models
        for name in (model.name, *model.aliases)
        if caller.may_use(model.name, name)
    ]
    return encode({"object": "list", "data": data})


def model(catalogue: Catalogue, name: str, created: int, caller: Caller = NOBODY) -> bytes:
    """
    ``GET /v1/models/{model}``.

    Raises:
        ModelNotFound: it is not declared.
        Forbidden: the caller may not use it.

    """
    if not name:
        raise ModelNotFound("The request names no model.")
    check_model(caller, catalogue, name)
    return encode(_model(catalogue.resolve(name, caller), name, created))


def ready(floor: Floor, fleet: Fleet, *, draining: bool) -> tuple[int, bytes]:
    """
    ``GET /ready``: status and body. Not ready while draining.

    A declared model without replicas does not make the gateway unready: its requests are held, and
    a gateway taken out of rotation could not hold them. ``on_demand`` are those of them whose
    replica starts or wakes when it is asked for.
    """
    replicas = {model: len(group.replicas) for model, group in fleet.groups.items()}
    said: dict[str, object] = {"status": "draining" if draining else "ready", "replicas": replicas}
    if on_demand := floor.on_demand:
        said["on_demand"] = on_demand
    return 503 if draining else 200, encode(said)


def _model(model: Model, name: str, created: int) -> dict[str, object]:
    entry: dict[str, object] = {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "headrace",
        "root": model.name,
        "parent": None,
    }
    if model.context_length is not None:
        entry["max_model_len"] = model.context_length
    return entry
