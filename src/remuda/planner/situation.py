"""What a check may know: the model, what it will run on as far as that is certain, and the model's own config.json.

Does: settle once whether this is a CPU or a GPU, and which one; answer questions about config.json whatever the
architecture calls things.
Does not know: what follows (the modules of checks).
Called by: `checks`.
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
class Situation:
    """One model and the facts around it."""

    model: spec.Model
    variant: Variant | None
    """None: `gpu: auto`, and nobody said what machine it is."""
    gpu: catalog.Gpu | None
    """None: a CPU, or a GPU that is not known."""
    config: Config
    """The model's config.json as vLLM will see it (`hf-overrides`); empty when it is not known."""

    @property
    def engine(self) -> spec.EngineSettings:
        return self.model.spec.engine

    @property
    def cpu_is_chosen(self) -> bool:
        """The file itself says CPU, so a setting for GPUs contradicts it; with `auto` it is merely not used here."""
        return self.model.spec.hardware.gpu == "none"

    def number(self, *names: str) -> int | None:
        """The first of these entries of config.json that is a whole number; nested text models are looked into."""
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
        """Whether the model is a mixture of experts; None when config.json is not at hand."""
        if not self.config:
            return None
        counts = [part.get(name) for part in _walk(self.config, 3) for name in _EXPERTS]
        return any(isinstance(count, int) and count > 0 for count in counts)

    def parts(self) -> Iterator[Config]:
        """config.json, and what it nests for the language model of one that takes more than text."""
        yield self.config
        for name in ("text_config", "llm_config", "language_config"):
            part = self.config.get(name)
            if isinstance(part, Mapping):
                yield part


def describe_situation(model: spec.Model, variant: Variant | None = None, config: Config | None = None) -> Situation:
    """Put together what is known. `variant` is what this machine has, where that matters; the file's own word wins."""
    named = model.spec.hardware.gpu
    if named == "none":
        variant = "cpu"
    elif named != "auto":
        variant = "cuda"
    gpu = catalog.find_gpu(named) if named not in {"auto", "none"} else None
    extra = model.spec.engine.extra_args
    if config and "hf-overrides" in extra:
        config = _override(config, extra["hf-overrides"])
    return Situation(model, variant, gpu, config or {})


def _walk(config: Config, levels: int) -> Iterator[Config]:
    """config.json and what is nested in it; the file is a stranger's, so not endlessly."""
    yield config
    if levels > 1:
        for value in config.values():
            if isinstance(value, Mapping):
                yield from _walk(value, levels - 1)


def _override(config: Config, overrides: object) -> Config:
    """What vLLM's `hf-overrides` make of it: a mapping lies over it, a function may make anything of it."""
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
    """A problem that would stop the engine; `path` is below `spec`, `adapters.0.name` style."""
    return Problem(_split(path), message, hint)


def warning(path: str, message: str, hint: str = "") -> Problem:
    """Something that works, but not as its author may think."""
    return Problem(_split(path), message, hint, "warning")


def _split(path: str) -> spec.FieldPath:
    return ("spec", *(int(step) if step.isdigit() else step for step in path.split(".")))
