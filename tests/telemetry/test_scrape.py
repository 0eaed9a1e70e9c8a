"""scrape.py: formats by what the scraper accepts, and one text for many scrapes."""

from prometheus_client import CollectorRegistry, Gauge

from headrace.telemetry.scrape import OLDEST_S, SHARE, Scrape


class Clock:
    """Time that passes when a registry is read."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def scraped(cost_s: float) -> tuple[Scrape, Clock]:
    """A registry that counts its readings, each of which takes so long."""
    clock, registry = Clock(), CollectorRegistry()
    gauge = Gauge("readings", "Readings.", registry=registry)
    readings = iter(range(1, 100))

    def read() -> float:
        clock.now += cost_s
        return float(next(readings))

    gauge.set_function(read)
    return Scrape(registry, clock), clock


def test_formats() -> None:
    """OpenMetrics for whoever accepts it, Prometheus' text for all others."""
    scrape, _ = scraped(0.0)
    plain = scrape.page()
    rich = scrape.page("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.1")

    assert plain.content_type.startswith("text/plain; version=0.0.4")
    assert rich.content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert rich.text.endswith(b"# EOF\n")
    assert b"# EOF" not in plain.text


def test_a_text_is_given_again_until_it_is_paid_off() -> None:
    """Rendering takes at most its share of a core, however often somebody asks."""
    scrape, clock = scraped(0.01)
    first = scrape.page()
    clock.now += 0.01 / SHARE * 0.9
    again = scrape.page()
    clock.now += 0.01 / SHARE * 0.2
    later = scrape.page()

    assert first == again
    assert [b"readings 1.0", b"readings 2.0"] == [
        page.text.splitlines()[-1] for page in (first, later)
    ]


def test_no_text_is_old() -> None:
    """What takes long to render is made anew after a second all the same."""
    scrape, clock = scraped(3.0)
    first = scrape.page()
    clock.now += OLDEST_S - 0.1
    again = scrape.page()
    clock.now += 0.2

    assert first == again
    assert first != scrape.page()


def test_formats_are_kept_apart() -> None:
    """A text of one format is never given to who asked for the other."""
    scrape, _ = scraped(0.01)

    assert scrape.page() != scrape.page("application/openmetrics-text; version=1.0.0")
