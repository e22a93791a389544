"""What every test shares: proofs may not be skipped.

docs/features.md names tests as proofs of capabilities (`@pytest.mark.req`). A proof that is skipped proves nothing,
so a run that skips one fails.
"""

import resource
import signal

import hypothesis
import pytest

# How long an example takes says something about the machine, not about the code: a busy one must not fail a test.
hypothesis.settings.register_profile(
    "remuda", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("remuda")

# As in front of a person, whatever started the tests: `&`, `nohup` and some runners leave these ignored, which children
# inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGQUIT, signal.SIGHUP):
    signal.signal(_number, signal.SIG_DFL)

# Hundreds of connections have both their ends in this process.
_, _most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (_most, _most))

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
