"""Files in, checked objects out (first form: the strict reader follows)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError

from remuda.spec.gateway import ModelGateway
from remuda.spec.model import Model
from remuda.spec.problem import Problem, SpecError
from remuda.spec.tenant import Tenant

KINDS: dict[str, type[Model] | type[ModelGateway] | type[Tenant]] = {
    "Model": Model,
    "ModelGateway": ModelGateway,
    "Tenant": Tenant,
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the files contain."""

    models: tuple[Model, ...] = ()
    gateways: tuple[ModelGateway, ...] = ()
    tenants: tuple[Tenant, ...] = ()


def load_files(paths: Sequence[Path]) -> Loaded:
    """Read and check files. Raises SpecError with every problem."""
    return load_text("\n---\n".join(path.read_text() for path in paths))


def load_text(text: str, name: str = "<text>") -> Loaded:
    """Read and check one text. Raises SpecError with every problem."""
    problems: list[Problem] = []
    found: list[Model | ModelGateway | Tenant] = []
    for value in yaml.safe_load_all(text):
        if value is None:
            continue
        try:
            found.append(KINDS[value["kind"]].model_validate(value))
        except ValidationError as error:
            problems += [Problem(tuple(detail["loc"]), f"{name}: {detail['msg']}") for detail in error.errors()]
    if problems:
        raise SpecError(problems)
    return Loaded(
        tuple(each for each in found if isinstance(each, Model)),
        tuple(each for each in found if isinstance(each, ModelGateway)),
        tuple(each for each in found if isinstance(each, Tenant)),
    )
