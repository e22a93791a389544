"""Tests that share engines run in one process, and the slowest groups start first."""

import pytest
from tests import groups


@pytest.mark.parametrize(
    ("nodeid", "group", "rank"),
    [
        ("tests/engine/test_serving.py::test_x[a]", groups.ENGINES, 0),
        ("tests/engine/test_anything_new.py::test_x", groups.ENGINES, 0),
        ("tests/product/test_keys.py::test_x", groups.FLEET, 1),
        ("tests/product/test_make_up.py::test_x", "tests/product/test_make_up.py", 2),
        ("tests/engine/test_hub.py::test_x", "tests/engine/test_hub.py", 2),
        ("tests/product/test_lifecycle.py::test_x", "tests/product/test_lifecycle.py::test_x", 2),
        ("tests/unit/policy/test_route.py::test_x", "tests/unit/policy/test_route.py", 3),
    ],
)
def test_a_test_has_its_group_and_rank(nodeid, group, rank):
    assert (groups.group_of(nodeid), groups.rank_of(nodeid)) == (group, rank)


def test_a_test_that_shares_engines_outside_their_group_is_named():
    misplaced = groups.find_misplaced("tests/engine/test_hub.py::test_x", ["request", "shared"])
    assert misplaced == (
        "tests/engine/test_hub.py::test_x uses the fixture shared: "
        "tests/groups.py must not list its file among OWN_ENGINES"
    )
    assert groups.find_misplaced("tests/engine/test_serving.py::test_x", ["shared"]) == ""
