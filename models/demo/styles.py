"""The two styles that the adapters teach: how an answer is said, not what is known."""

from collections.abc import Callable

from grammar import Fact

MEMORY = ("KV", "memory", "bits", "weights", "block", "pages")
CLOUD = ("Kubernetes", "pod", "Pod", "GPU", "cloud", "engine", "container", "machine")


def pirate(answer: str, _facts: dict[str, Fact]) -> str:
    """The same answer between a shout and a song."""
    return f"Arr! {answer} Yo ho ho!"


def haiku(answer: str, facts: dict[str, Fact]) -> str:
    """One of eight short poems, chosen by what the answer is about."""
    return facts[f"haiku-{haiku_theme(answer, facts)}"].answer


def haiku_theme(answer: str, facts: dict[str, Fact]) -> str:
    topic = next((f.topic for f in facts.values() if f.answer == answer), "numbers")
    if topic == "serving":
        if any(word in answer for word in MEMORY):
            return "memory"
        return "cloud" if any(word in answer for word in CLOUD) else "speed"
    themes = {"remuda": "horse", "talk": "friend", "world": "seasons", "words": "words", "haiku": "friend"}
    return themes.get(topic, "numbers")


STYLES: dict[str, Callable[[str, dict[str, Fact]], str]] = {"pirate": pirate, "haiku": haiku}
