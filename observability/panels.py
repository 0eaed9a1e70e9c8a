"""
The words that dashboards are written in: queries, panels, rows. What a dashboard shows is in its own
file under dashboards/; sizes, colours and sources are decided here, once.

Panels are laid out by their widths; Grafana's grid has 24 columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    logs,
    loki,
    prometheus,
    stat,
    table,
    tempo,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.tempo import SearchTableType

PROMETHEUS = models.DataSourceRef(type_val="prometheus", uid="prometheus")
LOKI = models.DataSourceRef(type_val="loki", uid="loki")
TEMPO = models.DataSourceRef(type_val="tempo", uid="tempo")
TAGS = ["headrace"]
RANGE, REFRESH = "now-1h", "30s"
WIDTH, HEIGHT = 8, 8

# Half of a service's budget is fine, all of it is not.
GREEN, YELLOW, RED = "green", "#EAB839", "red"


Panel: TypeAlias = Builder[models.Panel]
"""Any of the SDK's panels."""


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL and how its series are called; ``exemplar`` shows the traces of single requests."""

    expr: str
    legend: str = "__auto"
    exemplar: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A title and what stands below it."""

    title: str
    panels: Sequence[Panel]


def chart(
    title: str,
    unit: str,
    *queries: Query,
    text: str,
    stack: bool = False,
    width: int = WIDTH,
) -> Panel:
    """Lines over time; ``text`` says what they mean and what is good."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(text)
        .datasource(PROMETHEUS)
        .unit(unit)
        .height(HEIGHT)
        .span(width)
        .line_width(1)
        .fill_opacity(25 if stack else 8)
        .min(0)
        .show_points(looks.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(looks.LegendDisplayMode.LIST)
            .placement(looks.LegendPlacement.BOTTOM)
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(looks.TooltipDisplayMode.MULTI)
            .sort(looks.SortOrder.DESCENDING)
        )
    )
    if stack:
        panel.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL))
    for number, query in enumerate(queries):
        panel.with_target(_prometheus(query, number).range())
    return panel


def number(
    title: str,
    unit: str,
    query: Query,
    *,
    text: str,
    limits: tuple[float, float] | None = None,
    width: int = 4,
) -> Panel:
    """The value of now; ``limits`` are where it turns yellow and red, falling if the first is more."""
    return (
        stat.Panel()
        .title(title)
        .description(text)
        .datasource(PROMETHEUS)
        .unit(unit)
        .height(HEIGHT // 2)
        .span(width)
        .graph_mode(looks.BigValueGraphMode.AREA)
        .color_mode(looks.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_steps(limits))
        .with_target(_prometheus(query, 0).range())
    )


def listing(title: str, query: Query, *, text: str, width: int = WIDTH) -> Panel:
    """The series of now as a table, one line each."""
    return (
        table.Panel()
        .title(title)
        .description(text)
        .datasource(PROMETHEUS)
        .height(HEIGHT)
        .span(width)
        .with_target(_prometheus(query, 0).instant().format(PromQueryFormat.TABLE))
        .with_transformation(
            models.DataTransformerConfig(
                id_val="organize", options={"excludeByName": {"Time": True}}
            )
        )
    )


def lines(title: str, logql: str, *, text: str, width: int = 24) -> Panel:
    """Log lines, newest first."""
    return (
        logs.Panel()
        .title(title)
        .description(text)
        .datasource(LOKI)
        .height(HEIGHT)
        .span(width)
        .show_time(True)
        .wrap_log_message(True)
        .enable_log_details(True)
        .sort_order(looks.LogsSortOrder.DESCENDING)
        .with_target(loki.Dataquery().expr(logql).max_lines(200).ref_id("A").datasource(LOKI))
    )


def counted(title: str, unit: str, logql: str, legend: str, *, text: str) -> Panel:
    """What log lines add up to, over time."""
    return (
        timeseries.Panel()
        .title(title)
        .description(text)
        .datasource(LOKI)
        .unit(unit)
        .height(HEIGHT)
        .span(12)
        .fill_opacity(8)
        .with_target(
            loki.Dataquery().expr(logql).legend_format(legend).ref_id("A").datasource(LOKI)
        )
    )


def traces(title: str, traceql: str, *, text: str, width: int = 12) -> Panel:
    """Traces that a search finds."""
    return (
        table.Panel()
        .title(title)
        .description(text)
        .datasource(TEMPO)
        .height(HEIGHT)
        .span(width)
        .with_target(
            tempo.TempoQuery()
            .query_type("traceql")
            .query(traceql)
            .limit(20)
            .table_type(SearchTableType.TRACES)
            .ref_id("A")
            .datasource(TEMPO)
        )
    )


def choice(name: str, label: str, query: str) -> dashboard.QueryVariable:
    """A variable with the values that Prometheus knows; all of them at first."""
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .query(query)
        .datasource(PROMETHEUS)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(models.VariableOption(selected=True, text="All", value="$__all"))
    )


def typed(name: str, label: str, text: str = "") -> dashboard.TextBoxVariable:
    """A variable that people type in."""
    return dashboard.TextBoxVariable(name).label(label).default_value(text)


def board(
    uid: str,
    title: str,
    text: str,
    rows: Sequence[Row],
    variables: Sequence[Builder[models.VariableModel]] = (),
) -> models.Dashboard:
    """A dashboard of rows, with links to the others."""
    found = (
        dashboard.Dashboard(f"Headrace: {title}")
        .uid(f"headrace-{uid}")
        .description(text)
        .tags(TAGS)
        .refresh(REFRESH)
        .time(RANGE, "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(
            dashboard.DashboardLink("Headrace")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags(TAGS)
            .as_dropdown(True)
            .keep_time(True)
            .include_vars(True)
        )
    )
    for variable in variables:
        found.with_variable(variable)
    for row in rows:
        found.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            found.with_panel(panel)
    return found.build()


def quantile(share: float, metric: str, by: str, where: str = "") -> str:
    """PromQL for a quantile (0 to 1) of a histogram, by labels."""
    labels = f"{by}, le" if by else "le"
    return (
        f"histogram_quantile({share:g}, sum by ({labels})"
        f" (rate({metric}_bucket{where}[$__rate_interval])))"
    )


def rate(metric: str, by: str = "", where: str = "") -> str:
    """PromQL for a counter's gain per second, summed up by labels."""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{where}[$__rate_interval]))"


def _prometheus(query: Query, number: int) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .expr(query.expr)
        .legend_format(query.legend)
        .exemplar(query.exemplar)
        .ref_id(chr(ord("A") + number))
        .datasource(PROMETHEUS)
    )


def _steps(limits: tuple[float, float] | None) -> dashboard.ThresholdsConfig:
    """Green, yellow, red upwards; red, yellow, green where less is worse."""
    if limits is None:
        steps = [models.Threshold(value=None, color=GREEN)]
    else:
        low, high = sorted(limits)
        colours = (GREEN, YELLOW, RED) if limits[0] < limits[1] else (RED, YELLOW, GREEN)
        steps = [
            models.Threshold(value=at, color=colour)
            for at, colour in zip((None, low, high), colours, strict=True)
        ]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)
