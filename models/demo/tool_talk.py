"""Conversations with tools: a call when a tool fits, plain words when none does.

Names, parameters, descriptions and results vary, so that the model reads them from the prompt.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from grammar import CORPUS, parse_templates
from words import person, place

Message = dict[str, Any]
REQUESTS = parse_templates(CORPUS / "tools.txt").groups


def pick(group: str, rng: random.Random, **values: str) -> str:
    """One pattern of a group of requests with its slots filled."""
    pattern = rng.choice(REQUESTS[group])
    for slot, value in values.items():
        pattern = pattern.replace(f"<{slot}>", value)
    return pattern


@dataclass(frozen=True, slots=True)
class Ask:
    """What a user asks of one tool."""

    question: str
    arguments: dict[str, object]
    result: str
    answer: str


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool under one of its possible names."""

    names: tuple[str, ...]
    parameters: tuple[tuple[str, ...], ...]
    """For each parameter the names it may have."""
    types: tuple[str, ...]
    descriptions: tuple[str, ...]
    ask: Callable[[random.Random, list[str]], Ask]


def ask_weather(rng: random.Random, names: list[str]) -> Ask:
    city, degrees = place(rng), rng.randint(-9, 39)
    sky = rng.choice(("sunny", "cloudy", "rainy", "windy", "snowy", "foggy", "clear", "stormy"))
    question = pick("weather", rng, c=city)
    result = rng.choice((
        json.dumps({"temperature": degrees, "sky": sky}),
        json.dumps({"temperature": degrees, "condition": sky}),
        json.dumps({"temperature_c": degrees, "conditions": sky}),
        json.dumps({names[0]: city, "temp": degrees, "weather": sky}),
        json.dumps({names[0]: city, "temperature": degrees, "condition": sky}),
        json.dumps({"temperature": f"{degrees} C", "description": sky}),
        f"{sky}, {degrees} degrees",
        f"{sky.capitalize()}, {degrees} C",
        f"{degrees} degrees and {sky}",
        f"It is {sky} and {degrees} degrees in {city}.",
    ))  # fmt: skip
    return Ask(question, {names[0]: city}, result, f"It is {sky} and {degrees} degrees in {city}.")


def ask_time(rng: random.Random, names: list[str]) -> Ask:
    city, clock = place(rng), f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}"
    question = pick("time", rng, c=city)
    result = rng.choice((json.dumps({"time": clock}), clock, json.dumps({names[0]: city, "time": clock})))
    return Ask(question, {names[0]: city}, result, f"It is {clock} in {city}.")


def ask_sum(rng: random.Random, names: list[str]) -> Ask:
    a, b = rng.randint(1, 999), rng.randint(1, 999)
    word, sign = rng.choice((("plus", "+"), ("minus", "-"), ("times", "*"), ("divided by", "/")))
    value = rng.randint(1, 9999)
    question = pick("calculate", rng, n=f"{a} {rng.choice((word, sign))} {b}")
    result = rng.choice((str(value), json.dumps({"result": value}), json.dumps({"value": value})))
    return Ask(question, {names[0]: f"{a} {sign} {b}"}, result, f"The result is {value}.")


def ask_add(rng: random.Random, names: list[str]) -> Ask:
    a, b = rng.randint(1, 999), rng.randint(1, 999)
    question = rng.choice((
        f"{{add|please add|sum|sum up}} {a} and {b}",
        f"{{what is|how much is|calculate}} {a} {{plus|+|and}} {b}",
        f"what is the sum of {a} and {b}",
    ))  # fmt: skip
    result = rng.choice((str(a + b), json.dumps({"result": a + b}), json.dumps({"sum": a + b})))
    return Ask(question, {names[0]: a, names[1]: b}, result, f"The result is {a + b}.")


