"""Checks of optional features: speculative decoding, adapters, capabilities, parsers, extra flags and remote code.

Most of them find settings that need each other or exclude each other. They do not look at sizes or hardware.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from remuda import catalog
from remuda.planner.facts import ModelFacts, error, warning
from remuda.spec import Problem, Speculative, parse_source
from remuda.vllm import owned

NEEDS_MODEL = frozenset({"draft_model", "eagle", "eagle3", "medusa", "mlp_speculator"})
GENERATES = frozenset({"chat", "completion", "code"})
POOLS = frozenset({"embedding", "rerank", "classify", "score"})


def check_speculative(facts: ModelFacts) -> Iterator[Problem]:
    """Check that each method of speculative decoding has the settings it needs, and no others."""
    chosen = facts.engine.speculative
    if chosen is None:
        return
    path = "engine.speculative"
    if chosen.method in NEEDS_MODEL and chosen.model is None:
        yield error(path, f"method {chosen.method} needs a draft model", "add model: with its source")
    if chosen.method not in NEEDS_MODEL and chosen.model is not None:
        yield error(
            f"{path}.model", f"method {chosen.method} takes no model", "remove model, or use draft_model or eagle3"
        )
    tensor = facts.engine.parallel.tensor
    if chosen.tensor is not None and chosen.tensor not in {1, tensor}:
        message = f"the draft model can be split over 1 or {tensor} GPUs, not {chosen.tensor}"
        yield error(f"{path}.tensor", message, "1, or as many as engine.parallel.tensor")
    yield from _check_lookup(chosen)


def _check_lookup(chosen: Speculative) -> Iterator[Problem]:
    path = "engine.speculative"
    least, most = chosen.prompt_lookup_min, chosen.prompt_lookup_max
    if chosen.method != "ngram" and (least or most):
        field = "promptLookupMin" if least else "promptLookupMax"
        yield error(f"{path}.{field}", f"{field} belongs to method ngram, not {chosen.method}", f"remove {field}")
    elif least and most and least > most:
        message = f"promptLookupMin {least} is larger than promptLookupMax {most}"
        yield error(f"{path}.promptLookupMin", message, "promptLookupMin must not be larger than promptLookupMax")


def check_adapters(facts: ModelFacts) -> Iterator[Problem]:
    """Report limits for adapters of a model without adapters, and demo adapters on another model than the demo
    model."""
    engine = facts.engine
    for attribute, field in (("max_adapters", "maxAdapters"), ("max_adapter_rank", "maxAdapterRank")):
        if engine.has(attribute) and not engine.adapters:
            yield warning(
                f"engine.{field}", f"{field} has no effect without adapters", f"add adapters, or remove {field}"
            )
    for number, adapter in enumerate(engine.adapters):
        if parse_source(adapter.source).scheme == "demo" and not (facts.model.spec.source or "").startswith("demo:"):
            message = f"the adapter {adapter.name} was made for the demo model"
            yield error(f"engine.adapters.{number}.source", message, "an adapter works only with its own base model")


def check_capabilities(facts: ModelFacts) -> Iterator[Problem]:
    """Compare `capabilities` with what one engine can do and with the model's architecture."""
    spec = facts.model.spec
    generates, pools = GENERATES & set(spec.capabilities), POOLS & set(spec.capabilities)
    if generates and pools and spec.source:
        chosen = f"({', '.join(sorted(generates))}) or runs pooling tasks ({', '.join(sorted(pools))})"
        message = f"one engine either generates text {chosen}, not both"
        yield error("capabilities", message, "write two Models with the same source")
    names = facts.architectures
    if generates and any(name.endswith(("ForSequenceClassification", "BertModel", "RobertaModel")) for name in names):
        yield error(
            "capabilities", f"a {names[0]} does not generate text", "capabilities: [embedding], [classify] or [score]"
        )
    if (
        "transcription" in spec.capabilities
        and names
        and not any("Whisper" in name or "Audio" in name for name in names)
    ):
        yield warning("capabilities", f"a {names[0]} is not known to transcribe speech", "remove transcription")
    if spec.engine.tool_parser and "chat" not in spec.capabilities:
        yield warning("engine.toolParser", "tools are part of chat, which is not among the capabilities", "add chat")


def check_parsers(facts: ModelFacts) -> Iterator[Problem]:
    """Compare parser names with those of this version of vLLM. A parser from a plugin may have any name."""
    engine = facts.engine
    known = catalog.find_parsers(engine.version)
    if known is None:
        return
    for field, name, names, plugin in (
        ("toolParser", engine.tool_parser, known.tool, "tool-parser-plugin"),
        ("reasoningParser", engine.reasoning_parser, known.reasoning, "reasoning-parser-plugin"),
    ):
        if name is not None and name not in names and plugin not in engine.extra_args:
            near = get_close_matches(name, names, 1) or [known for known in names if name in known or known in name][:1]
            hint = f"did you mean {near[0]}?" if near else "it has " + ", ".join(names)
            yield error(f"engine.{field}", f"vLLM {engine.version} has no {field} {name}", hint)


def check_free_flags(facts: ModelFacts) -> Iterator[Problem]:
    """Compare `extraArgs` and `env` with vLLM's flags, and refuse those that Remuda sets itself."""
    for refusal in owned.find_refusals(facts.model):
        place = refusal.place.replace("[", ".").rstrip("]")
        yield error(f"engine.{place}", refusal.message, refusal.hint)


def check_trust(facts: ModelFacts) -> Iterator[Problem]:
    """Warn when trustRemoteCode runs code from a revision that can change."""
    spec = facts.model.spec
    if not (spec.engine.trust_remote_code and spec.source):
        return
    source = parse_source(spec.source)
    if source.scheme == "hf" and source.revision is None:
        message = "trustRemoteCode runs code from a revision of the hub that can change at any time"
        yield warning("engine.trustRemoteCode", message, f"pin the revision: {spec.source}@<commit>")
