import msgspec

from remuda.observe import metrics
from remuda.observe.figures import FigureBoard, Figures, pack_figures

RUNNING = {metrics.ENGINE_RUNNING: {("demo", "0"): 3, ("demo", "1"): 0}, metrics.ENGINE_KV_USAGE: {("demo", "0"): 0.5}}


def send(figures: Figures) -> Figures:
    """Over the wire."""
    return msgspec.json.decode(msgspec.json.encode(figures), type=Figures)


def test_what_was_packed_is_shown():
    board = FigureBoard()
    board.take(send(pack_figures(RUNNING, 15.0)), 100.0)
    assert board.read(101.0) == RUNNING


def test_nothing_is_shown_before_the_first_package():
    assert FigureBoard().read(0.0) == {}


def test_old_figures_are_left_out_rather_than_repeated():
    board = FigureBoard()
    board.take(pack_figures(RUNNING, 15.0), 100.0)
    assert board.read(115.0) == RUNNING
    assert board.read(115.1) == {}


def test_what_is_not_in_the_next_package_is_gone():
    board = FigureBoard()
    board.take(pack_figures(RUNNING, 15.0), 100.0)
    board.take(pack_figures({metrics.ENGINE_RUNNING: {("demo", "1"): 1}}, 15.0), 105.0)
    assert board.read(105.0) == {metrics.ENGINE_RUNNING: {("demo", "1"): 1}}


def test_only_declared_figures_of_the_fleet_with_their_own_labels_are_shown():
    board = FigureBoard()
    series = {
        "remuda_stray_total": [(("a",), 1.0)],
        metrics.REQUESTS.name: [(("a", "chat", "completed"), 1.0)],
        metrics.ENGINE_WAITING.name: [(("a",), 1.0), (("a", "0"), 2.0)],
    }
    board.take(Figures(series, 15.0), 0.0)
    assert board.read(0.0) == {metrics.ENGINE_WAITING: {("a", "0"): 2.0}}
