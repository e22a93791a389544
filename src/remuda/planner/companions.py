"""Settings that need each other, or exclude each other: speculative decoding, adapters, parsers, capabilities, free
flags.

Called by: `checks`.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from remuda import catalog
from remuda.planner.situation import Situation, error, warning
from remuda.spec import Problem, Speculative, parse_source
from remuda.vllm import owned

NEEDS_MODEL = frozenset({"draft_model", "eagle", "eagle3", "medusa", "mlp_speculator"})
GENERATES = frozenset({"chat", "completion", "code"})
POOLS = frozenset({"embedding", "rerank", "classify", "score"})


def check_speculative(situation: Situation) -> Iterator[Problem]:
    """What each method of speculative decoding needs beside it."""
    chosen = situation.engine.speculative
    if chosen is None:
        return
    path = "engine.speculative"
    if chosen.method in NEEDS_MODEL and chosen.model is None:
        yield error(path, f"method {chosen.method} needs a model that guesses", "add model: with its source")
    if chosen.method not in NEEDS_MODEL and chosen.model is not None:
        yield error(
            f"{path}.model", f"method {chosen.method} takes no model", "remove model, or use draft_model or eagle3"
        )
    tensor = situation.engine.parallel.tensor
    if chosen.tensor is not None and chosen.tensor not in {1, tensor}:
        message = f"the guessing model can be split over 1 or {tensor} GPUs, not {chosen.tensor}"
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
        yield error(f"{path}.promptLookupMin", message, "the shortest run cannot be longer than the longest")


def check_adapters(situation: Situation) -> Iterator[Problem]:
    """Limits of adapters without adapters, and the other way round."""
    engine = situation.engine
    for attribute, field in (("max_adapters", "maxAdapters"), ("max_adapter_rank", "maxAdapterRank")):
        if engine.has(attribute) and not engine.adapters:
            yield warning(
                f"engine.{field}", f"{field} has no effect without adapters", f"add adapters, or remove {field}"
            )
    for number, adapter in enumerate(engine.adapters):
        if parse_source(adapter.source).scheme == "demo" and not (situation.model.spec.source or "").startswith(
            "demo:"
        ):
            message = f"the adapter {adapter.name} was made for the demo model"
            yield error(f"engine.adapters.{number}.source", message, "an adapter fits only the model it was trained on")


def check_capabilities(situation: Situation) -> Iterator[Problem]:
    """What the model is said to be for, against what one engine can do."""
    spec = situation.model.spec
    generates, pools = GENERATES & set(spec.capabilities), POOLS & set(spec.capabilities)
    if generates and pools and spec.source:
        message = (
            f"one engine either generates ({', '.join(sorted(generates))}) or judges text ({', '.join(sorted(pools))})"
        )
        yield error("capabilities", message, "write two Models with the same source")
    names = situation.architectures
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


def check_parsers(situation: Situation) -> Iterator[Problem]:
    """Names of parsers against those this version of vLLM brings; a plugin may bring any."""
    engine = situation.engine
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


def check_free_flags(situation: Situation) -> Iterator[Problem]:
    """extraArgs and env against vLLM's own flags, and against what Remuda itself must set."""
    for refusal in owned.find_refusals(situation.model):
        place = refusal.place.replace("[", ".").rstrip("]")
        yield error(f"engine.{place}", refusal.message, refusal.hint)


def check_trust(situation: Situation) -> Iterator[Problem]:
    """Foreign code with weights that can change."""
    spec = situation.model.spec
    if not (spec.engine.trust_remote_code and spec.source):
        return
    source = parse_source(spec.source)
    if source.scheme == "hf" and source.revision is None:
        message = "trustRemoteCode runs whatever code the hub holds tomorrow"
        yield warning("engine.trustRemoteCode", message, f"pin the revision: {spec.source}@<commit>")
