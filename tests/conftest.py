"""What every test shares: proofs may not be skipped.

docs/features.md names tests as proofs of capabilities (`@pytest.mark.req`). A proof that is skipped proves nothing,
so a run that skips one fails.
"""

import hypothesis
import pytest

# How long an example takes says something about the machine, not about the code: a busy one must not fail a test.
hypothesis.settings.register_profile(
    "remuda", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("remuda")

_SKIPPED_PROOFS = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SKIPPED_PROOFS] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call):
    report = yield
    if report.skipped and item.get_closest_marker("req"):
        item.config.stash[_SKIPPED_PROOFS].append(item.nodeid)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.stash[_SKIPPED_PROOFS] and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for nodeid in config.stash[_SKIPPED_PROOFS]:
        terminalreporter.write_line(
            f"error: {nodeid} proves a capability in docs/features.md and was skipped", red=True
        )
