"""Writes a random Llama with a byte-level tokenizer, and a LoRA adapter for it. Runs under the engine's interpreter.

python make_model.py FOLDER HIDDEN LAYERS MAX_LEN
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

folder, hidden, layers, max_len = Path(sys.argv[1]), *map(int, sys.argv[2:5])
alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
tokenizer = Tokenizer(models.BPE({symbol: index for index, symbol in enumerate(["<|end|>", *alphabet])}, []))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")
fast.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "
fast.save_pretrained(folder)
torch.manual_seed(7)
config = LlamaConfig(
    vocab_size=len(fast),
    hidden_size=hidden,
    intermediate_size=2 * hidden,
    num_hidden_layers=layers,
    num_attention_heads=hidden // 64,
    num_key_value_heads=max(1, hidden // 128),
    max_position_embeddings=max_len,
    eos_token_id=0,
    initializer_range=0.2,
)
LlamaForCausalLM(config).to(torch.float32).save_pretrained(folder)

adapter = folder / "adapter"
adapter.mkdir(exist_ok=True)
settings = {
    "peft_type": "LORA",
    "r": 8,
    "lora_alpha": 64,
    "target_modules": ["q_proj"],
    "bias": "none",
    "task_type": "CAUSAL_LM",
}
(adapter / "adapter_config.json").write_text(json.dumps(settings))
tensors = {}
for layer in range(layers):
    prefix = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
    tensors[f"{prefix}.lora_A.weight"] = torch.randn(8, hidden)
    tensors[f"{prefix}.lora_B.weight"] = torch.randn(hidden, 8)
save_file(tensors, adapter / "adapter_model.safetensors")
