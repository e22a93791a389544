"""Secrets that a file refers to."""

import pytest

from remuda import spec
from remuda.machine.errors import SecretError
from remuda.machine.secrets import read_secret

PLACE = "model m: env KEY"


def refer(**fields: str) -> spec.SecretRef:
    return spec.SecretRef.model_validate(fields)


def test_a_secret_comes_from_the_variable_or_the_file_that_is_named_without_its_line_end(tmp_path):
    (tmp_path / "token").write_text("open-sesame\n")
    assert read_secret(refer(env="KEY"), PLACE, {"KEY": " open-sesame\n"}) == "open-sesame"
    assert read_secret(refer(file=str(tmp_path / "token")), PLACE) == "open-sesame"


REFUSED = {
    "variable not set": ({"env": "KEY"}, "the environment variable KEY is not set", "export KEY=… and try again"),
    "no file": (
        {"file": "/nonexistent/token"},
        "/nonexistent/token cannot be read: No such file or directory",
        "check the path and who may read it",
    ),
    "cluster": (
        {"secret": "s", "key": "k"},
        "the Kubernetes Secret s cannot be read on this machine",
        "use env or file for a model that runs outside a cluster",
    ),
}


@pytest.mark.parametrize(("fields", "message", "hint"), REFUSED.values(), ids=REFUSED)
def test_a_secret_that_cannot_be_read_names_its_reference(fields, message, hint):
    with pytest.raises(SecretError) as caught:
        read_secret(refer(**fields), PLACE, {})
    assert (caught.value.message, caught.value.hint) == (f"{PLACE}: {message}", hint)


@pytest.mark.parametrize(
    ("content", "reason", "hint"),
    [
        (b"\xff\xfe", "cannot be read: it is not text", "check the path and who may read it"),
        (b" \n", "is empty", "put the secret into it"),
    ],
    ids=["not text", "empty"],
)
def test_a_file_that_holds_no_secret_is_named(tmp_path, content, reason, hint):
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(SecretError) as caught:
        read_secret(refer(file=str(path)), PLACE)
    assert (caught.value.message, caught.value.hint) == (f"{PLACE}: {path} {reason}", hint)
