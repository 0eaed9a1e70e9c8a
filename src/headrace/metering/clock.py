"""
The time of day as far as it can be believed, for what cannot be undone: removing what is old.
What the time is for anything else is everybody's own business.
"""

import time
from collections.abc import Callable

SLACK_S = 60.0
# A clock that was set ahead is believed when it has stayed so for this long. A machine that was
# suspended waits as long: its steady clock stood still meanwhile.
TRUST_S = 3600.0


class Clock:
    """
    ``day`` gives seconds since 1970 and may be set; ``steady`` never goes back. To be asked every
    minute or so.
    """

    def __init__(
        self, day: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._day, self._steady = day, steady
        self._known, self._at = day(), steady()
        self._ahead_since: float | None = None

    def now(self) -> float:
        """Seconds since 1970; not what a clock says that was just set ahead."""
        day, steady = self._day(), self._steady()
        expected = self._known + (steady - self._at)
        if day > expected + SLACK_S:
            if self._ahead_since is None:
                self._ahead_since = steady
            if steady - self._ahead_since < TRUST_S:
                return expected
        self._known, self._at, self._ahead_since = day, steady, None
        return day
