"""Which model a request means: by name, alias or adapter; or any that fits. Refusals say what there is.

Does not know the state of engines beyond whether one may be picked.
"""

from typing import Final

from remuda.gateway.access.keys import Principal
from remuda.gateway.api import problems
from remuda.gateway.api.ask import Ask, decode_name
from remuda.gateway.api.problems import Refused
from remuda.gateway.serving.directory import Directory, Served
from remuda.gateway.serving.live_model import LiveModel
from remuda.policy import fit
from remuda.policy.fit import Offer

_DEFAULT_CAPABILITY: Final = {"any": "chat"}


def choose_model(directory: Directory, ask: Ask, caller: Principal) -> Served:
    """What the asked name means, or, when none is asked, any model that fits; refuses what the caller may not use."""
    if ask.model is None:
        return _choose_any(directory, ask, caller)
    served = directory.by_json.get(ask.model)
    if served is None:
        name = decode_name(ask.model)
        served = directory.find(name)
        if served is None:
            raise Refused(problems.model_not_found(name, list_visible(directory, caller)))
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
    chosen = fit.choose_model([_offer_of(model) for model in allowed], wanted, ask.max_tokens)
    if chosen is None:
        bound = f" with max_tokens {ask.max_tokens}" if ask.max_tokens else ""
        considered = [f"{model.route.served_name} ({_why_not(model, wanted, ask.max_tokens)})" for model in allowed]
        raise Refused(problems.no_fitting_model(f"{wanted}{bound}", considered))
    return Served(None, allowed[chosen])


def _offer_of(model: LiveModel) -> Offer:
    return Offer(model.route.capabilities, model.route.max_tokens, model.least_work_tokens)


def _why_not(model: LiveModel, wanted: str, max_tokens: int | None) -> str:
    if wanted not in model.route.capabilities:
        return "serves " + ", ".join(model.route.capabilities)
    if not fit.fits(_offer_of(model), wanted, max_tokens):
        return f"takes at most {model.route.max_tokens} tokens"
    return model.waiting or "no engine is ready"


def list_visible(directory: Directory, caller: Principal) -> list[str]:
    """The names that the caller may use, and may be told."""
    names = [name for name, served in directory.by_name.items() if caller.may_use(served.canonical)]
    divided = [
        name
        for name, split in directory.splits.items()
        if any(caller.may_use(served.canonical) for served in split.members)
    ]
    return list(dict.fromkeys([*names, *divided]))
