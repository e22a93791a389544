import msgspec

from remuda.observe import metrics
from remuda.observe.figures import FigureBoard, Figures, pack_figures

RUNNING = {metrics.ENGINE_RUNNING: {("demo", "0"): 3, ("demo", "1"): 0}, metrics.ENGINE_KV_USAGE: {("demo", "0"): 0.5}}


def send(figures: Figures) -> Figures:
    """Encode and decode the package, as when it is sent."""
    return msgspec.json.decode(msgspec.json.encode(figures), type=Figures)


def test_packed_values_are_exposed():
    board = FigureBoard()
    board.take(send(pack_figures(RUNNING, 15.0)), 100.0)
    assert board.read(101.0) == RUNNING


def test_nothing_is_exposed_before_the_first_package():
    assert FigureBoard().read(0.0) == {}


def test_values_that_expired_are_left_out():
    board = FigureBoard()
    board.take(pack_figures(RUNNING, 15.0), 100.0)
    assert board.read(115.0) == RUNNING
    assert board.read(115.1) == {}


def test_a_value_that_is_missing_in_the_next_package_disappears():
    board = FigureBoard()
    board.take(pack_figures(RUNNING, 15.0), 100.0)
    board.take(pack_figures({metrics.ENGINE_RUNNING: {("demo", "1"): 1}}, 15.0), 105.0)
    assert board.read(105.0) == {metrics.ENGINE_RUNNING: {("demo", "1"): 1}}


def test_only_declared_metrics_of_the_fleet_with_their_labels_are_exposed():
    board = FigureBoard()
    series = {
        "remuda_stray_total": [(("a",), 1.0)],
        metrics.REQUESTS.name: [(("a", "chat", "completed"), 1.0)],
        metrics.ENGINE_WAITING.name: [(("a",), 1.0), (("a", "0"), 2.0)],
    }
    board.take(Figures(series, 15.0), 0.0)
    assert board.read(0.0) == {metrics.ENGINE_WAITING: {("a", "0"): 2.0}}
