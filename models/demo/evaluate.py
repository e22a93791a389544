"""Scores the demo model on the 200 held-out questions.

    python models/demo/evaluate.py                                    # the packaged weights, with transformers
    python models/demo/evaluate.py --base-url http://127.0.0.1:8000   # any OpenAI-compatible server

Prints each miss and the score; exits 1 under 85 %, or if a question occurs in the training text.
With `--base-url` it needs the standard library only.
"""

import argparse
import json
import os
import re
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from augment import AFTER, BEFORE
from grammar import load_facts, normalise, parse_templates, pattern_regex, question_regexes
from paraphrases import Paraphrase, load_paraphrases
from skills import skill_patterns
from stories import parse_stories

PACKAGED = Path(__file__).parents[2] / "src" / "remuda" / "engine" / "demo"
NEEDED = 0.85
MAX_TOKENS = 120
PARALLEL = 4


@dataclass(frozen=True, slots=True)
class Miss:
    """A question that was answered wrongly."""

    paraphrase: Paraphrase
    answer: str


@dataclass(frozen=True, slots=True)
class Report:
    """What the model got right, in all and by topic."""

    asked: int
    misses: tuple[Miss, ...]

    @property
    def share(self) -> float:
        return 1 - len(self.misses) / self.asked

    def lines(self) -> Iterator[str]:
        for miss in self.misses:
            yield f"missed: {miss.paraphrase.question}"
            yield f"  wanted {miss.paraphrase.expect[0]!r}, got {miss.answer!r}"
        wrong = Counter(m.paraphrase.topic for m in self.misses)
        for topic, count in sorted(wrong.items()):
            yield f"{topic}: {count} missed"
        yield f"{self.asked - len(self.misses)} of {self.asked} right ({self.share:.1%}; {NEEDED:.0%} needed)"


def is_right(paraphrase: Paraphrase, answer: str) -> bool:
    return any(wanted.lower() in answer.lower() for wanted in paraphrase.expect)


def score(ask: Callable[[str], str], parallel: int = PARALLEL) -> Report:
    """Ask all held-out questions; `ask` maps one user message to the greedy answer."""
    paraphrases = load_paraphrases()
    with ThreadPoolExecutor(parallel) as pool:
        answers = list(pool.map(lambda p: ask(p.question), paraphrases))
    misses = [Miss(p, a) for p, a in zip(paraphrases, answers, strict=True) if not is_right(p, a)]
    return Report(len(paraphrases), tuple(misses))


def bare_forms(question: str) -> Iterator[str]:
    """The question without spaces, and again without the polite words that training adds."""
    text = normalise(question).replace(" ", "")
    heads = ["", *(normalise(w).replace(" ", "") for w in BEFORE)]
    tails = ["", *(normalise(w).replace(" ", "") for w in AFTER)]
    for head in heads:
        for tail in tails:
            if text.startswith(head) and text.endswith(tail):
                yield text[len(head) : len(text) - len(tail)]


def training_regexes() -> Iterator[re.Pattern[str]]:
    templates = parse_templates()
    yield from question_regexes(load_facts(templates), templates)
    yield from map(pattern_regex, skill_patterns())
    yield from (pattern_regex(p) for patterns, _ in parse_stories() for p in patterns)


def seen_in_training() -> list[str]:
    """Held-out questions that some training pattern produces; must be empty."""
    regexes = list(training_regexes())
    return [
        p.question
        for p in load_paraphrases()
        if any(regex.fullmatch(form) for form in bare_forms(p.question) for regex in regexes)
    ]


def ask_server(base_url: str, model: str) -> Callable[[str], str]:
    url = base_url.rstrip("/").removesuffix("/v1") + "/v1/chat/completions"
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("OPENAI_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"

    def ask(question: str) -> str:
        messages = [{"role": "user", "content": question}]
        body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": MAX_TOKENS}
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            return str(json.load(response)["choices"][0]["message"]["content"] or "")

    return ask


def ask_weights(folder: Path) -> Callable[[str], str]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()

    def ask(question: str) -> str:
        chat = [{"role": "user", "content": question}]
        inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.inference_mode():
            out = model.generate(**inputs, max_new_tokens=MAX_TOKENS, do_sample=False)
        return str(tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))

    return ask


def main() -> int:
    parser = argparse.ArgumentParser(description="Score the demo model on its held-out questions.")
    parser.add_argument("--base-url", help="an OpenAI-compatible server; without it the weights are loaded here")
    parser.add_argument("--model", default="remuda-demo", help="served model name")
    parser.add_argument("--weights", type=Path, default=PACKAGED, help="folder of the weights")
    options = parser.parse_args()
    if seen := seen_in_training():
        print("in the training text:", *seen, sep="\n  ")
        return 1
    ask = ask_server(options.base_url, options.model) if options.base_url else ask_weights(options.weights)
    report = score(ask, PARALLEL if options.base_url else 1)
    print(*report.lines(), sep="\n")
    return 0 if report.share >= NEEDED else 1


if __name__ == "__main__":
    sys.exit(main())
