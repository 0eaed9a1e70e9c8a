"""
The whole admin API, put together from its parts. Importing this costs 0.8 s of CPU and 40 MB: only
annex.py does, in a thread, when somebody calls.
"""

from fastapi import FastAPI

from headrace.config.fleet import Admin
from headrace.gateway.admin.api import build
from headrace.gateway.admin.audit import Audit
from headrace.gateway.admin.bill import bill
from headrace.gateway.admin.desk import desk
from headrace.gateway.admin.explain import explain
from headrace.gateway.admin.faults import Faults
from headrace.gateway.admin.glance import glance
from headrace.gateway.admin.limits import limits
from headrace.gateway.admin.registrar import registrar
from headrace.gateway.admin.settings import settings
from headrace.gateway.admin.why import why
from headrace.gateway.app import Gateway


def assemble(gateway: Gateway, config: Admin) -> FastAPI:
    """The API of a gateway that runs."""
    api = build(
        gateway.fleet,
        gateway.keeper,
        config,
        gateway.floor,
        desk(gateway),
        registrar(gateway),
        settings(gateway.config),
        bill(gateway.config.metering),
        limits(gateway),
        explain(gateway),
        glance(gateway),
        why(gateway),
        admits=gateway.door.admin,
        queues=lambda: gateway.pipeline.usher.seen(gateway.placement.models),
    )
    api.middleware("http")(Audit(gateway.log))
    api.middleware("http")(Faults(gateway.log))
    return api
