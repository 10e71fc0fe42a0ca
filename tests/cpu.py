"""CPU seconds of each test, of its processes too: unlike those of the clock they are the same beside a busy neighbour.

`pytest --dearest 20` lists the twenty dearest tests and files. A fixture is paid for by the first test that asks for it.
"""

import resource
from collections import Counter

from tests.warm_python import SERVERS

PROPERTY = "cpu_seconds"


class Meter:
    """`lap()`: the CPU seconds since the last call, of this process, of children that have ended, and of warm runs."""

    def __init__(self):
        self._last = self._total()

    @staticmethod
    def _total() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used) + sum(server.cpu_seconds for server in SERVERS)

    def lap(self) -> float:
        before, self._last = self._last, self._total()
        return self._last - before


def write_summary(reporter, count: int) -> None:
    """A line with the sum, and the `count` dearest tests and files."""
    tests, files = Counter(), Counter()
    for report in (report for reports in reporter.stats.values() for report in reports):
        if getattr(report, "when", None) == "teardown":  # the last phase carries the laps of all three
            seconds = sum(value for name, value in report.user_properties if name == PROPERTY)
            tests[report.nodeid] += seconds
            files[report.nodeid.split("::")[0]] += seconds
    if not tests:
        return
    reporter.write_line(f"CPU seconds, processes of the tests included: {tests.total():.0f} in {len(tests)} tests")
    for title, counts in (("tests", tests), ("files", files)) if count else ():
        reporter.write_sep("=", f"the {min(count, len(counts))} dearest {title}, CPU seconds")
        for name, seconds in counts.most_common(count):
            reporter.write_line(f"{seconds:8.1f} {name}")
