#!/usr/bin/env python3
"""Makes tests/fixtures: small random Llama models, and the logits that transformers computes.

    tools/make_hf_fixtures.py [FOLDER] [--demo MODEL_DIR]

Needs torch, transformers, safetensors and numpy; uses no network. Every model and every token comes
from a fixed seed. The truth is always the eager fp32 computation, on the CPU, of the model as it
was saved: a 16-bit model is loaded back and widened first.
"""

import argparse
import dataclasses
import json
import os
import platform
import shutil
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import safetensors
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

MAX_CASE_BYTES = 150_000
MAX_TOTAL_BYTES = 1_400_000
REPOSITORY = Path(__file__).resolve().parent.parent


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    about: str
    seed: int
    hidden: int
    intermediate: int
    vocab: int
    heads: int
    kv_heads: int
    layers: int = 2
    head_dim: int | None = None  # None: hidden / heads, as config.json then leaves it to the reader
    tied: bool = False
    dtype: torch.dtype = torch.float32
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5
    tokens: int = 48
    shard_bytes: int | None = None
    old_config: bool = False  # config.json as transformers 4 wrote it


CASES = [
    Case("gqa_f32", "2 query heads a KV head", 1,
         hidden=40, intermediate=56, vocab=89, heads=4, kv_heads=2, rms_norm_eps=1e-3),
    Case("mha_f32", "as many KV heads as query heads; config.json in the older form", 2,
         hidden=36, intermediate=52, vocab=83, heads=6, kv_heads=6, tokens=41, rope_theta=500000.0,
         rms_norm_eps=1e-6, old_config=True),
    Case("mqa_f32", "one KV head", 3,
         hidden=32, intermediate=44, vocab=97, heads=4, kv_heads=1, layers=3, tokens=53),
    Case("tied_f32", "the embedding is the output matrix, too", 4,
         hidden=40, intermediate=72, vocab=101, heads=4, kv_heads=2, tied=True,
         rms_norm_eps=1e-2),
    Case("head_dim_f32", "head_dim is not hidden_size / heads", 5,
         hidden=36, intermediate=52, vocab=79, heads=3, kv_heads=1, head_dim=20,
         rope_theta=1234.5, tokens=40),
    Case("sharded_f32", "several files and an index", 6,
         hidden=36, intermediate=40, vocab=73, heads=6, kv_heads=2, layers=3, shard_bytes=40_000),
    Case("gqa_f16", "stored as F16", 7,
         hidden=48, intermediate=88, vocab=97, heads=4, kv_heads=2, dtype=torch.float16,
         rms_norm_eps=1e-4, tokens=64),
    Case("gqa_bf16", "stored as BF16", 8,
         hidden=48, intermediate=88, vocab=97, heads=6, kv_heads=2, dtype=torch.bfloat16,
         rope_theta=75000.0, tokens=64),
    Case("gqa_bf16_sharded_tied", "BF16, tied, several files", 9,
         hidden=44, intermediate=60, vocab=103, heads=4, kv_heads=2, head_dim=14, layers=3,
         tied=True, dtype=torch.bfloat16, shard_bytes=24_000, rms_norm_eps=1e-3),
]

DEMO_TOKENS = 96
DEMO_LOGIT_ROWS = 8
DEMO_STEPS = 64
# "The captain stood on the deck and looked out over the grey water. For three days they had seen no
# land, and the men were"
DEMO_PROMPT = [
    622, 4003, 1175, 328, 264, 385, 409, 281, 893, 481, 615, 264, 1221, 4035, 1711, 4040, 1356,
    936, 1252, 417, 345, 1043, 442, 1287, 4037, 281, 264, 776, 441,
]


def check(condition: bool, message: str) -> None:
    if not condition:
        sys.exit(f"make_hf_fixtures: {message}")


# ---- Making a model ----


def make_config(case: Case) -> LlamaConfig:
    extra = {} if case.head_dim is None else {"head_dim": case.head_dim}
    return LlamaConfig(
        hidden_size=case.hidden,
        intermediate_size=case.intermediate,
        vocab_size=case.vocab,
        num_hidden_layers=case.layers,
        num_attention_heads=case.heads,
        num_key_value_heads=case.kv_heads,
        rms_norm_eps=case.rms_norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": case.rope_theta},
        tie_word_embeddings=case.tied,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        **extra,
    )


def random_weight(name: str, shape: torch.Size, rng: np.random.Generator) -> np.ndarray:
    """Weights under which every part of the network shows in the logits.

    After a norm an input has a mean square near 1, so q and k of standard deviation 1.6 give scores
    q.k / sqrt(head_dim) of about 1.6^2: attention is far from flat. The residual stream starts near
    0.3, where the larger values of rms_norm_eps matter.
    """
    normal = rng.standard_normal(tuple(shape)).astype(np.float32)
    if name.endswith("norm.weight"):
        return 1 + 0.2 * normal
    if "embed_tokens" in name:
        return 0.3 * normal
    gain = 1.6 if "q_proj" in name or "k_proj" in name else 1.0
    if "lm_head" in name:
        gain = 2.0
    return gain / np.sqrt(shape[-1]) * normal