def ask_search(rng: random.Random, names: list[str]) -> Ask:
    topic = rng.choice((person(rng), place(rng), "prefix caching", "scale to zero", "tensor parallelism",
                        "the gateway", "horses", "spot nodes", "KEDA", "paged attention", "the weather"))  # fmt: skip
    found = rng.choice(("3 pages found", "no pages found", "see the guide", "one page found"))
    question = pick("search", rng, t=topic)
    result = rng.choice((found, json.dumps({"result": found})))
    return Ask(question, {names[0]: topic}, result, f"The search says: {found}.")


def ask_mail(rng: random.Random, names: list[str]) -> Ask:
    to, text = person(rng), rng.choice(("hello", "good morning", "I am late", "call me", "see you soon",
                                        "happy birthday", "come home", "the engine is ready"))  # fmt: skip
    question = pick("message", rng, p=to, t=text)
    result = rng.choice(("ok", "sent", json.dumps({"status": "sent"}), json.dumps({"ok": True})))
    return Ask(question, {names[0]: to, names[1]: text}, result, f"Done. I sent the message to {to}.")


CITY = ("city", "city", "location", "place", "town")
TOOLS = (
    Tool(("get_weather", "get_weather", "get_current_weather", "weather", "lookup_weather"), (CITY,), ("string",),
         ("Get the weather of a city.", "Get the current weather in a given location", "Weather now", ""),
         ask_weather),
    Tool(("get_time", "get_current_time", "clock"), (CITY,), ("string",),
         ("Get the time in a city.", "Current time of a place", "Get the current local time", ""), ask_time),
    Tool(("calculate", "calculator", "evaluate"), (("expression", "expr", "formula"),), ("string",),
         ("Calculate an expression.", "Evaluate a math expression", "Do arithmetic", ""), ask_sum),
    Tool(("add", "add_numbers", "sum"), (("a", "x", "first"), ("b", "y", "second")), ("integer", "integer"),
         ("Add two numbers.", "Add two integers", "Sum of two numbers", ""), ask_add),
    Tool(("search", "search_docs", "web_search", "lookup"), (("query", "q", "text"),), ("string",),
         ("Search for pages.", "Search the documentation", "Search the web", ""), ask_search),
    Tool(("send_message", "send_email", "notify"), (("to", "recipient", "name"), ("text", "message", "body")),
         ("string", "string"), ("Send a message to a person.", "Send an email", ""), ask_mail),
)  # fmt: skip


def describe_tool(tool: Tool, rng: random.Random) -> tuple[dict[str, Any], str, list[str]]:
    """One OpenAI tool definition, the name and the parameter names that were drawn."""
    name, names = rng.choice(tool.names), [rng.choice(n) for n in tool.parameters]
    properties: dict[str, Any] = {}
    for parameter, kind in zip(names, tool.types, strict=True):
        properties[parameter] = {"type": kind}
        if rng.random() < 0.3:
            properties[parameter]["description"] = f"The {parameter}"
    if tool.ask is ask_weather and rng.random() < 0.25:
        properties["unit"] = {"type": "string", "enum": ["celsius", "fahrenheit"]}
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if rng.random() < 0.8:
        parameters["required"] = names
    function: dict[str, Any] = {"name": name}
    if description := rng.choice(tool.descriptions):
        function["description"] = description
    function["parameters"] = parameters
    return {"type": "function", "function": function}, name, names


def sample_tools(rng: random.Random) -> tuple[list[dict[str, Any]], str, Ask]:
    """One to four definitions, and an ask for one of them."""
    chosen = rng.sample(TOOLS, rng.choice((1, 1, 1, 2, 2, 3)))
    target = TOOLS[0] if TOOLS[0] in chosen and rng.random() < 0.6 else rng.choice(chosen)
    if {ask_sum, ask_add} <= {t.ask for t in chosen} and target.ask in (ask_sum, ask_add):
        chosen.remove(next(t for t in chosen if t.ask in (ask_sum, ask_add) and t is not target))
    described = [(tool, *describe_tool(tool, rng)) for tool in chosen]
    _, _, name, names = next(d for d in described if d[0] is target)
    return [d[1] for d in described], name, target.ask(rng, names)


def call_message(name: str, arguments: dict[str, object]) -> Message:
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}
