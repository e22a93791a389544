"""`remuda schema` prints the JSON Schema of a document, for editors, or the CRDs, for Kubernetes."""

import sys

import click

from remuda.cli import output

KINDS = {"model": "Model", "gateway": "ModelGateway", "tenant": "Tenant"}


@click.command(short_help="Print the JSON Schema or the CRDs of model files.")
@click.argument("kind", metavar="[KIND]", type=click.Choice(list(KINDS)), required=False)
@click.option("--crd", "as_crd", is_flag=True, help="Print the CustomResourceDefinitions for `kubectl apply -f -`.")
def command(kind: str | None, as_crd: bool) -> None:
    """Print the JSON Schema or the CRDs of model files.

    KIND is model, gateway or tenant. Without KIND, the command prints the JSON Schema of a Model, or with --crd the
    definitions of all three kinds.
    """
    if as_crd:
        _print_crds([kind] if kind else list(KINDS))
    else:
        from remuda.spec.schemas.json_schema import json_schema

        output.print_json(json_schema(KINDS[kind or "model"]))  # type: ignore[arg-type]


def _print_crds(kinds: list[str]) -> None:
    import yaml

    from remuda.spec.schemas.crd import crd

    definitions = [crd(KINDS[kind]) for kind in kinds]  # type: ignore[arg-type]
    yaml.safe_dump_all(definitions, sys.stdout, sort_keys=False, width=120, allow_unicode=True)
