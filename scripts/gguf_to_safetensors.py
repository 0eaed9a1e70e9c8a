"""
Turn a llama-architecture GGUF file into a model folder that vLLM and transformers can load.

Run by `scripts/vllm-env` inside the environment it builds: `gguf`, `torch`, `tokenizers` and
`transformers` are that environment's packages, not Headrace's.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader, ReaderTensor, dequantize
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CONTROL_TOKEN = 3
"""The value of `tokenizer.ggml.token_type` for tokens such as `<|im_start|>`: gguf.TokenType."""

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""GGUF's name of a layer's weight, and transformers' name of it."""


def convert(gguf: Path, folder: Path) -> None:
    """Write config, weights, tokenizer and chat template of the GGUF file into the folder."""
    reader = GGUFReader(gguf)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    if fields["general.architecture"] != "llama" or fields["tokenizer.ggml.model"] != "gpt2":
        sys.exit(f"{gguf.name}: only llama weights with a byte-level BPE tokenizer are converted")
    config = read_config(fields, {tensor.name for tensor in reader.tensors})
    model = LlamaForCausalLM(config)
    missing, unexpected = model.load_state_dict(read_weights(reader, config), strict=False)
    if set(missing) - {"lm_head.weight"} or unexpected:
        sys.exit(f"{gguf.name}: weights missing: {missing}, not understood: {unexpected}")
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    read_tokenizer(fields).save_pretrained(folder)


def read_config(fields: dict[str, Any], tensors: set[str]) -> LlamaConfig:
    """Build the model's shape from the file's metadata."""
    return LlamaConfig(
        vocab_size=len(fields["tokenizer.ggml.tokens"]),
        hidden_size=fields["llama.embedding_length"],
        intermediate_size=fields["llama.feed_forward_length"],
        num_hidden_layers=fields["llama.block_count"],
        num_attention_heads=fields["llama.attention.head_count"],
        num_key_value_heads=fields["llama.attention.head_count_kv"],
        max_position_embeddings=fields["llama.context_length"],
        rms_norm_eps=fields["llama.attention.layer_norm_rms_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": fields["llama.rope.freq_base"]},
        bos_token_id=fields["tokenizer.ggml.bos_token_id"],
        eos_token_id=fields["tokenizer.ggml.eos_token_id"],
        tie_word_embeddings="output.weight" not in tensors,
        dtype="bfloat16",
    )


def read_weights(reader: GGUFReader, config: LlamaConfig) -> dict[str, torch.Tensor]:
    """Dequantise every weight and give it transformers' name."""
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    weights = {}
    for tensor in reader.tensors:
        name, part = rename(tensor.name)
        weight = read_weight(tensor)
        weights[name] = unpermute(weight, heads[part]) if part in heads else weight
    return weights


def rename(name: str) -> tuple[str, str]:
    """Return transformers' name of a GGUF weight, and the part of the layer it is."""
    whole = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
    }
    if name in whole:
        return whole[name], ""
    _, layer, part, suffix = name.split(".")  # blk.0.attn_q.weight
    return f"model.layers.{layer}.{LAYER_NAMES[part]}.{suffix}", part


def read_weight(tensor: ReaderTensor) -> torch.Tensor:
    """Return the weight as float32, in the row-major shape transformers expects."""
    shape = [int(size) for size in reversed(tensor.shape)]
    values = dequantize(tensor.data, tensor.tensor_type)
    return torch.from_numpy(values.astype("float32").reshape(shape))


def unpermute(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """
    Undo what llama.cpp's `convert_hf_to_gguf.py` does to q and k (LlamaModel.permute).

    It interleaves the two halves of each head, because its rotary embedding pairs neighbours
    where transformers' pairs halves.
    """
    rows = weight.shape[0]
    return weight.reshape(heads, rows // heads // 2, 2, -1).swapaxes(1, 2).reshape(weight.shape)


def read_tokenizer(fields: dict[str, Any]) -> PreTrainedTokenizerFast:
    """Build the byte-level BPE tokenizer, with its special tokens and chat template."""
    tokens = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(BPE({token: i for i, token in enumerate(tokens)}, merges))
    splits = [ByteLevel(add_prefix_space=False)]
    if fields.get("tokenizer.ggml.pre") == "smollm":  # splits every digit off, as llama.cpp does
        splits.insert(0, Digits(individual_digits=True))
    tokenizer.pre_tokenizer = Sequence(splits)
    tokenizer.decoder = ByteLevelDecoder()
    kinds = fields["tokenizer.ggml.token_type"]
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=tokens[fields["tokenizer.ggml.bos_token_id"]],
        eos_token=tokens[fields["tokenizer.ggml.eos_token_id"]],
        unk_token=tokens[fields.get("tokenizer.ggml.unknown_token_id", 0)],
        pad_token=tokens[fields.get("tokenizer.ggml.padding_token_id", 0)],
        chat_template=fields["tokenizer.chat_template"],
        model_max_length=fields["llama.context_length"],
        clean_up_tokenization_spaces=False,
    )


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
