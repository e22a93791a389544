"""Turns a validation error of pydantic into a message and a hint for the author of the file.

For each kind of error it says what is wrong with the value as it was written, and what to write instead. It is given
the node of the value and does not know files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, get_args

from pydantic_core import ErrorDetails

from remuda.spec.documents import engine, gateway, model, shape, tenant
from remuda.spec.documents.fields import annotation_at
from remuda.spec.documents.shape import Shape
from remuda.spec.loading.scalars import describe
from remuda.spec.loading.suggest import hint_unknown
from remuda.spec.loading.tree import Node
from remuda.spec.problem import FieldPath
from remuda.spec.secrets import looks_secret, show


@dataclass(frozen=True, slots=True)
class Finding:
    """One validation error with its path, the node at that path, and pydantic's context."""

    root: type[Shape]
    path: FieldPath
    node: Node | None
    context: Mapping[str, Any]

    @property
    def shown(self) -> str:
        """The value as it was written, for use in a message."""
        if self.node is None:
            return "the value"
        if self.node.entries is not None or self.node.items is not None:
            return describe(self.node.value())
        return show(self.node.written) if self.node.written or not self.node.plain else "no value"

    @property
    def written(self) -> str:
        return self.node.written if self.node is not None else ""


Words = tuple[str, str]

_FORMS: Final[dict[str, str]] = {
    shape.NAME_PATTERN: "lower-case letters, digits and hyphens, at most 63, a letter or digit at both ends",
    shape.SERVED_NAME_PATTERN: "letters, digits and . _ - : / @ +, beginning with a letter or digit",
    shape.ENV_PATTERN: "letters, digits and _, not beginning with a digit",
    engine.FLAG_PATTERN: "the flag as vLLM spells it, without the leading dashes, for example stream-interval",
    shape.FILE_PATH_PATTERN: "an absolute path, beginning with /",
    model.ENDPOINT_URL_PATTERN: "an address such as http://10.0.0.7:8000, without user, query or fragment",
    tenant.KEY_HASH_PATTERN: "sha256: and 64 hexadecimal digits; `remuda tenant create` makes a key and its hash",
    gateway.ORIGIN_PATTERN: "an origin such as https://app.example.org, or *",
    gateway.FIELD_NAME_PATTERN: "the name of a request field: small letters, digits and _",
}


def explain(root: type[Shape], path: FieldPath, node: Node | None, error: ErrorDetails) -> Words:
    """The message and the hint for one validation error."""
    finding = Finding(root, path, node, error.get("ctx") or {})
    kind = error["type"]
    if (
        node is not None
        and node.plain
        and node.scalar is None
        and node.entries is None
        and kind not in {"missing", "extra_forbidden"}
    ):
        return _explain_empty(finding)
    handler = _HANDLERS.get(kind)
    if handler is None:
        return f"{finding.shown}: {error['msg'].lower()}", ""
    return handler(finding)


def _explain_empty(_finding: Finding) -> Words:
    return "has no value", "remove the line for the default, or write a value"


def _explain_unknown(finding: Finding) -> Words:
    wrong = str(finding.path[-1])
    if finding.path[0] == "metadata" and wrong in _CLUSTER_METADATA:
        return f"only the cluster writes {show(wrong)}", "remove it"
    if finding.path == ("status",):
        return "only the cluster writes status", "remove it"
    if looks_secret(wrong):
        return "unknown field (a secret, not shown)", "remove it"
    return f"unknown field {show(wrong)}", hint_unknown(finding.root, finding.path)


_CLUSTER_METADATA: Final = frozenset(
    {
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "managedFields",
        "selfLink",
        "deletionTimestamp",
        "ownerReferences",
        "finalizers",
    }
)


def _explain_missing(finding: Finding) -> Words:
    return f"the field {show(str(finding.path[-1]))} is missing", f"add {finding.path[-1]}: here"


def _explain_text(finding: Finding) -> Words:
    node = finding.node
    if node is None or node.entries is not None or node.items is not None:
        return f"must be text, not {finding.shown}", "write one word or one quoted line"
    return f"must be text; {finding.shown} without quotes means {describe(node.scalar)}", f'write "{node.written[:60]}"'


def _explain_whole(finding: Finding) -> Words:
    text = finding.written.strip()
    if re.fullmatch(r"-?[0-9]{1,18}", text):
        return f"must be a whole number; {finding.shown} in quotes is text", f"write {text} without quotes"
    if re.fullmatch(r"-?[0-9]{1,18}\.0*", text):
        return f"{finding.shown} is not a whole number", f"write {text.split('.')[0]}"
    if match := re.fullmatch(r"([0-9]{1,9})\s*[kK]", text):
        return f"{finding.shown} is not a whole number", f"write {int(match[1]) * 1000} or {int(match[1]) * 1024}"
    if re.fullmatch(r"[0-9]{1,3}([,. '][0-9]{3})+", text):
        return f"{finding.shown} is not a whole number", f"write {re.sub('[^0-9]', '', text)}"
    return f"{finding.shown} is not a whole number", "write digits only"


def _explain_number(finding: Finding) -> Words:
    text = finding.written.strip()
    if re.fullmatch(r"[0-9]{1,3}(\.[0-9]+)?\s*%", text):
        return f"{finding.shown} is not a number", f"write {float(text.rstrip('% ')) / 100:g}"
    if re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]+)?", text):
        return f"must be a number; {finding.shown} in quotes is text", f"write {text} without quotes"
    return f"{finding.shown} is not a number", "write a number, for example 0.9"


