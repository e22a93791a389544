"""Names, defaults and numbers of engines of a Model."""

import pytest

from remuda import spec


def model(**fields: object) -> spec.Model:
    return spec.Model.model_validate({"metadata": {"name": "m"}, "spec": {"source": "demo://remuda-demo", **fields}})


def test_defaults_of_the_engine():
    engine = model().spec.engine
    assert (engine.max_num_seqs, engine.max_num_batched_tokens, engine.chunked_prefill) == (256, 32768, True)
    assert (engine.prefix_caching, engine.trust_remote_code, engine.scheduling_policy) == (True, False, "fcfs")
    assert (engine.startup_timeout, engine.drain_timeout) == (600.0, 30.0)


@pytest.mark.parametrize(
    ("fields", "replicas"),
    [
        ({}, 1),
        ({"replicas": 3}, 3),
        ({"replicas": 0}, 0),
        ({"scaling": {"min": 2}}, 2),
        ({"scaling": {}}, 1),
        ({"replicas": 3, "scaling": {"min": 2}}, 3),
    ],
    ids=repr,
)
def test_start_replicas(fields: dict[str, object], replicas: int):
    assert model(**fields).spec.start_replicas == replicas


def test_the_served_name_is_by_default_the_name():
    assert model().served_name == "m"
    assert model(servedName="org/M").served_name == "org/M"


def test_has_distinguishes_written_fields_from_defaults():
    engine = model(engine={"maxNumSeqs": 256}).spec.engine
    assert engine.has("max_num_seqs")
    assert not engine.has("max_num_batched_tokens")


def test_python_names_are_refused_in_files():
    text = "apiVersion: remuda.dev/v1alpha1\nkind: Model\nmetadata: {name: m}\nspec: {source: demo://x, served_name: y}"
    with pytest.raises(spec.SpecError, match="did you mean servedName"):
        spec.load_text(text)
