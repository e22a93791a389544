"""The facts that every check works from: the model, its device as far as it is known, and its config.json.

This module decides once whether the model runs on a CPU or a GPU and on which GPU. It reads values from config.json
under the different names that architectures give them. It does not know which problems follow from the facts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from remuda import catalog, spec
from remuda.spec import Problem

Variant = Literal["cpu", "cuda"]
Config = Mapping[str, object]

_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One model, its device and its config.json."""

    model: spec.Model
    variant: Variant | None
    """None means that the file says `gpu: auto` and the machine is not known."""
    gpu: catalog.Gpu | None
    """None means a CPU, or a GPU that the catalog does not list."""
    config: Config
    """config.json after vLLM applied `hf-overrides`; empty when it is not known."""

    @property
    def engine(self) -> spec.EngineSettings:
        return self.model.spec.engine

    @property
    def cpu_is_chosen(self) -> bool:
        """Whether the file itself says `gpu: none`.

        A setting for GPUs then contradicts the file. With `gpu: auto` on a CPU it is only unused on this machine.
        """
        return self.model.spec.hardware.gpu == "none"

    def number(self, *names: str) -> int | None:
        """The first of these entries of config.json, nested text models included, that is a whole number above 0."""
        for part in self.parts():
            for name in names:
                value = part.get(name)
                if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                    return value
        return None

    @property
    def architectures(self) -> tuple[str, ...]:
        named = self.config.get("architectures")
        return tuple(str(name) for name in named) if isinstance(named, list) else ()

    @property
    def is_moe(self) -> bool | None:
        """Whether the model is a mixture of experts; None when config.json is not known."""
        if not self.config:
            return None
        counts = [part.get(name) for part in _walk(self.config, 3) for name in _EXPERTS]
        return any(isinstance(count, int) and count > 0 for count in counts)

    def parts(self) -> Iterator[Config]:
        """config.json, and the part of it that describes the language model of a multimodal model."""
        yield self.config
        for name in ("text_config", "llm_config", "language_config"):
            part = self.config.get(name)
            if isinstance(part, Mapping):
                yield part


def collect_facts(model: spec.Model, variant: Variant | None = None, config: Config | None = None) -> ModelFacts:
    """Collect what is known about a model. The file's `gpu` decides the device; `variant` decides for `gpu: auto`."""
    named = model.spec.hardware.gpu
    if named == "none":
        variant = "cpu"
    elif named != "auto":
        variant = "cuda"
    gpu = catalog.find_gpu(named) if named not in {"auto", "none"} else None
    extra = model.spec.engine.extra_args
    if config and "hf-overrides" in extra:
        config = _override(config, extra["hf-overrides"])
    return ModelFacts(model, variant, gpu, config or {})


def _walk(config: Config, levels: int) -> Iterator[Config]:
    """config.json and the mappings nested in it, down to a fixed depth, because the file comes from outside."""
    yield config
    if levels > 1:
        for value in config.values():
            if isinstance(value, Mapping):
                yield from _walk(value, levels - 1)


def _override(config: Config, overrides: object) -> Config:
    """config.json with vLLM's `hf-overrides` applied; empty when they name a function, whose result is not known."""
    if isinstance(overrides, str):
        try:
            overrides = json.loads(overrides)
        except ValueError:
            return {}
    if not isinstance(overrides, Mapping):
        return {}
    return {**config, **{name: _lay_over(config.get(name), value) for name, value in overrides.items()}}


def _lay_over(below: object, above: object) -> object:
    return {**below, **above} if isinstance(below, Mapping) and isinstance(above, Mapping) else above


def error(path: str, message: str, hint: str = "") -> Problem:
    """A problem that would stop the engine. `path` is relative to `spec` and written like `engine.adapters.0.name`."""
    return Problem(_split(path), message, hint)


def warning(path: str, message: str, hint: str = "") -> Problem:
    """A setting that works, but perhaps not as its author expects."""
    return Problem(_split(path), message, hint, "warning")


def _split(path: str) -> spec.FieldPath:
    return ("spec", *(int(step) if step.isdigit() else step for step in path.split(".")))
