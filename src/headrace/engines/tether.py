"""
Runs a program that must not outlive Headrace: ``python tether.py PROGRAM ARGUMENT...``

Engines of ours end when their standard input does; others, such as vLLM, do not look at it. This
program looks for them. It needs nothing but the standard library, so that it starts at once.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from typing import NoReturn

GRACE_S = 3.0  # for the program to end by itself when Headrace is gone


def main() -> NoReturn:
    """
    End as the program ends, with its exit code or by its signal.

    When standard input ends, end it and everything that it started: they share our process group,
    which the supervisor made.
    """
    try:
        program = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)  # noqa: S603 - its task
    except OSError as error:
        sys.exit(f"{sys.argv[1]} cannot be run: {error.strerror}")
    # The supervisor signals the whole group: the program decides what SIGTERM means, not we.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_input, daemon=True).start()
    code = program.wait()
    if code < 0:
        if -code != signal.SIGKILL:  # which nobody can handle
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def _end_with_input() -> NoReturn:
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_S)
    os.killpg(0, signal.SIGKILL)
    raise SystemExit  # the line above ends this process, too


if __name__ == "__main__":
    main()