def make_model(case: Case) -> LlamaForCausalLM:
    model = LlamaForCausalLM(make_config(case)).eval()
    model.tie_weights()
    rng = np.random.default_rng(case.seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            value = random_weight(name, parameter.shape, rng).astype(np.float32)
            parameter.copy_(torch.from_numpy(value))
    shared = model.lm_head.weight is model.model.embed_tokens.weight
    check(shared == case.tied, f"{case.name}: the output matrix is tied: {shared}")
    return model.to(case.dtype)


def write_old_config(path: Path, theta: float, dtype: torch.dtype) -> None:
    """Turns config.json into what transformers 4 wrote: rope_theta and torch_dtype at the top."""
    config = json.loads(path.read_text())
    for key in ("rope_parameters", "rope_scaling", "dtype"):
        config.pop(key, None)
    config["rope_theta"] = theta
    config["torch_dtype"] = str(dtype).removeprefix("torch.")
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def save_model(case: Case, folder: Path) -> None:
    limit = {} if case.shard_bytes is None else {"max_shard_size": case.shard_bytes}
    make_model(case).save_pretrained(folder, **limit)
    config = folder / "config.json"
    if case.old_config:
        write_old_config(config, case.rope_theta, case.dtype)
    if case.head_dim is None:
        values = json.loads(config.read_text())
        values.pop("head_dim", None)
        config.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
    check_saved(case, folder)


def read_header(file: Path) -> dict:
    """The tensors of a safetensors file by name: dtype, shape, data_offsets."""
    with file.open("rb") as data:
        header = json.loads(data.read(int.from_bytes(data.read(8), "little")))
    header.pop("__metadata__", None)
    return header


def check_saved(case: Case, folder: Path) -> None:
    """The files are what the case is about."""
    files = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if case.shard_bytes is None:
        check([f.name for f in files] == ["model.safetensors"], f"{case.name}: not one file")
        check(not index.exists(), f"{case.name}: an index was not expected")
    else:
        check(len(files) >= 3 and index.exists(), f"{case.name}: {len(files)} shards")
    expected = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}[case.dtype]
    tensors = {}
    for file in files:
        tensors.update(read_header(file))
    for name, tensor in tensors.items():
        check(tensor["dtype"] == expected, f"{case.name}: {name} is {tensor['dtype']}")
    check(("lm_head.weight" in tensors) != case.tied, f"{case.name}: lm_head.weight against tied")


# ---- The truth ----


def load_fp32(folder: Path) -> LlamaForCausalLM:
    model = LlamaForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", local_files_only=True
    ).eval()
    check(all(p.dtype == torch.float32 for p in model.parameters()), f"{folder}: not fp32")
    check(model.config._attn_implementation == "eager", f"{folder}: attention is not eager")
    return model


@torch.no_grad()
def compute_logits(model: LlamaForCausalLM, ids: list[int]) -> np.ndarray:
    """[len(ids), vocab] float32"""
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    check(logits.dtype == torch.float32, f"logits are {logits.dtype}")
    check(bool(torch.isfinite(logits).all()), "logits are not finite")
    return logits.numpy()


def check_rope(model: LlamaForCausalLM, head_dim: int, theta: float, name: str) -> None:
    """The rotation's frequencies are theta^(-2i / head_dim): theta was not lost on the way."""
    expected = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    found = model.model.rotary_emb.inv_freq.double()
    same = found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-5, atol=0)
    check(same, f"{name}: rope_theta {theta} is not what the model computes with")


def check_telling(model: LlamaForCausalLM, ids: list[int], logits: np.ndarray, name: str) -> None:
    """No token sees its future; a slip in the rotation moves the logits beyond any tolerance."""
    last = [*ids[:-1], (ids[-1] + 1) % model.config.vocab_size]
    later = compute_logits(model, last)
    check(np.allclose(later[:-1], logits[:-1], atol=1e-5), f"{name}: a token sees its future")

    frequencies = model.model.rotary_emb.inv_freq
    saved = frequencies.clone()
    frequencies.mul_(1.01)
    moved = np.abs(compute_logits(model, ids) - logits).max()
    frequencies.copy_(saved)
    check(moved > 0.01, f"{name}: rotation shows too little in the logits ({moved})")

    check(np.array_equal(compute_logits(model, ids), logits), f"{name}: two runs differ")


# ---- Files ----


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, separators=(",", ":")) + "\n")


