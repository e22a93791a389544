"""What all tests share: the state of a fresh terminal, hypothesis settings, and the record of what was proved.

docs/features.md names tests as proofs. A run fails when a proof in it fails or is skipped. A run of the whole suite
also fails when a proof did not run or when sources changed meanwhile, and writes build/test-results.json, which
`make check` reads. scripts/features.py decides what is a proof; this module only tells it the outcomes.
"""

import resource
import signal
from pathlib import Path

import hypothesis
import pytest
from scripts import features
from tests import groups

# A slow example shows a busy machine, not a fault in the code.
hypothesis.settings.register_profile(
    "remuda", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("remuda")

# `&`, `nohup` and some test runners ignore these signals, and child processes inherit that. Tests need the defaults.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGQUIT, signal.SIGHUP):
    signal.signal(_number, signal.SIG_DFL)

# Tests hold both ends of hundreds of connections in this process.
_, _most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (_most, _most))

SEVERITY = ("passed", "skipped", "failed")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # xdist's workers send their reports to the process that started them
        config.pluginmanager.register(Record(config), "remuda-record")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    check_marks(items)
    for item in items:
        if problem := groups.find_misplaced(item.nodeid, getattr(item, "fixturenames", [])):
            raise pytest.UsageError(problem)
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: groups.rank_of(item.nodeid))


def check_marks(items: list[pytest.Item]) -> None:
    """Refuse a mark that scripts/features.py cannot see, or that states no level."""
    seen: dict[Path, set[tuple[str, str, str | None, str | None]]] = {}
    for item in items:
        for mark in item.iter_markers("req"):
            if item.path not in seen:
                seen[item.path] = {(p.test, p.claim, p.level, p.on) for p in features.proofs_in(item.path)}
            for claim in mark.args:
                stated = (test_of(item.nodeid), claim, mark.kwargs.get("level"), mark.kwargs.get("on"))
                if stated not in seen[item.path] or stated[2] not in features.LEVELS:
                    form = '@pytest.mark.req("E4.beam-search", level="run", on="vLLM")'
                    raise pytest.UsageError(f"{item.nodeid}: the mark {claim} is not a decorator of the form {form}")


def test_of(nodeid: str) -> str:
    """The test of a node id, without its parameters."""
    return nodeid.partition("[")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Give each process whole groups of tests, in the order of collection."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return groups.group_of(nodeid)

    config.option.loadscopereorder = False
    return ByGroup(config, log)


class Record:
    """The outcomes of one run."""

    def __init__(self, config: pytest.Config) -> None:
        self.whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
        self.idle = config.option.collectonly or config.option.help
        self.results = features.Results("", "", self.whole)
        self.problems: list[str] = []

    def pytest_sessionstart(self) -> None:
        if self.whole:
            self.results.sources = features.fingerprint_sources()
            self.results.commit = features.name_commit()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        worst = max(self.results.tests.get(report.nodeid, "passed"), report.outcome, key=SEVERITY.index)
        self.results.tests[report.nodeid] = worst

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.idle or session.exitstatus not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
            return
        self.problems = features.find_unproved(features.all_proofs(), self.results)
        if self.whole:
            self.problems += self._write()
        if self.problems and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _write(self) -> list[str]:
        """Keep the results for `make check`, unless they belong to no single state of the sources."""
        if features.fingerprint_sources() != self.results.sources:
            features.RESULTS.unlink(missing_ok=True)
            return ["sources changed while the tests ran, so the results prove nothing; run them again"]
        self.results.write()
        return []

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for problem in self.problems:
            terminalreporter.write_line(f"error: {problem}", red=True)
