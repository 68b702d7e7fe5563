"""A supervisor without a machine, for tests of whoever launches and stops one.

What it does says the environment variable ``STAND_IN``: ``run`` (until SIGTERM, twice with
``stubborn``), ``fail``, ``die`` (without a word).
"""

from __future__ import annotations

import os
import signal
import sys

from pipeline.foundation.paths import Workspace
from pipeline.instances import state
from pipeline.instances.instance import Home
from pipeline.instances.journal import Journal


def main() -> int:
    does = os.environ["STAND_IN"]
    home = Home(Workspace.default(), sys.argv[1])
    orders = {signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, orders)
    with state.holding(home.supervised):
        if does == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        state.write(home, state.STARTING)
        Journal(home.log).phase("boot")
        if does == "fail":
            state.write(home, state.FAILED, message="the guest's system panicked", hint="look")
            return 1
        state.write(home, state.RUNNING, port=2222)
        signal.sigwait(orders)
        state.write(home, state.STOPPING)
        if does == "stubborn":
            signal.sigwait(orders)
        state.write(home, state.STOPPED, message="cut off" if does == "stubborn" else "shut down")
    return 0


if __name__ == "__main__":
    sys.exit(main())
