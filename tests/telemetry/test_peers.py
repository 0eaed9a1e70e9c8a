"""peers.py: other gateways and sessions in numbers, read when they are scraped."""

from prometheus_client import CollectorRegistry

from headrace.telemetry.peers import Company, Homes, PeerMetrics


class Talk:
    """A gateway that hears two others."""

    def seen(self) -> Company:
        return Company(2, 0.25, {"told": 7, "bad": 1}, 3)


def test_company_and_sessions() -> None:
    """What is known at the moment of the scrape."""
    registry = CollectorRegistry()
    PeerMetrics(registry).watch(Talk(), lambda: [Homes("m", 5, 4, 1)])
    value = registry.get_sample_value

    assert 2.0 == value("headrace_peers")
    assert 0.25 == value("headrace_peer_report_age_seconds")
    assert 7.0 == value("headrace_peer_reports_total", {"result": "told"})
    assert 3.0 == value("headrace_peer_untold_total")
    assert [5.0, 4.0, 1.0] == [
        value(name, {"model": "m"})
        for name in (
            "headrace_sessions",
            "headrace_session_moves_total",
            "headrace_session_repins_total",
        )
    ]


def test_who_is_alone_has_no_company() -> None:
    """No peers is not the same as nobody to talk to: the series are absent."""
    registry = CollectorRegistry()
    PeerMetrics(registry).watch(None, list)

    assert registry.get_sample_value("headrace_peers") is None
    assert registry.get_sample_value("headrace_peer_untold_total") is None
