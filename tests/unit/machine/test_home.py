"""The folders of Remuda."""

from pathlib import Path

from remuda.machine.home import Home


def test_one_variable_puts_everything_under_one_folder():
    home = Home.from_environment({"REMUDA_HOME": "/srv/remuda", "XDG_DATA_HOME": "/ignored"})
    folders = (home.engines, home.weights, home.cache, home.state, home.logs)
    assert {folder.parent for folder in folders} == {Path("/srv/remuda")}


def test_otherwise_the_base_directories_of_the_user_decide():
    home = Home.from_environment({"HOME": "/home/u", "XDG_CACHE_HOME": "/fast/cache", "XDG_STATE_HOME": "relative"})
    assert home == Home(
        engines=Path("/home/u/.local/share/remuda/engines"),
        weights=Path("/home/u/.local/share/remuda/weights"),
        cache=Path("/fast/cache/remuda"),
        state=Path("/home/u/.local/state/remuda"),
        logs=Path("/home/u/.local/state/remuda/logs"),
    )
