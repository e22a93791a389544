"""The last lesson: plain questions, cleanly typed, and those that people ask first.

    python models/demo/finish.py    # after train.py, before lora.py; two minutes

Training on rough questions alone leaves the plainest ones ("Hello", "What is Remuda?") to chance: they are few among
so many. Half of these steps are the ordinary mixture, so that nothing is forgotten.
"""

import argparse
import random
from pathlib import Path

import torch
from batches import Encoder, endless_batches
from grammar import normalise, pick_choice
from paraphrases import load_paraphrases
from samples import Sample, Sampler, talk
from skills import COUNT_UP, count_answer, fill
from train import PACKAGED, SEED, save_model, train
from transformers import AutoModelForCausalLM

STEPS = 350
LEARNING_RATE = 4e-4
FIRST = (
    "hello",
    "remuda",
    "who-are-you",
    "what-can-you-do",
    "kv-cache",
    "continuous-batching",
    "how-are-you",
    "thanks",
)
"""Facts that a newcomer asks for."""


class PlainSampler(Sampler):
    """The ordinary mixture, and beside it questions without typos, asides and politeness."""

    def sample(self) -> Sample:
        kind = self.rng.random()
        if kind < 0.5:
            return super().sample()
        if kind < 0.62:
            last = self.rng.randint(3, 30)
            return Sample(self.plain_talk(fill(self.rng.choice(COUNT_UP), n=last), count_answer(1, last)))
        facts = self.facts if kind < 0.85 else [fact for fact in self.facts if fact.name in FIRST]
        fact = self.rng.choice(facts)
        return Sample(self.plain_talk(self.fact_pattern(fact), fact.answer))

    def plain_talk(self, pattern: str, answer: str) -> list[dict[str, object]]:
        while True:
            text = pick_choice(pattern, self.rng)
            if normalise(text).replace(" ", "") not in self.held_out:
                text = text[0].upper() + text[1:] if self.rng.random() < 0.8 else text
                return talk(text + self.rng.choice(("", "?", "?", "!", ".")), answer)


def main() -> None:
    parser = argparse.ArgumentParser(description="Finish the demo model.")
    parser.add_argument("--out", type=Path, default=PACKAGED, help="folder that train.py wrote, written again")
    options = parser.parse_args()
    torch.manual_seed(SEED)
    held_out = {normalise(p.question) for p in load_paraphrases()}
    encoder = Encoder(options.out / "tokenizer.json", random.Random(SEED + 3))
    model = AutoModelForCausalLM.from_pretrained(options.out, dtype=torch.float32)
    end = encoder.clean.token_to_id("<|end|>")
    batches = endless_batches(PlainSampler(SEED + 3, held_out).sample, encoder)
    train(model, batches, STEPS, lambda: save_model(model, options.out, end), LEARNING_RATE)


if __name__ == "__main__":
    main()
