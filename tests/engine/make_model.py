"""Writes tiny models with random weights and a tokenizer of bytes. Runs under the engine's interpreter.

python make_model.py '[{"kind": "decoder", "folder": "…", "hidden": 128, "layers": 2, "max_len": 2048}, …]'

One process writes all models of the list, because importing PyTorch takes longer than writing a model. The weights
come from a fixed seed, so each run writes the same model.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES

SEED = 7
END = "<|end|>"
SAMPLE_RATE_HZ = 16_000
SPEECH_TOKENS = 128
"""Longest transcription, prompt included."""


def make_decoder(folder: Path, hidden: int, layers: int, max_len: int) -> None:
    """A Llama that continues text, with one LoRA adapter in the folder `adapter`."""
    fast = write_tokenizer(folder, END, [END], eos_token=END)
    fast.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "
    fast.save_pretrained(folder)
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
    write_adapter(folder / "adapter", hidden, layers)


def write_adapter(folder: Path, hidden: int, layers: int) -> None:
    """A LoRA adapter that changes the answers of `make_decoder`'s model."""
    folder.mkdir(exist_ok=True)
    settings = {
        "peft_type": "LORA",
        "r": 8,
        "lora_alpha": 64,
        "target_modules": ["q_proj"],
        "bias": "none",
        "task_type": "CAUSAL_LM",
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    tensors = {}
    for layer in range(layers):
        prefix = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors[f"{prefix}.lora_A.weight"] = torch.randn(8, hidden)
        tensors[f"{prefix}.lora_B.weight"] = torch.randn(hidden, 8)
    save_file(tensors, folder / "adapter_model.safetensors")


def make_embedder(folder: Path) -> None:
    """A BERT that turns text into a vector of 64 numbers."""
    BertModel(bert_config(folder)).to(torch.float32).save_pretrained(folder)


def make_judge(folder: Path) -> None:
    """A BERT that gives a pair of texts one score: a cross-encoder."""
    config = bert_config(folder)
    config.num_labels = 1
    BertForSequenceClassification(config).to(torch.float32).save_pretrained(folder)


def bert_config(folder: Path) -> BertConfig:
    """The shape of the tiny BERTs, after their tokenizer is written."""
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    fast = write_tokenizer(
        folder, "[UNK]", special, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]"
    )
    fast.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    fast.save_pretrained(folder)
    return BertConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
        pad_token_id=0,
        initializer_range=0.2,
    )


def make_listener(folder: Path) -> None:
    """A Whisper: speech to text, with its tokens for languages, tasks and times."""
    from transformers import WhisperProcessor, WhisperTokenizer

    task = ["<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES)]
    task += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    times = [f"<|{step * 0.02:.2f}|>" for step in range(1501)]
    vocabulary = {symbol: index for index, symbol in enumerate([*byte_symbols(), "<|endoftext|>"])}
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=[])
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in task], special_tokens=True)
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in times])
    extractor = WhisperFeatureExtractor(feature_size=80, sampling_rate=SAMPLE_RATE_HZ, chunk_length=30)
    WhisperProcessor(extractor, tokenizer).save_pretrained(folder)
    end, start = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|startoftranscript|>"])
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=64,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        max_target_positions=SPEECH_TOKENS,
        num_mel_bins=80,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
        begin_suppress_tokens=None,
        init_std=0.2,
    )
    model = WhisperForConditionalGeneration(config).to(torch.float32)
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=end, decoder_start_token_id=start)
    model.save_pretrained(folder)


def write_tokenizer(folder: Path, unknown: str, special: list[str], **roles: str) -> PreTrainedTokenizerFast:
    """A tokenizer with one token per byte, after the special ones; saved in the folder."""
    vocabulary = {symbol: index for index, symbol in enumerate([*special, *byte_symbols()])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles)
    folder.mkdir(parents=True, exist_ok=True)
    fast.save_pretrained(folder)
    return fast


def byte_symbols() -> list[str]:
    """The symbols that stand for the 256 bytes."""
    return sorted(pre_tokenizers.ByteLevel.alphabet())


MAKERS: dict[str, Callable[..., None]] = {
    "decoder": make_decoder,
    "embedder": make_embedder,
    "judge": make_judge,
    "listener": make_listener,
}


def main() -> None:
    """Write every model of the list."""
    for wanted in json.loads(sys.argv[1]):
        torch.manual_seed(SEED)
        MAKERS[wanted.pop("kind")](Path(wanted.pop("folder")), **wanted)


if __name__ == "__main__":
    main()
