"""What else the machine does while a worker is timed: with all CPUs in use, a guest spoils the figures."""

import os
import time
from pathlib import Path

# Of one CPU. A turn in which other processes used more is done again.
TOLERATED = 0.05


class OtherLoad:
    """CPU time that all processes but one use, from the start on; 0 where /proc does not tell (not Linux).

    Parameters
    ----------
    pid : int
        The process that is not counted, with all its threads.
    """

    def __init__(self, pid):
        self.pid, self.started = pid, time.perf_counter()
        self.before = self._seconds()

    def _seconds(self):
        try:
            _, user, nice, system, _, _, irq, softirq, steal, *_ = Path("/proc/stat").read_text().split(maxsplit=9)
            # After the name in brackets: the state is field 3, user and system time are 14 and 15.
            own = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        except OSError:
            return 0.0
        ticks = sum(map(int, (user, nice, system, irq, softirq, steal))) - sum(map(int, own))
        return ticks / os.sysconf("SC_CLK_TCK")

    def too_much(self):
        """Whether it was more than `TOLERATED`."""
        return (self._seconds() - self.before) / (time.perf_counter() - self.started) > TOLERATED
