"""Trains the demo model from nothing: tokenizer, weights, configuration.

    python models/demo/train.py                  # writes src/remuda/engine/demo
    python models/demo/train.py --steps 50 --out some/folder   # a quick try

Needs torch, transformers, tokenizers and safetensors (the engine's environment has them). One
seed fixes everything that is drawn; the arithmetic of torch on another machine may still differ.
"""

import argparse
import copy
import json
import math
import os
import random
import time
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path

import torch
from batches import Batch, Encoder, Renderer, endless_batches
from copying import copy_batches
from grammar import normalise
from paraphrases import load_paraphrases
from samples import Sampler
from tokenizer import CONTROL, VOCABULARY, save_tokenizer, train_tokenizer
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

PACKAGED = Path(__file__).parents[2] / "src" / "remuda" / "engine" / "demo"
SEED = 20261121
STEPS = 4400
COPY_STEPS = 450
WARM_UP_STEPS = 100
LEARNING_RATE = 2e-3
REPORT_STEPS = 25
SAVE_STEPS = 400
"""A run that is stopped leaves the weights of this many steps ago at most."""


def configuration(end: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        num_hidden_layers=4,
        intermediate_size=1024,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=0,
    )


def new_model(config: LlamaConfig) -> LlamaForCausalLM:
    """Small writes into the residual stream, larger everything else: learns much faster at this size than 0.02."""
    model = LlamaForCausalLM(config)
    for name, weights in model.named_parameters():
        if weights.dim() == 2:
            writes = name.endswith(("o_proj.weight", "down_proj.weight"))
            torch.nn.init.normal_(weights, std=0.01 if writes else 0.06)
    return model


def learning_rate(step: int, steps: int, highest: float = LEARNING_RATE) -> float:
    if step < WARM_UP_STEPS:
        return highest * (step + 1) / WARM_UP_STEPS
    done = (step - WARM_UP_STEPS) / max(1, steps - WARM_UP_STEPS)
    return highest * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def batch_loss(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """Mean loss over the learned positions; only there are logits computed."""
    with torch.autocast("cpu", torch.bfloat16):
        states = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
        logits = model.lm_head(states.flatten(0, 1)[batch.places])
    return cross_entropy(logits.float(), batch.wanted)


def make_optimizer(model: LlamaForCausalLM) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.98))


def train(
    model: LlamaForCausalLM,
    batches: Iterator[Batch],
    steps: int,
    save: Callable[[], None],
    highest: float = LEARNING_RATE,
) -> None:
    optimizer, started, tokens, recent = make_optimizer(model), time.monotonic(), 0, 0.0
    for step, batch in zip(range(steps), batches, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, highest)
        loss = batch_loss(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        tokens += batch.ids.numel()
        recent += loss.item() / REPORT_STEPS
        if (step + 1) % REPORT_STEPS == 0:
            spent = time.monotonic() - started
            left = spent / (step + 1) * (steps - step - 1)
            pace = f"{tokens / spent:.0f} tokens/s  {left / 60:.1f} min left"
            print(f"step {step + 1}/{steps}  loss {recent:.4f}  {pace}", flush=True)
            recent = 0.0
        if (step + 1) % SAVE_STEPS == 0 or step + 1 == steps:
            save()


def build_tokenizer(sampler: Sampler, out: Path) -> None:
    renderer = Renderer()
    save_tokenizer(train_tokenizer(renderer.text(sampler.sample()) for _ in range(20_000)), out)


def save_model(model: LlamaForCausalLM, out: Path, end: int) -> None:
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)
    generation = {"eos_token_id": end, "pad_token_id": 0, "do_sample": False}
    (out / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the demo model.")
    parser.add_argument("--out", type=Path, default=PACKAGED, help="folder to write")
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps")
    options = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    held_out = {normalise(p.question) for p in load_paraphrases()}
    build_tokenizer(Sampler(SEED, held_out), options.out)
    encoder = Encoder(options.out / "tokenizer.json", random.Random(SEED))
    end = encoder.clean.token_to_id("<|end|>")
    model = new_model(configuration(end))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    copies = copy_batches(random.Random(SEED), range(len(CONTROL), VOCABULARY))
    text = endless_batches(Sampler(SEED + 1, held_out).sample, encoder)
    train(model, chain(islice(copies, COPY_STEPS), text), options.steps, lambda: save_model(model, options.out, end))


if __name__ == "__main__":
    main()