def _explain_flag(finding: Finding) -> Words:
    text = finding.written.strip().lower()
    meant = {
        "1": "true",
        "0": "false",
        "yes": "true",
        "no": "false",
        "on": "true",
        "off": "false",
        "enabled": "true",
        "disabled": "false",
    }
    meant |= {
        "true": "true",
        "false": "false",
        "enable": "true",
        "disable": "false",
        "auto": "true or false, or leave it out",
    }
    return f"{finding.shown} is neither true nor false", f"write {meant.get(text, 'true or false')}, without quotes"


def _explain_list(finding: Finding) -> Words:
    text = finding.written
    scalar = finding.node is not None and finding.node.entries is None
    return f"must be a list, not {finding.shown}", f"write [{text[:60]}]" if scalar and text and not looks_secret(
        text
    ) else "write `- ` before each item"


def _explain_mapping(finding: Finding) -> Words:
    return f"must be a mapping (name: value), not {finding.shown}", "write its fields below it, indented"


def _explain_choice(finding: Finding) -> Words:
    choices = [str(choice) for choice in get_args(annotation_at(finding.root, finding.path))]
    choices = choices or re.findall("'([^']*)'", str(finding.context.get("expected", "")))
    listed = ", ".join(choices)
    text = finding.written.lower().replace("_", "").replace("-", "")
    squashed = {choice.lower().replace("_", "").replace("-", ""): choice for choice in choices}
    near = _MEANT.get(finding.written.lower()) if _MEANT.get(finding.written.lower()) in choices else None
    if near is None:
        close = get_close_matches(text, squashed, 1, cutoff=0.6)
        near = squashed[close[0]] if close else None
    return f"{finding.shown} is not one of {listed}", f"did you mean {near}?" if near else "write one of them"


_MEANT: Final = {
    "half": "float16", "fp16": "float16", "bf16": "bfloat16", "fp32": "float32", "float": "float32", "none": "open",
    "int8": "compressed-tensors", "auto_gptq": "gptq", "auto_awq": "awq", "gptq_marlin": "gptq", "awq_marlin": "awq",
    "embeddings": "embedding", "embed": "embedding", "fifo": "fcfs", "warn": "warning", "text": "human",
}  # fmt: skip


def _explain_bound(words: str, key: str) -> Callable[[Finding], Words]:
    def explain_bound(finding: Finding) -> Words:
        limit = finding.context[key]
        shown = f"{limit:g}" if isinstance(limit, float) else str(limit)
        return (
            f"{finding.shown} is {'too small' if key in {'ge', 'gt'} else 'too large'}",
            f"write a number that is {words} {shown}",
        )

    return explain_bound


def _explain_form(finding: Finding) -> Words:
    pattern = str(finding.context.get("pattern"))
    hint = _FORMS.get(pattern, f"it must match {pattern}")
    if pattern == shape.NAME_PATTERN and not looks_secret(finding.written):
        fixed = re.sub(r"[^a-z0-9]+", "-", finding.written.lower()).strip("-")[:63].strip("-")
        hint = f"did you mean {fixed}? " + f"A name has {hint}" if fixed else hint
    return f"{finding.shown} does not have the right form", hint


def _explain_short(_finding: Finding) -> Words:
    return "is empty", "write something, or remove the line"


def _explain_long(finding: Finding) -> Words:
    limit = finding.context.get("max_length")
    what = (
        "characters"
        if finding.node is None or (finding.node.entries is None and finding.node.items is None)
        else "entries"
    )
    actual = finding.context.get("actual_length") or len(finding.written)
    return f"is too long: {actual} {what}", f"at most {limit} {what}"


def _explain_own(finding: Finding) -> Words:
    """An error of Remuda's own validators, which carries its message and hint."""
    text, hint = str(finding.context.get("text", "")), str(finding.context.get("hint", ""))
    return text.replace("{shown}", finding.shown), hint


def _explain_amount(finding: Finding) -> Words:
    return f"{finding.shown} is not {finding.context['noun']}", str(finding.context["hint"])


def _explain_amount_bound(finding: Finding) -> Words:
    return f"{finding.shown} is out of range", f"must be {finding.context['words']} {finding.context['bound']}"


_HANDLERS: Final[dict[str, Callable[[Finding], Words]]] = {
    "extra_forbidden": _explain_unknown,
    "missing": _explain_missing,
    "string_type": _explain_text,
    "int_type": _explain_whole,
    "int_from_float": _explain_whole,
    "int_parsing_size": _explain_whole,
    "float_type": _explain_number,
    "finite_number": _explain_number,
    "bool_type": _explain_flag,
    "tuple_type": _explain_list,
    "model_type": _explain_mapping,
    "model_attributes_type": _explain_mapping,
    "dict_type": _explain_mapping,
    "literal_error": _explain_choice,
    "greater_than_equal": _explain_bound("at least", "ge"),
    "greater_than": _explain_bound("more than", "gt"),
    "less_than_equal": _explain_bound("at most", "le"),
    "less_than": _explain_bound("less than", "lt"),
    "string_pattern_mismatch": _explain_form,
    "string_too_short": _explain_short,
    "too_short": _explain_short,
    "string_too_long": _explain_long,
    "too_long": _explain_long,
    "rule": _explain_own,
    "own": _explain_own,
    "amount": _explain_amount,
    "amount_bound": _explain_amount_bound,
}
