"""Which tests must run in one process, and in what order, when `make test` divides them among processes.

Starting an engine takes half a minute, so tests share engines: those of tests/product one fleet, those of tests/engine
one engine of each kind. A session fixture belongs to one process. Tests that share engines therefore form one group,
and a process runs whole groups. This module knows the names of test files and fixtures; it starts nothing.
"""

from typing import Final

FLEET: Final = "the fleet"
ENGINES: Final = "the engines"
SHARED_FIXTURES: Final = {"busy_machine": FLEET, "shared": ENGINES}
"""The fixtures whose users form a group."""

SHARED_FOLDERS: Final = {"tests/product": FLEET, "tests/engine": ENGINES}
OWN_ENGINES: Final = {
    "tests/product": {"compiled", "lifecycle", "make_up"},
    "tests/engine": {
        "arguments_accepted", "hub", "orphans", "preemption", "recovery", "refused_start", "route_requests",
    },
}  # fmt: skip
"""The files of these folders whose tests share no engine with other files."""

START_ENGINES_THEMSELVES: Final = "tests/product/test_lifecycle.py"
"""Each test of this file starts a fleet, so each is a group."""


def group_of(nodeid: str) -> str:
    """The group of a test: by default its file."""
    file = nodeid.partition("::")[0]
    if file == START_ENGINES_THEMSELVES:
        return nodeid
    folder, _, name = file.rpartition("/")
    if folder in SHARED_FOLDERS and name.removeprefix("test_").removesuffix(".py") not in OWN_ENGINES[folder]:
        return SHARED_FOLDERS[folder]
    return file


def rank_of(nodeid: str) -> int:
    """Large groups start first, other tests that wait for engines next; fast tests fill the gaps at the end."""
    group = group_of(nodeid)
    if group in {FLEET, ENGINES}:
        return 0 if group == ENGINES else 1
    return 2 if nodeid.startswith(tuple(SHARED_FOLDERS)) else 3


def find_misplaced(nodeid: str, fixtures: list[str]) -> str:
    """Say why a test that uses a shared fixture is in the wrong group; "" when it is in the right one."""
    for fixture, group in SHARED_FIXTURES.items():
        if fixture in fixtures and group_of(nodeid) != group:
            return f"{nodeid} uses the fixture {fixture}: tests/groups.py must not list its file among OWN_ENGINES"
    return ""
