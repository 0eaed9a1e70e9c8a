"""
What was used since a time, as the ledger knows it: for budgets that a restart must not renew. What
a budget is, is admission's matter.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from headrace.config.metering import Metering
from headrace.metering import report
from headrace.metering.prices import MILLION
from headrace.metering.report import Span
from headrace.metering.stores import reading


class Spent(NamedTuple):
    """What a key of a tenant has used of a model: tokens of prompts and answers, micro-cents."""

    tenant: str
    key: str
    model: str
    tokens: int
    cost: int


Past = Mapping[str, tuple[Spent, ...]]
"""By ``day`` and ``month``."""

NO_PAST: Past = MappingProxyType({})


def past(config: Metering, since_s: Mapping[str, float]) -> Past:
    """
    What was used since these times (s since 1970). It reads the ledger, so call it in a thread.

    Raises:
        StartError: the ledger is not there yet, or cannot be read.

    """
    with reading(config) as store:
        return {
            span: tuple(
                _spent(each)
                for each in report.usage(
                    store, ("tenant", "key", "model"), Span(int(since * MILLION))
                )
            )
            for span, since in since_s.items()
        }


def _spent(sums: report.Usage) -> Spent:
    tenant, key, model = sums.names
    return Spent(tenant, key, model, sums.tokens_in + sums.tokens_out, sums.cost)
