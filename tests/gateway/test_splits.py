"""A name may be divided between models by weight."""

from tests.gateway.wire import complete, get

from remuda.gateway.table import Endpoint, ModelRoute, Split, Table


def divided(site, *parts: tuple[str, int]) -> Table:
    models = tuple(
        ModelRoute(f"m{index}", f"m{index}", endpoints=(Endpoint(f"m{index}-0", "127.0.0.1", engine.port),))
        for index, engine in enumerate(site.engines)
    )
    return Table(models=models, splits=(Split("m", parts),))


def counts(site) -> list[int]:
    return [len(engine.requests) for engine in site.engines]


async def test_requests_to_a_divided_name_go_to_its_models_by_weight(sites):
    async with sites(engines=2) as site:
        site.gateway.apply(divided(site, ("m0", 3), ("m1", 1)))
        for _ in range(8):
            assert (await site.ask(complete())).status == 200
        assert counts(site) == [6, 2]
        assert [request.json["model"] for request in site.engines[1].requests] == ["m1", "m1"]


async def test_turns_go_on_when_a_table_changes_nothing_about_the_name(sites):
    async with sites(engines=2) as site:
        table = divided(site, ("m0", 1), ("m1", 1))
        for _ in range(6):
            site.gateway.apply(table)
            assert (await site.ask(complete())).status == 200
        assert counts(site) == [3, 3]


async def test_part_that_is_not_served_leaves_its_share_to_the_others(sites):
    async with sites() as site:
        site.gateway.apply(divided(site, ("m0", 1), ("gone", 99)))
        for _ in range(3):
            assert (await site.ask(complete())).status == 200
        assert counts(site) == [3]


async def test_divided_name_is_among_those_that_are_served(sites):
    async with sites() as site:
        site.gateway.apply(divided(site, ("m0", 1)))
        response = await site.ask(complete(model="other"))
        assert response.error["message"] == "The model 'other' does not exist. Served here: m, m0."
        assert (await site.ask(get("/ready/m"))).status == 200
