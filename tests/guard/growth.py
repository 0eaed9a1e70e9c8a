"""Whether work grows no faster than its input, by CPU time: sizes are compared in one run."""

import time
from collections.abc import Callable

TIMES = 8
# Linear work takes 8 times as long for 8 times as much, quadratic 64 times.
MOST = 30.0


def linear(run: Callable[[int], object], size: int) -> bool:
    """Whether ``run`` does so for an input that is ``TIMES`` as large as one of ``size``."""
    small = min(_took(run, size) for _ in range(3))
    return min(_took(run, TIMES * size) for _ in range(3)) < MOST * small


def _took(run: Callable[[int], object], size: int) -> float:
    began = time.thread_time()
    run(size)
    return time.thread_time() - began
