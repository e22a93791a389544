import json
import re
import sys

import pytest
from click.testing import CliRunner

from remuda import spec
from remuda.cli import output
from remuda.cli.commands.tenant import command
from remuda.cli.main import run_command
from remuda.gateway.access.keys import KEY_PATTERN
from remuda.machine.home import Home


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("REMUDA_HOME", str(tmp_path))
    return tmp_path


def tenant(*arguments: str, text: str | None = None):
    return CliRunner().invoke(command, arguments, input=text, catch_exceptions=False)


@pytest.mark.req("G3.key-store", level="unit")
def test_create_prints_the_key_alone_on_standard_output_and_never_again(home):
    result = tenant("create", "acme", "--models", "a, b", "--expires", "90d")
    assert KEY_PATTERN.fullmatch(result.stdout.strip().encode())
    assert re.fullmatch(r"key k1 of tenant acme, valid until \S+Z; it is shown only once:\n", result.stderr)
    everything = tenant("list").output + tenant("list", "--json").output + tenant("list", "--yaml").output
    assert result.stdout.strip() not in everything
    assert (home / "state" / "tenants.json").exists()


def test_list_shows_tenants_keys_and_models():
    tenant("create", "acme", "--models", "a,b", "--expires", "90d")
    tenant("create", "beta")
    tenant("rotate", "acme", "--grace", "0s")
    table = tenant("list").stdout
    moment = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert re.fullmatch(
        rf"TENANT +KEY +CREATED +EXPIRES +MODELS\n"
        rf"acme +k1 +{moment} +{moment} \(expired\) +a, b\n"
        rf"acme +k2 +{moment} +{moment} +a, b\n"
        rf"beta +k1 +{moment} +never +all\n",
        table,
    )


def test_list_as_json_is_for_programs():
    tenant("create", "acme", "--models", "a")
    (only,) = json.loads(tenant("list", "--json").stdout)
    created = only["keys"][0].pop("created")
    assert created.endswith("Z")
    assert only == {"name": "acme", "models": ["a"], "keys": [{"name": "k1", "expires": None, "expired": False}]}


def test_list_as_yaml_is_what_the_cluster_and_remuda_up_read():
    tenant("create", "acme")
    tenant("create", "beta", "--models", "a")
    loaded = spec.load_text(tenant("list", "--yaml").stdout)
    assert [document.metadata.name for document in loaded.tenants] == ["acme", "beta"]


def test_list_without_tenants_states_the_consequence():
    result = tenant("list")
    assert (result.stdout, result.exit_code) == ("", 0)
    assert (
        result.stderr
        == "there are no tenants: a gateway that starts now needs no API key and accepts only local clients\n"
    )
    assert json.loads(tenant("list", "--json").stdout) == []


def test_rotate_prints_a_new_key_and_the_time_left_for_old_keys():
    old = tenant("create", "acme").stdout
    result = tenant("rotate", "acme", "--grace", "1h")
    assert KEY_PATTERN.fullmatch(result.stdout.strip().encode())
    assert result.stdout != old
    assert result.stderr.endswith("older keys of acme work for 1 h more\n")
    assert tenant("rotate", "acme", "--grace", "0s").stderr.endswith("older keys of acme no longer work\n")


def test_revoke_removes_a_key_or_the_tenant():
    tenant("create", "acme")
    tenant("rotate", "acme")
    tenant("create", "beta")
    assert tenant("revoke", "acme", "--key", "k1", "--yes").stderr == "removed key k1 of acme\n"
    assert [key["name"] for key in json.loads(tenant("list", "--json").stdout)[0]["keys"]] == ["k2"]
    assert tenant("revoke", "acme", "--yes").stderr == "removed tenant acme and all its keys\n"
    assert [found["name"] for found in json.loads(tenant("list", "--json").stdout)] == ["beta"]


def test_without_a_terminal_revoke_needs_confirmation_by_an_option(capsys, monkeypatch):
    tenant("create", "acme")
    monkeypatch.setattr(output, "is_terminal", lambda _: False)
    assert run_command(["tenant", "revoke", "acme", "--key", "k1"]) == 1
    assert capsys.readouterr().err == (
        "error: removing key k1 of acme needs confirmation, and there is no terminal to ask on\n"
        "hint: add --yes to confirm\n"
    )
    assert len(json.loads(tenant("list", "--json").stdout)) == 1


@pytest.mark.parametrize(("answer", "left"), [("n\n", 1), ("\n", 1), ("y\n", 0)], ids=["no", "enter", "yes"])
def test_on_a_terminal_revoke_asks_first(monkeypatch, answer, left):
    monkeypatch.setattr(output, "is_terminal", lambda stream: stream is sys.stdin)
    tenant("create", "acme")
    told = tenant("revoke", "acme", text=answer).stderr
    assert told.startswith("remove tenant acme and all its keys? [y/N]: ")
    assert len(json.loads(tenant("list", "--json").stdout)) == left


def test_revoking_the_last_tenant_opens_nothing_and_says_how_to():
    tenant("create", "acme")
    path = Home.from_environment().state / "tenants.json"
    closed = (
        "there is no API key, so the gateway refuses every request, also after a restart\n"
        "hint: `remuda tenant create NAME` makes a key; `auth: {mode: open}` in a ModelGateway serves without keys, "
        f"and so does removing {path} before the gateway starts\n"
    )
    assert tenant("revoke", "acme", "--yes").stderr == "removed tenant acme and all its keys\n" + closed
    assert tenant("list").stderr == closed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "Acme"], "error: 'Acme' cannot be the name of a tenant\nhint: at most 63 "),
        (["rotate", "acme"], "error: there is no tenant acme\nhint: `remuda tenant create acme` makes it\n"),
        (["create", "a", "--expires", "5w"], "error: invalid value for '--expires': '5w' is not a length of time"),
        (["create", "a", "--expires", "0s"], "error: a key that expires after 0 s could never be used\n"),
    ],
    ids=["bad name", "nobody", "bad time", "no time"],
)  # fmt: skip
def test_mistakes_are_reported_with_a_hint_and_no_traceback(capsys, arguments, message):
    assert run_command(["tenant", *arguments]) != 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(message)


def test_a_damaged_store_is_reported_and_not_changed(home, capsys):
    (home / "state").mkdir()
    (home / "state" / "tenants.json").write_text("{")
    assert run_command(["tenant", "create", "acme"]) == 1
    assert "is not a tenant store" in capsys.readouterr().err
    assert (home / "state" / "tenants.json").read_text() == "{"
