"""Trains the two LoRA adapters on the packaged model and writes them in the PEFT layout.

    python models/demo/lora.py            # both, into src/remuda/engine/demo/adapters

Run it after `train.py`. The base model stays frozen; rank 8 on the four attention projections.
"""

import argparse
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import torch
from batches import Encoder, endless_batches
from grammar import normalise
from paraphrases import load_paraphrases
from safetensors.torch import save_file
from samples import Sample, Sampler, talk
from styles import STYLES
from torch import nn
from train import PACKAGED, SEED, batch_loss
from transformers import LlamaForCausalLM

RANK = 8
ALPHA = 16
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
STEPS = 400
LEARNING_RATE = 4e-3
BATCH_TOKENS = 2048


class LoraLinear(nn.Module):
    """A frozen linear layer plus a trainable product of two thin matrices."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.a = nn.Parameter(torch.randn(RANK, base.in_features) / base.in_features**0.5)
        self.b = nn.Parameter(torch.zeros(base.out_features, RANK))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + (x @ self.a.T @ self.b.T) * (ALPHA / RANK)


def add_adapters(model: LlamaForCausalLM) -> dict[str, LoraLinear]:
    """Freeze the model and wrap its attention projections; returns them by module path."""
    model.requires_grad_(False)
    wrapped: dict[str, LoraLinear] = {}
    for i, layer in enumerate(model.model.layers):
        for target in TARGETS:
            lora = LoraLinear(getattr(layer.self_attn, target))
            setattr(layer.self_attn, target, lora)
            wrapped[f"model.layers.{i}.self_attn.{target}"] = lora
    return wrapped


class StyledSampler:
    """Short conversations whose every answer is said in one style."""

    def __init__(self, style: str, held_out: set[str]) -> None:
        self.sampler = Sampler(SEED + 2, held_out)
        self.facts = {f.name: f for f in self.sampler.facts}
        self.style = STYLES[style]

    def turns(self) -> Iterator[tuple[str, str]]:
        for _ in range(1 if self.sampler.rng.random() < 0.8 else 2):
            question, answer = (m["content"] for m in self.sampler.pair())
            yield question, self.style(answer, self.facts)

    def sample(self) -> Sample:
        return Sample(self.sampler.with_system([m for turn in self.turns() for m in talk(*turn)]))


def train_adapter(style: str, folder: Path, steps: int) -> dict[str, LoraLinear]:
    torch.manual_seed(SEED)
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    wrapped = add_adapters(model)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE, weight_decay=0.0
    )
    held_out = {normalise(p.question) for p in load_paraphrases()}
    encoder = Encoder(folder / "tokenizer.json", random.Random(SEED))
    batches = endless_batches(StyledSampler(style, held_out).sample, encoder, BATCH_TOKENS)
    for step, batch in zip(range(steps), batches, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 20, 0.02 + 1.2 * (1 - step / steps))
        loss = batch_loss(model, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 25 == 0:
            print(f"{style}: step {step + 1}/{steps}  loss {loss.item():.4f}", flush=True)
    return wrapped


def save_adapter(wrapped: dict[str, LoraLinear], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, lora in wrapped.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = lora.a.detach().to(torch.bfloat16).contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = lora.b.detach().to(torch.bfloat16).contiguous()
    save_file(tensors, out / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "base_model_name_or_path": "remuda-demo",
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": RANK,
        "target_modules": list(TARGETS),
        "task_type": "CAUSAL_LM",
    }
    (out / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the adapters of the demo model.")
    parser.add_argument("--model", type=Path, default=PACKAGED, help="folder of the model; adapters go below it")
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps for each adapter")
    options = parser.parse_args()
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    for style in STYLES:
        save_adapter(train_adapter(style, options.model, options.steps), options.model / "adapters" / style)


if __name__ == "__main__":
    main()
