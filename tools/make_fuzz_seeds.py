#!/usr/bin/env python3
"""Writes tests/fuzz/seeds: for each target of make fuzz a few small inputs, from which libFuzzer
starts. Each shows it a form that it would be long in guessing: a whole file, its odd kinds, and the
known ways of being wrong. The names of files say what is in them.

    tools/make_fuzz_seeds.py [FOLDER]
"""

import json
import pathlib
import struct
import sys

CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e4,
    "max_position_embeddings": 128,
    "hidden_act": "silu",
    "eos_token_id": [2],
}
SHARDS = {"a": "a.safetensors", "b": "b.safetensors"}
ADDED = {
    "id": 259,
    "content": "<|end|>",
    "single_word": False,
    "lstrip": False,
    "rstrip": False,
    "normalized": False,
    "special": True,
}


def compact(value):
    return json.dumps(value, separators=(",", ":")).encode()


def members(value):
    """The members of an object, without its brackets: the rest of one that a target begins."""
    return compact(value)[1:-1]


def safetensors(header, data):
    """A file, as fuzz_safetensors frames it itself: the size of the data comes first."""
    return bytes([len(data)]) + compact(header)


def whole_safetensors(header, data):
    text = compact(header)
    return struct.pack("<Q", len(text)) + text + data


def tensor(begin, end, shape, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def field(number, value):
    """A field of a protobuf: an int as a varint, a float in 4 bytes, bytes with their length."""
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def sentencepiece(model_type, pieces):
    """pieces: (text, score, type) with 1 normal, 2 unknown, 3 control, 6 byte."""
    out = b"".join(
        field(1, field(1, text.encode()) + field(2, score) + field(3, kind))
        for text, score, kind in pieces
    )
    trainer = field(3, model_type) + field(35, 1 if any(k == 6 for *_, k in pieces) else 0)
    return out + field(2, trainer) + field(3, field(1, b"identity") + field(3, 1))


def seeds():
    """Target, name of the seed, bytes."""
    marks = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
    text = [("\u2581", -1.0, 1), ("a", -2.0, 1), ("b", -3.0, 1), ("ab", -1.5, 1)]
    byte_pieces = [(f"<0x{i:02X}>", 0.0, 6) for i in range(256)]
    rank_lines = [b"YQ== 0", b"Yg== 1", b"YWI= 2", b"IGFi 3"]
    yarn = {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 32,
        "beta_fast": 32,
        "beta_slow": 1,
        "mscale": 1.0,
        "truncate": False,
    }
    llama3 = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    two = {
        "__metadata__": {"format": "pt"},
        "a": tensor(0, 8, [2]),
        "b": tensor(8, 12, [3, 2], "BF16"),
    }
    two["b"]["data_offsets"] = [8, 20]

    yield "config", "llama", compact(CONFIG)
    yield "config", "generation", compact(
        {"do_sample": True, "temperature": 0.7, "top_k": 40, "top_p": 0.9, "eos_token_id": [2, 3]}
    )
    yield "config", "rope_yarn", members(yarn)
    yield "config", "rope_llama3", members(llama3)
    yield "config", "rope_parameters", members({"rope_parameters": dict(llama3, rope_theta=5e5)})
    yield "config", "window", members(
        {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 0}
    )
    yield "config", "not_supported", members({"attention_bias": True, "quantization_config": {}})
    yield "config", "huge", members({"head_dim": 1 << 40, "eos_token_id": [[1]]})

    yield "safetensors", "whole", whole_safetensors(two, bytes(20))
    yield "safetensors", "framed", safetensors(two, bytes(20))
    yield "safetensors", "overflow", safetensors(
        {"a": tensor(0, 16, [4194305, 4194305, 211106198978564])}, bytes(16)
    )
    yield "safetensors", "overlap", safetensors(
        {"a": tensor(0, 8, [2]), "b": tensor(4, 12, [2])}, bytes(12)
    )
    yield "safetensors", "empty_tensor", safetensors({"a": tensor(0, 0, [0, 7])}, b"")
    yield "safetensors", "lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"

    yield "index", "whole", compact({"metadata": {"total_size": 8}, "weight_map": SHARDS})
    yield "index", "rest", members({"b": "b.safetensors"})
    yield "index", "leads_out", compact({"weight_map": {"a": "../a.safetensors", "b": "/b"}})
    yield "index", "wrong_shard", compact(
        {"weight_map": {"a": "b.safetensors", "b": "a.safetensors"}}
    )

    yield "bpe_json", "added_token", compact(ADDED)
    yield "bpe_json", "rest", members(
        {
            "normalizer": {"type": "NFC"},
            "decoder": {"type": "ByteLevel"},
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
            "added_tokens": [ADDED],
        }
    )
    yield "bpe_json", "split", members(
        {
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    {
                        "type": "Split",
                        "pattern": {"Regex": "\\p{N}{1,3}"},
                        "behavior": "Isolated",
                        "invert": False,
                    },
                    {"type": "ByteLevel", "add_prefix_space": False},
                ],
            }
        }
    )
    yield "bpe_json", "composed", "e\u0301 \u1100\u1161\u11a8 the".encode()

    yield "rank_file", "ranks", b"\n".join(rank_lines) + b"\n"
    yield "rank_file", "wrong_order", b"\n".join(reversed(rank_lines)) + b"\n"
    yield "spm_file", "bpe", sentencepiece(2, marks + text)
    yield "spm_file", "unigram", sentencepiece(1, marks + text)
    yield "spm_file", "bytes", sentencepiece(2, marks + byte_pieces + text)

    yield "head_mask", "whole", b"0.5\t1\t0\n0\t1e-3\t.25\n"
    yield "head_mask", "one_column_short", b"0.5\t1\n0\t1\n"
    yield "head_mask", "crlf", b"1\t1\t0\r\n0\t0\t1\r\n\r\n"

    yield "chat_template", "chatml", b"{{'<|im_start|>' + message['role']}} <|im_end|>"
    yield "chat_template", "llama2", b"[INST] <<SYS>> [/INST] {{ bos_token }}"
    yield "chat_template", "llama3", b"<|start_header_id|> <|end_header_id|> <|eot_id|>"

    # fuzz_cache_file makes a header of the first six bytes and tables of the others: one layer and
    # KV head, two tokens, two rows.
    yield "cache_file", "two_rows", bytes([0, 0, 0, 3, 1, 2]) + struct.pack("<20i", *range(20))
    yield "cache_file", "zeros", bytes(512)

    lines = {
        "generate": "generate -m d -p text -n 4 --temp 0.7 --top-k 40 --stop . --json --seed 1",
        "winnowed": "generate -m d --kv-policy sage --kv-budget 10% --kv-group mean --then x --kv-fill",
        "bundle": "-qmd generate --prompt=hi -c=8 --",
        "bench": "bench -m d -p 512,0 -n 64 --kv-policy full,sage --kv-budget 8,512M --kernel qkv",
        "eval": "eval -m d needle --haystack f --lengths 64,128 --depths 3 --format md --plot p.svg",
        "chat": "chat -m d --system x --device cpu --threads 2",
        "logits": "logits -m d -o l.npy --ids 1,2,3",
        "help": "generate --help",
        "version": "--version",
        "misspelt": "genrate --tmep 1",
    }
    for name, line in lines.items():
        yield "command_line", name, "\0".join(line.split()).encode()


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else root / "tests/fuzz/seeds"
    for target, name, data in seeds():
        path = folder / target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__":
    main()
