"""References between documents are checked, and problems have positions."""

import pytest

from remuda import planner, spec


def document(kind: str, name: str, body: str) -> str:
    return f"apiVersion: remuda.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {body}\n"


HASH = "sha256:" + "0" * 64
A = document(
    "Model", "a", "{source: demo://x, aliases: [alias], engine: {adapters: [{name: lora, source: demo://x/y}]}}"
)


def check(*documents: str) -> list[str]:
    loaded = spec.load_text("---\n".join(documents), "f.yaml")
    return [f"{p.place} {p.severity} {p.where}: {p.message}" for p in planner.check_all(loaded)]


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        pytest.param(
            [A, document("ModelGateway", "g", "{listen: {host: 0.0.0.0}, auth: {mode: open}}")],
            "f.yaml:9:46 warning spec.auth.mode: anybody who can reach 0.0.0.0 can use every model",
            id="open to all",
        ),
        pytest.param(
            [A, document("Tenant", "t", "{models: [alas]}")],
            "f.yaml:9:17 warning spec.models[0]: no model among these files is called alas",
            id="tenant of an unknown model",
        ),
        pytest.param(
            [
                document("Tenant", "t", f"{{keys: [{{name: k, hash: '{HASH}'}}]}}"),
                document("Tenant", "u", f"{{keys: [{{name: k, hash: '{HASH}'}}]}}"),
            ],
            "f.yaml:9:31 error spec.keys[0].hash: this key belongs to the tenant t as well",
            id="one key, two tenants",
        ),
    ],
)
def test_a_wrong_reference_is_reported(documents: list[str], expected: str):
    assert check(*documents) == [expected]


@pytest.mark.parametrize(
    "documents",
    [
        pytest.param([A, document("Tenant", "t", "{models: [a, alias, lora]}")], id="tenant names all kinds of names"),
        pytest.param([A, document("ModelGateway", "g", "{listen: {host: localhost}}")], id="loopback"),
        pytest.param(
            [A, document("ModelGateway", "g", "{listen: {host: '::1'}, auth: {mode: open}}")], id="loopback 6"
        ),
    ],
)
def test_right_references_have_no_problems(documents: list[str]):
    assert check(*documents) == []


def test_listening_on_a_network_needs_keys_and_encryption():
    found = check(A, document("ModelGateway", "g", "{listen: {host: 0.0.0.0}}"))
    assert [line.split(": ", 1)[1] for line in found] == [
        "API keys cross the network unencrypted",
        "listening on 0.0.0.0 needs API keys, and there is no Tenant among these files",
    ]


def test_plan_error_lists_its_problems():
    loaded = spec.load_text(
        document("Model", "m", "{source: demo://x, hardware: {gpu: T4}, engine: {dtype: bfloat16}}"), "f"
    )
    failed = planner.PlanError(planner.check_all(loaded))
    assert str(failed) == (
        "1 problem found\nf:4:63: spec.engine.dtype: the T4 cannot compute in bfloat16\n  hint: write float16, or auto"
    )
