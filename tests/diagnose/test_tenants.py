"""tenants.py: whose demand, whose errors, whose limit; and when it is everybody's."""

from collections.abc import Mapping

import pytest

from headrace.diagnose.history import History
from headrace.diagnose.snapshot import Snapshot
from headrace.diagnose.table import diagnose

STEPS, CHANGE = 96, 84  # of five seconds; the last minute is another one


def told(usual: Mapping[str, float], now: Mapping[str, float], outcome: str) -> Snapshot:
    """Tenants, each with two requests a second, of which so many per second end so."""
    history = History()
    bad = dict.fromkeys(usual, 0.0)
    for step in range(STEPS):
        shares = usual if step < CHANGE else now
        for name in bad:
            bad[name] += 10.0 * shares[name]
        good = {name: 10.0 * (step + 1) - bad[name] for name in bad}
        history.add(
            1000.0 + 5.0 * step,
            {
                ("ended", ("m", "completed")): sum(good.values()),
                ("ended", ("m", outcome)): sum(bad.values()),
                **{("t_ended", (name, "completed")): value for name, value in good.items()},
                **{("t_ended", (name, outcome)): value for name, value in bad.items()},
                ("ttft_sum", ("m",)): 1.0 * step,
                ("ttft_n", ("m",)): 10.0 * step,
                ("active", ("m", "streaming")): 6.0,
                ("waiting", ("m",)): 0.0,
                ("replicas", ("m",)): 1.0,
            },
        )
    return history.snapshot()


NOBODY = {"a": 0.0, "b": 0.0, "c": 0.0}


def test_errors_of_one_tenant_are_its_own() -> None:
    """A tenant whose requests are wrong is named, however few they are of all."""
    found = diagnose(told(NOBODY, {**NOBODY, "b": 0.8}, "rejected_invalid"), 900.0).finding

    assert ("tenant-errors", ("b",)) == (found.name, found.tenants)
    assert "rejected_invalid" in found.summary


def test_errors_of_all_are_not_one_tenants() -> None:
    """What happens to every tenant is the row for all."""
    found = diagnose(told(NOBODY, dict.fromkeys(NOBODY, 0.4), "rejected_invalid"), 900.0)

    assert "bad-requests" == found.finding.name
    assert "tenant-errors" in {each.name for each in found.ruled_out}


def test_a_limit_of_one_tenant() -> None:
    """A tenant that has come to its quota is told apart from limits that are too tight."""
    one = diagnose(told(NOBODY, {**NOBODY, "c": 1.0}, "rejected_quota"), 900.0).finding
    everybody = diagnose(told(NOBODY, dict.fromkeys(NOBODY, 0.4), "rejected_rate"), 900.0).finding

    assert ("tenant-limited", ("c",)) == (one.name, one.tenants)
    assert "admission-tight" == everybody.name


def test_what_is_usual_for_a_tenant_is_no_finding() -> None:
    """A tenant that is always at its limit stays unmentioned."""
    always = {**NOBODY, "a": 0.5}

    assert "nothing" == diagnose(told(always, always, "rejected_quota"), 900.0).finding.name


def test_some_tries_are_no_finding() -> None:
    """Fewer than eight refusals in a minute are somebody's try."""
    found = diagnose(told(NOBODY, {**NOBODY, "a": 0.05}, "rejected_invalid"), 900.0)

    assert "nothing" == found.finding.name


def mixed(stay: Mapping[str, float], prompt: Mapping[str, float], first_s: float = 0.1) -> Snapshot:
    """
    Three tenants, of which each asks twice a second. In the last minute their requests run so long,
    their prompts are so long, and first tokens take so many seconds.
    """
    history = History()
    tokens = dict.fromkeys(stay, 0.0)
    first = 0.0
    for step in range(STEPS):
        new = step >= CHANGE
        sway = 1.0 + 0.1 * (step % 5 - 2)
        reading: dict[tuple[str, tuple[str, ...]], float] = {}
        for name in stay:
            tokens[name] += 10.0 * sway * (prompt[name] if new else 1000.0)
            reading["t_ended", (name, "completed")] = 10.0 * (step + 1)
            reading["t_active", (name,)] = 2.0 * sway * (stay[name] if new else 4.0)
            reading["t_tokens", (name, "input")] = tokens[name]
        first += 30.0 * (first_s if new else 0.1)
        history.add(
            1000.0 + 5.0 * step,
            {
                **reading,
                ("ended", ("m", "completed")): 30.0 * (step + 1),
                ("ttft_sum", ("m",)): first, ("ttft_n", ("m",)): 30.0 * (step + 1),
                ("active", ("m", "streaming")): 24.0, ("waiting", ("m",)): 0.0,
                ("replicas", ("m",)): 1.0,
            },
        )  # fmt: skip
    return history.snapshot()


LASTS, SHORT = {"a": 4.0, "b": 4.0, "c": 4.0}, {"a": 1000.0, "b": 1000.0, "c": 1000.0}


def test_a_tenant_whose_answers_do_not_end() -> None:
    """Its requests run on and on, while those of others end as they always did."""
    found = diagnose(mixed({**LASTS, "b": 12.0}, SHORT), 900.0).finding

    assert ("long-outputs", ("b",)) == (found.name, found.tenants)


def test_requests_of_all_that_run_longer_are_not_one_tenants() -> None:
    """What happens to every tenant is no tenant's."""
    found = diagnose(mixed(dict.fromkeys(LASTS, 12.0), SHORT), 900.0)

    assert () == found.finding.tenants


def test_a_tenant_whose_prompts_have_become_long() -> None:
    """It is named once somebody waits longer for first tokens, and not before."""
    long = {**SHORT, "c": 5000.0}
    felt = diagnose(mixed(LASTS, long, first_s=1.0), 900.0).finding
    unfelt = diagnose(mixed(LASTS, long), 900.0).finding

    assert ("long-prompts", ("c",)) == (felt.name, felt.tenants)
    assert "nothing" == unfelt.name


@pytest.mark.parametrize(("swing", "name"), [(1.1, "noisy-tenant"), (6.0, "unknown")])
def test_a_tenant_is_noisy_when_it_never_was(swing: float, name: str) -> None:
    """Far more requests of one tenant are named, but not where tenants often have as many."""
    history, ended, tokens = History(), dict.fromkeys("abc", 0.0), dict.fromkeys("abc", 0.0)
    first_s = 0.0
    for step in range(STEPS):
        new = step >= CHANGE
        reading: dict[tuple[str, tuple[str, ...]], float] = {}
        for place, tenant in enumerate("abc"):
            often = swing if (step // 12 + place) % 3 == 0 else 1.0
            rate = 14.0 if new and tenant == "a" else 1.0 if new else often
            ended[tenant] += 10.0 * rate
            tokens[tenant] += 1000.0 * rate
            reading["t_ended", (tenant, "completed")] = ended[tenant]
            reading["t_tokens", (tenant, "input")] = tokens[tenant]
            reading["t_active", (tenant,)] = 2.0
        whole = sum(ended.values())
        first_s += 60.0 if new else 3.0
        history.add(
            1000.0 + 5.0 * step,
            {
                **reading,
                ("ended", ("m", "completed")): whole, ("ttft_sum", ("m",)): first_s,
                ("ttft_n", ("m",)): whole, ("active", ("m", "streaming")): 6.0,
                ("replicas", ("m",)): 1.0, ("waiting", ("m",)): 0.0,
            },
        )  # fmt: skip
    found = diagnose(history.snapshot(), 900.0)

    assert name == found.finding.name
