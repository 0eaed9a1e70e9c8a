"""The report of a calibration: every term, every probe, and what is not known."""

from headrace.engines.calibrate import report
from headrace.engines.calibrate.findings import findings
from headrace.engines.calibrate.fit import TERMS
from headrace.engines.sim.presets import PRESETS
from tests.engines.calibrate.rig import Habits, run, surveyed


def test_it_tells_everything() -> None:
    """A line for each term and each observation, R², assumptions and doubts."""
    habits = Habits(metrics=False)
    found = findings(run(surveyed(PRESETS["l4-8b"], time_s=10, habits=habits)), "mine", "a test")
    told = [*report.lines(found)]
    text = "\n".join(told)

    assert "mine: a test" == told[0]
    assert [*TERMS] == [line.split()[0] for line in told[3 : 3 + len(TERMS)]]
    assert all(f"\n{one.name} " in text for one in (*found.fit.observations, *found.checks))
    assert "(not fitted to)" in text
    assert "R² 0.9" in text or "R² 1.0" in text
    assert all(f"Not told by these probes: {name}." in told for name in found.fit.unknown())
    assert all(f"Assumed: {line}." in told for line in found.assumed)
    assert all(f"Doubt: {line}." in told for line in found.doubts)
    assert found.assumed
    assert found.doubts
