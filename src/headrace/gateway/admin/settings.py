"""The admin API's part about the configuration: what is in force, with secrets masked."""

from typing import Any

from fastapi import APIRouter, Depends

from headrace.config.dump import plain
from headrace.config.schema import Config
from headrace.gateway.admin.registrar import PROBLEMS, scope


def settings(config: Config) -> APIRouter:
    """The routes of one gateway: it tells where everything is, so only for admins."""
    router = APIRouter(dependencies=[Depends(scope)], responses=PROBLEMS)

    @router.get("/admin/config")
    async def read_config() -> dict[str, Any]:
        shown = plain(config)
        return shown if isinstance(shown, dict) else {}

    return router
