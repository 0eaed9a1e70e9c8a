"""Tenants and cost: who uses how much, what it costs, and whether usage reaches the ledger."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from observability.panels import Panel, Query, Row, chart, choice, number, quantile, rate
from observability.panels import board as build

TENANT = '{tenant=~"$tenant"}'
FAILED = '{tenant=~"$tenant", outcome!~"completed|client_gone"}'
COST = "rate(headrace_cost_total[$__rate_interval])"


def board() -> Dashboard:
    """The dashboard."""
    return build(
        "tenants",
        "Tenants and cost",
        "Who uses how much, what it costs, and whether usage reaches the ledger.",
        [
            Row("Tenants", _tenants()),
            Row("Limits and guards", _limits()),
            Row("Cost", _cost()),
            Row("Ledger and keys", _ledger()),
        ],
        [choice("tenant", "Tenant", "label_values(headrace_tenant_requests_total, tenant)")],
    )


def _tenants() -> list[Panel]:
    return [
        chart("Requests", "reqps",
              Query(rate("headrace_tenant_requests_total", "tenant", TENANT), "{{tenant}}"),
              text="By tenant.", stack=True),
        chart("Tokens", "short",
              Query(rate("headrace_tenant_tokens_total", "tenant",
                         '{tenant=~"$tenant", kind!="cached"}'), "{{tenant}}"),
              text="Prompt and answer tokens a second.", stack=True),
        chart("Not served", "reqps",
              Query(rate("headrace_tenant_requests_total", "tenant, outcome", FAILED),
                    "{{tenant}} {{outcome}}"),
              text="Requests that were refused or failed, by whose they were and why."),
        chart("Cached", "percentunit",
              Query(f"{rate('headrace_tenant_tokens_total', 'tenant', _kind('cached'))}"
                    f" / {rate('headrace_tenant_tokens_total', 'tenant', _kind('input'))}",
                    "{{tenant}}"),
              text="Share of prompt tokens that were in a prefix cache."),
        chart("Share of all tokens", "percentunit",
              Query("tenant:headrace_tenant_tokens:rate1h / ignoring (tenant) group_left ()"
                    " sum(tenant:headrace_tenant_tokens:rate1h)", "{{tenant}}"),
              text="Of the last hour: who crowds out whom.", stack=True),
        chart("Prompt for each answer token", "short",
              Query(f"{rate('headrace_tenant_tokens_total', 'tenant', _kind('input'))}"
                    f" / {rate('headrace_tenant_tokens_total', 'tenant', _kind('output'))}",
                    "{{tenant}}"),
              text="How a tenant's requests are shaped; a jump is a new kind of use."),
    ]  # fmt: skip


def _kind(kind: str) -> str:
    return f'{{tenant=~"$tenant", kind="{kind}"}}'


def _limits() -> list[Panel]:
    return [
        chart(
            "Refused by limits",
            "reqps",
            Query(rate("headrace_limit_rejections_total", "scope, limit"), "{{scope}} {{limit}}"),
            text="Requests that had no room in a limit, by whose it is and which.",
            width=6,
        ),
        chart(
            "Limits used",
            "percentunit",
            Query(
                f"max by (tenant, limit) (headrace_limit_used_ratio{TENANT})",
                "{{tenant}} {{limit}}",
            ),
            text="Of tenants with limits of their own; 1 is all of it.",
            width=6,
        ),
        chart(
            "Guards",
            "reqps",
            Query(
                rate("headrace_guard_verdicts_total", "guard, direction, verdict"),
                "{{guard}} {{direction}} {{verdict}}",
            ),
            text="Prompts and answers by what guards said of them.",
            stack=True,
            width=6,
        ),
        chart(
            "Time of a guard",
            "s",
            Query(
                quantile(0.95, "headrace_guard_seconds", "guard, direction"),
                "{{guard}} {{direction}} p95",
            ),
            text="One look, at a prompt or a part of an answer; requests wait for it.",
            width=6,
        ),
    ]


def _cost() -> list[Panel]:
    return [
        number("Cost in this range", "short",
               Query("sum by (currency) (increase(headrace_cost_total[$__range]))", "{{currency}}"),
               text="By the price book, in its currency, over the time that is shown.", width=6),
        number("Cost an hour", "short",
               Query(f"sum by (currency) ({COST}) * 3600", "{{currency}}"),
               text="At the pace of now.", width=6),
        chart("Cost an hour by model", "short",
              Query(f"sum by (model, currency) ({COST}) * 3600", "{{model}} {{currency}}"),
              text="What requests cost by the price book.", stack=True, width=12),
        chart("Cost of a million answer tokens", "short",
              Query(f"sum by (model) ({COST}) * 1e6"
                    ' / sum by (model) (rate(headrace_tokens_total{kind="output"}[$__rate_interval]))',
                    "{{model}}"),
              text="All costs, prompts included, by token of the answer.", width=12),
        chart("Against the week before", "short",
              Query("model:headrace_cost:per_hour1h", "{{model}} now"),
              Query("avg_over_time(model:headrace_cost:per_hour1h[7d])", "{{model}} week"),
              text="Three times the week's mean is a ticket (HeadraceCostAnomaly).", width=12),
    ]  # fmt: skip


def _ledger() -> list[Panel]:
    return [
        chart("Ledger rows", "short",
              Query(rate("headrace_ledger_rows_total", "result"), "{{result}}"),
              text="written is well; spilled waits in files; dropped is lost.", stack=True),
        chart("Lag", "s", Query("max by (instance) (headrace_ledger_lag_seconds)", "{{instance}}"),
              text="Since the oldest request that is in no file yet."),
        chart("Spilled", "bytes",
              Query("max by (instance) (headrace_ledger_spill_bytes)", "{{instance}}"),
              text="Rows in files that wait for the ledger."),
        number("Keys", "short", Query("max(headrace_keys)"), text="Secrets of API keys that are good.",
               width=6),
        number("Next key expires", "dateTimeFromNow",
               Query("min(headrace_keys_next_expiry_timestamp_seconds) * 1000"),
               text="The soonest of the good keys; no value: none expires.", width=6),
        number("Book of keys read", "s", Query("max(headrace_keys_age_seconds)"),
               text="Since it was last looked at; some seconds are usual.", limits=(60, 900), width=6),
        number("Limits held", "short", Query("sum(headrace_limit_permits)"),
               text="Requests that hold a part of a limit now.", width=6),
    ]  # fmt: skip
