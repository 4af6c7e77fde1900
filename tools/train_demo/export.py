"""Writes a model directory as Hugging Face lays it out: safetensors shards in bf16, and their
index."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from corpus import BOS, EOS, write_json
from model import Decoder, Shape

SHARD_BYTES = 16_000_000
TOTAL_BYTES = 28_000_000
HEADER_BYTES = 20_000  # more than a shard's header takes


def config(shape: Shape) -> dict:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.ff,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "vocab_size": shape.vocab,
        "max_position_embeddings": shape.positions,
        "rope_theta": shape.rope_theta,
        "rms_norm_eps": shape.eps,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "bos_token_id": BOS,
        "eos_token_id": EOS,
    }


def tokenizer_config(shape: Shape) -> dict:
    return {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": shape.positions,
    }


def shards(tensors: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """The tensors in their order, in parts that fit a file."""
    parts: list[dict[str, torch.Tensor]] = [{}]
    size = HEADER_BYTES
    for name, tensor in tensors.items():
        if size + tensor.nbytes > SHARD_BYTES and parts[-1]:
            parts.append({})
            size = HEADER_BYTES
        parts[-1][name] = tensor
        size += tensor.nbytes
    return parts


def write_model(decoder: Decoder, work: Path, output: Path) -> None:
    """`work` has the tokenizer, what was held out, and the log."""
    state = {f"model.{name}": tensor for name, tensor in decoder.state_dict().items()}
    state = {k: v.detach().to("cpu", torch.bfloat16).contiguous() for k, v in state.items()}
    total = sum(tensor.nbytes for tensor in state.values())
    if total > TOTAL_BYTES:
        print(f"warning: {total} bytes of weights, more than {TOTAL_BYTES}", flush=True)

    output.mkdir(parents=True, exist_ok=True)
    parts = shards(state)
    weight_map = {}
    for number, part in enumerate(parts, 1):
        file = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        save_file(part, output / file, metadata={"format": "pt"})
        (output / file).chmod(0o644)  # save_file leaves it to its owner alone
        weight_map.update(dict.fromkeys(part, file))
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    write_json(output / "model.safetensors.index.json", index)
    write_json(output / "config.json", config(decoder.shape))
    write_json(output / "tokenizer_config.json", tokenizer_config(decoder.shape))
    for name in ("tokenizer.model", "held_out.json", "train_log.jsonl"):
        shutil.copy(work / name, output / name)


def read_shape(directory: Path) -> Shape:
    """Of a model written by write_model."""
    read = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    return Shape(
        hidden=read["hidden_size"],
        layers=read["num_hidden_layers"],
        heads=read["num_attention_heads"],
        kv_heads=read["num_key_value_heads"],
        head_dim=read["head_dim"],
        ff=read["intermediate_size"],
        vocab=read["vocab_size"],
        rope_theta=read["rope_theta"],
        eps=read["rms_norm_eps"],
        positions=read["max_position_embeddings"],
    )


def read_model(shape: Shape, directory: Path, device) -> Decoder:
    """The model as it was written, with weights that are bf16 numbers held in fp32."""
    decoder = Decoder(shape)
    index = json.loads((directory / "model.safetensors.index.json").read_text(encoding="utf-8"))
    state = {}
    for file in sorted(set(index["weight_map"].values())):
        state.update(load_file(directory / file))
    decoder.load_state_dict({k.removeprefix("model."): v.float() for k, v in state.items()})
    return decoder.to(device).eval()
