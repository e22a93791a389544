"""Which model a request means: by name, alias or adapter; or any that fits. Refusals say what there is.

Does not know engines' states beyond "may one be picked". Called by `flow` and `generate`.
"""

from typing import Final

from remuda.gateway.access.keys import Principal
from remuda.gateway.api import problems
from remuda.gateway.api.ask import Ask, decode_name
from remuda.gateway.api.problems import Refused
from remuda.gateway.serving.directory import Directory, LiveModel, Served

_DEFAULT_CAPABILITY: Final = {"any": "chat"}


def choose_model(directory: Directory, ask: Ask, caller: Principal) -> Served:
    """What the asked name means, or, when none is asked, any model that fits; refuses what the caller may not use."""
    if ask.model is None:
        return _choose_any(directory, ask, caller)
    served = directory.by_json.get(ask.model)
    if served is None:
        name = decode_name(ask.model)
        served = directory.by_name.get(name)
        if served is None:
            raise Refused(problems.model_not_found(name, _visible(directory, caller)))
    if caller.models and served.canonical not in caller.models:
        raise Refused(problems.model_not_allowed(served.name or "", caller.tenant))
    capabilities = served.model.route.capabilities
    capability = ask.route.capability
    if capability != "any" and capability not in capabilities and not _chat_completes(capability, capabilities):
        raise Refused(problems.unsupported_capability(served.name or "", capability, capabilities))
    return served


def _chat_completes(capability: str, capabilities: tuple[str, ...]) -> bool:
    """A `code` model takes the generating routes too: `code` says what it is good at, not what it can do."""
    return "code" in capabilities and capability in {"chat", "completion"}


def _choose_any(directory: Directory, ask: Ask, caller: Principal) -> Served:
    wanted = ask.capability or _DEFAULT_CAPABILITY.get(ask.route.capability, ask.route.capability)
    allowed = [model for model in directory.models if caller.may_use(model.route.served_name)]
    fitting = [model for model in allowed if _fits(model, wanted, ask.max_tokens)]
    ready = [model for model in fitting if model.candidates]
    if not ready:
        bound = f" with max_tokens {ask.max_tokens}" if ask.max_tokens else ""
        considered = [f"{model.route.served_name} ({_why_not(model, wanted, ask)})" for model in allowed]
        raise Refused(problems.no_fitting_model(f"{wanted}{bound}", considered))
    model = min(ready, key=lambda live: min(load.work_tokens for load in live.loads))
    return Served(None, model)


def _fits(model: LiveModel, wanted: str, max_tokens: int | None) -> bool:
    if wanted not in model.route.capabilities:
        return False
    limit = model.route.max_tokens
    return limit is None or max_tokens is None or max_tokens <= limit


def _why_not(model: LiveModel, wanted: str, ask: Ask) -> str:
    if wanted not in model.route.capabilities:
        return "serves " + ", ".join(model.route.capabilities)
    if not _fits(model, wanted, ask.max_tokens):
        return f"takes at most {model.route.max_tokens} tokens"
    return model.route.waiting or "no engine is ready"


def _visible(directory: Directory, caller: Principal) -> list[str]:
    return [name for name, served in directory.by_name.items() if caller.may_use(served.canonical)]
