"""What a new table changes, and what it leaves as it is."""

import pytest

from remuda.gateway.serving.directory import Directory
from remuda.gateway.settings import GatewaySettings
from remuda.gateway.table import Endpoint, ModelRoute, Split, Table
from remuda.policy.blame import Blame
from remuda.policy.health import Event, State


def at(port: int, engine_id: str = "", **fields) -> Endpoint:
    return Endpoint(engine_id or f"e-{port}", "127.0.0.1", port, **fields)


def route(name: str, *ports: int, **fields) -> ModelRoute:
    return ModelRoute(name, name, endpoints=tuple(map(at, ports)), **fields)


@pytest.fixture
def directory() -> Directory:
    return Directory(GatewaySettings())


def apply(directory: Directory, *models: ModelRoute, splits: tuple[Split, ...] = ()) -> None:
    directory.apply(Table(models=models, splits=splits))


# ---- what survives


def test_models_survive_a_table_by_their_names(directory):
    apply(directory, route("a", 1), route("b", 2))
    a, b = directory.models
    a.turn, b.turn = 7, 9
    apply(directory, route("b", 2, 3), route("c", 4), route("a", 1, aliases=("x",)))
    assert [model.route.name for model in directory.models] == ["b", "c", "a"]
    assert (directory.models[0], directory.models[2]) == (b, a)
    assert (a.turn, b.turn, directory.models[1].turn) == (7, 9, 0)
    assert (len(b.candidates), a.route.aliases) == (2, ("x",))


def test_model_that_left_and_comes_back_begins_anew(directory):
    apply(directory, route("a", 1))
    directory.models[0].turn = 7
    apply(directory)
    apply(directory, route("a", 1))
    assert directory.models[0].turn == 0


def test_engines_survive_a_table_at_their_address(directory):
    apply(directory, route("a", 1))
    engine = directory.engines["e-1"]
    engine.load.lease(100)
    directory.see(engine, Event.CONNECT_FAILED)
    changed = ModelRoute("a", "a", endpoints=(at(1, upstream_model="other", api_key="k", state="draining"),))
    apply(directory, changed)
    assert directory.engines["e-1"] is engine
    assert (engine.model_name, engine.draining, engine.load.requests) == ("other", True, 1)
    assert engine.health.state is State.SUSPECT


@pytest.mark.parametrize("moved", [at(2, "e-1"), at(1, "e-1", tls=True)], ids=["port", "tls"])
def test_engine_at_another_address_is_another_engine(directory, moved):
    apply(directory, route("a", 1))
    before = directory.engines["e-1"]
    apply(directory, ModelRoute("a", "a", endpoints=(moved,)))
    assert directory.engines["e-1"] is not before
    assert before.pool.closed


def test_one_engine_of_two_models_is_one_engine(directory):
    apply(directory, route("a", 1), route("b", 1))
    assert directory.models[0].engines == directory.models[1].engines
    directory.see(directory.engines["e-1"], Event.CONNECT_FAILED)
    for _ in range(2):
        directory.see(directory.engines["e-1"], Event.CONNECT_FAILED)
    assert [model.ready for model in directory.models] == [False, False]


def test_engine_that_left_is_watched_as_long_as_it_has_connections(directory):
    apply(directory, route("a", 1, 2))
    first, second = directory.engines.values()
    first.pool.connections.add("a stream")
    apply(directory)
    assert list(directory.connected()) == [first]
    first.pool.connections.clear()
    assert list(directory.connected()) == []
    assert (first.pool.closed, second.pool.closed) == (True, True)


def test_tables_are_counted(directory):
    assert (directory.loaded, directory.generation, directory.first_table.is_set()) == (False, 0, False)
    apply(directory)
    apply(directory)
    assert (directory.loaded, directory.generation, directory.first_table.is_set()) == (True, 2, True)


def test_words_change_nothing_but_what_a_model_waits_for(directory):
    apply(directory, route("a", 1), ModelRoute("b", "b", waiting="loading"))
    models, engines = list(directory.models), dict(directory.engines)
    directory.explain({"b": "compiling", "gone": "x"})
    assert [model.explain_wait() for model in models] == ["its engines do not answer", "compiling"]
    assert (directory.models, directory.engines, directory.generation) == (models, engines, 1)
    apply(directory, route("a", 1), ModelRoute("b", "b", waiting="loading"))
    assert models[1].waiting == "loading"


# ---- names


def test_own_name_wins_over_adapters_and_adapters_over_aliases(directory):
    adapted = ModelRoute("a", "one", adapters=("two", "x"), adapter_aliases={"y": "x"}, aliases=("y", "z"))
    apply(directory, adapted, ModelRoute("b", "two", aliases=("z",)))
    found = {name: (served.model.route.name, served.canonical) for name, served in directory.by_name.items()}
    assert found == {
        "one": ("a", "one"),
        "two": ("b", "two"),
        "x": ("a", "x"),
        "y": ("a", "x"),
        "z": ("a", "one"),
    }
    assert directory.by_json[b'"y"'] is directory.by_name["y"]
    assert directory.find("nope") is None


def test_divided_name_goes_to_its_models_by_weight_and_hides_a_model_of_the_same_name(directory):
    models = (route("a", 1), route("b", 2), route("c", 3))
    apply(directory, *models, splits=(Split("a", (("a", 2), ("b", 1), ("gone", 5), ("c", 0))),))
    assert [directory.find("a").model.route.name for _ in range(6)] == ["a", "b", "a", "a", "b", "a"]
    assert b'"a"' not in directory.by_json
    assert directory.find("a").name == "a"
    assert directory.find("b").model.route.name == "b"


def test_name_that_is_divided_between_nothing_is_not_divided(directory):
    apply(directory, route("a", 1), splits=(Split("x", (("gone", 1),)), Split("y", (("a", 0),))))
    assert (directory.find("x"), directory.find("y")) == (None, None)


# ---- health


def test_candidates_follow_the_health_of_engines(directory):
    apply(directory, route("a", 1, 2, 3))
    (model,) = directory.models
    first, second, third = model.engines
    directory.see(first, Event.CONNECT_FAILED)
    assert model.candidates == [second, third]
    for engine in (second, third):
        directory.see(engine, Event.CONNECT_FAILED)
    assert model.candidates == [first, second, third]
    directory.see(third, Event.OK)
    assert model.candidates == [third]


def test_hung_engine_is_no_candidate_until_it_works_again(directory):
    apply(directory, route("a", 1, 2))
    (model,) = directory.models
    first, second = model.engines
    directory.set_hung(first, hung=True)
    assert model.candidates == [second]
    directory.set_hung(first, hung=False)
    assert model.candidates == [first, second]


def test_only_certain_blame_ejects_and_an_engine_that_left_is_not_blamed(directory):
    apply(directory, route("a", 1, 2))
    first, second = directory.engines.values()
    for _ in range(3):
        directory.blame(
            [
                Blame("e-1", Event.ENGINE_ERROR, certain=True),
                Blame("e-2", Event.ENGINE_ERROR, certain=False),
                Blame("gone", Event.BROKEN, certain=True),
            ]
        )
    assert (first.health.state, first.ejections) == (State.EJECTED, 1)
    assert (second.health.state, second.ejections) == (State.SUSPECT, 0)


def test_engine_without_recent_faults_is_pristine(directory):
    apply(directory, route("a", 1))
    (engine,) = directory.engines.values()
    assert engine.pristine
    directory.see(engine, Event.BROKEN, certain=False)
    assert not engine.pristine
    directory.see(engine, Event.OK)
    assert engine.pristine