def folder_bytes(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def make_case(case: Case, folder: Path) -> None:
    folder.mkdir(parents=True)
    save_model(case, folder)
    rng = np.random.default_rng(1000 + case.seed)
    ids = rng.integers(0, case.vocab, case.tokens).tolist()
    model = load_fp32(folder)
    logits = compute_logits(model, ids)
    check_rope(model, case.head_dim or case.hidden // case.heads, case.rope_theta, case.name)
    check_telling(model, ids, logits, case.name)
    write_json(folder / "ids.json", {"ids": ids})
    np.save(folder / "logits.npy", np.ascontiguousarray(logits, dtype=np.float32))
    size = folder_bytes(folder)
    check(size < MAX_CASE_BYTES, f"{case.name}: {size} bytes are too many")
    print(f"{case.name}: {size} bytes, logits from {logits.min():.2f} to {logits.max():.2f}")


def greedy(model: LlamaForCausalLM, prompt: list[int], steps: int) -> dict:
    """The likeliest token, `steps` times, each from a full forward pass without a cache."""
    ids, gaps = [], []
    for _ in range(steps):
        last = torch.from_numpy(compute_logits(model, prompt + ids)[-1])
        top = torch.topk(last, 2).values
        ids.append(int(torch.argmax(last)))
        gaps.append(float(top[0] - top[1]))
    return {"prompt": prompt, "ids": ids, "gaps": gaps}


def make_demo(model_dir: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    model = load_fp32(model_dir)
    config = json.loads((model_dir / "config.json").read_text())
    head_dim = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
    check_rope(model, head_dim, config["rope_theta"], "demo")

    ids = np.random.default_rng(2000).integers(3, config["vocab_size"], DEMO_TOKENS).tolist()
    write_json(folder / "ids.json", {"ids": ids})
    rows = compute_logits(model, ids)[-DEMO_LOGIT_ROWS:]
    np.save(folder / f"logits_last{DEMO_LOGIT_ROWS}.npy", np.ascontiguousarray(rows))

    result = greedy(model, DEMO_PROMPT, DEMO_STEPS)
    write_json(folder / "greedy.json", result)
    print(f"demo: {folder_bytes(folder)} bytes, smallest gap {min(result['gaps']):.4f}")


README = """# Reference values

Made by `{command}`, which needs no network, with Python {python}, torch {torch},
transformers {transformers}, safetensors {safetensors} and numpy {numpy}. Not edited by hand.

Each folder but `demo` is a random Llama as `save_pretrained` writes it, and:

- `ids.json`: `{{"ids": [...]}}`, the tokens that are fed;
- `logits.npy`: float32 [tokens, vocab], from transformers on the CPU in fp32 with eager attention. For
  16-bit models this is the fp32 computation of the rounded weights.

| folder | what it is about | heads / KV heads | head_dim | layers | hidden | rope_theta | rms_norm_eps |
|---|---|---|---|---|---|---|---|
{rows}

`demo` belongs to the model in `weights/demo`, computed in the same way:

- `ids.json`: {demo_tokens} random tokens; `logits_last{demo_rows}.npy`: the logits of the last {demo_rows} of them;
- `greedy.json`: `prompt`, the {demo_steps} likeliest tokens one after the other (`ids`; the end-of-text token
  does not end them), and by how much the best logit led in each step (`gaps`).
"""


def write_readme(out: Path) -> None:
    rows = "\n".join(
        f"| `{c.name}` | {c.about} | {c.heads} / {c.kv_heads} | {c.head_dim or c.hidden // c.heads} "
        f"| {c.layers} | {c.hidden} | {c.rope_theta:g} | {c.rms_norm_eps:g} |"
        for c in CASES
    )
    text = README.format(
        command="tools/make_hf_fixtures.py",
        python=platform.python_version(),
        torch=torch.__version__,
        transformers=transformers.__version__,
        safetensors=safetensors.__version__,
        numpy=np.__version__,
        rows=rows,
        demo_tokens=DEMO_TOKENS,
        demo_rows=DEMO_LOGIT_ROWS,
        demo_steps=DEMO_STEPS,
    )
    (out / "README.md").write_text(text)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, default=REPOSITORY / "tests" / "fixtures")
    parser.add_argument("--demo", type=Path, default=REPOSITORY / "weights" / "demo")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name in [*(case.name for case in CASES), "demo"]:
        shutil.rmtree(arguments.out / name, ignore_errors=True)
    for case in CASES:
        make_case(case, arguments.out / case.name)
    make_demo(arguments.demo, arguments.out / "demo")
    write_readme(arguments.out)
    total = sum(folder_bytes(arguments.out / name) for name in [*(c.name for c in CASES), "demo"])
    check(total < MAX_TOTAL_BYTES, f"{total} bytes are too many")
    print(f"all: {total} bytes in {arguments.out}")


if __name__ == "__main__":
    main()
