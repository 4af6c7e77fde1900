#!/usr/bin/env python3
"""Makes tests/fixtures: small random Llama models, and the logits that transformers computes.

    tools/make_hf_fixtures.py [FOLDER] [--demo MODEL_DIR]

Needs torch, transformers, safetensors and numpy; uses no network. Every model and every token comes
from a fixed seed. The truth is always the eager fp32 computation, on the CPU, of the model as it
was saved: a 16-bit model is loaded back and widened first.
"""

import argparse
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
from hf_cases import CASES, Case
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM
from transformers import Qwen3Config, Qwen3ForCausalLM

MAX_CASE_BYTES = 150_000
MAX_TOTAL_BYTES = 2_300_000
REPOSITORY = Path(__file__).resolve().parent.parent
FAMILIES = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}


DEMO_TOKENS = 96
DEMO_LOGIT_ROWS = 8
DEMO_STEPS = 64
GREEDY_PROMPT = 40
MIN_GAP = 2e-3  # fp32 sums in another order differ by some 1e-5
# "The captain stood on the deck and looked out over the grey water. For three days they had seen no
# land, and the men were"
DEMO_PROMPT = [
    622,
    4003,
    1175,
    328,
    264,
    385,
    409,
    281,
    893,
    481,
    615,
    264,
    1221,
    4035,
    1711,
    4040,
    1356,
    936,
    1252,
    417,
    345,
    1043,
    442,
    1287,
    4037,
    281,
    264,
    776,
    441,
]


def check(condition: bool, message: str) -> None:
    if not condition:
        sys.exit(f"make_hf_fixtures: {message}")


# ---- Making a model ----


def make_config(case: Case) -> transformers.PreTrainedConfig:
    extra = dict(case.extra)
    if case.head_dim is not None:
        extra["head_dim"] = case.head_dim
    rope = {"rope_type": "default", "rope_theta": case.rope_theta, **case.rope}
    return FAMILIES[case.family][0](
        hidden_size=case.hidden,
        intermediate_size=case.intermediate,
        vocab_size=case.vocab,
        num_hidden_layers=case.layers,
        num_attention_heads=case.heads,
        num_key_value_heads=case.kv_heads,
        rms_norm_eps=case.rms_norm_eps,
        rope_parameters=rope,
        tie_word_embeddings=case.tied,
        max_position_embeddings=case.max_positions,
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
    if name.endswith("bias"):
        return 0.4 * normal
    if "embed_tokens" in name:
        return 0.3 * normal
    gain = 1.6 if "q_proj" in name or "k_proj" in name else 1.0
    if "lm_head" in name:
        gain = 2.0
    return gain / np.sqrt(shape[-1]) * normal


def make_model(case: Case) -> PreTrainedModel:
    model = FAMILIES[case.family][1](make_config(case)).eval()
    model.tie_weights()
    rng = np.random.default_rng(case.seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            value = random_weight(name, parameter.shape, rng).astype(np.float32)
            parameter.copy_(torch.from_numpy(value))
    shared = model.lm_head.weight is model.model.embed_tokens.weight
    check(shared == case.tied, f"{case.name}: the output matrix is tied: {shared}")
    return model.to(case.dtype)


def write_old_config(path: Path, case: Case) -> None:
    """Turns config.json into what transformers 4 wrote: rope_theta and torch_dtype at the top, and
    the scaling, where there is one, in rope_scaling: its kind was "type" before it was "rope_type".
    """
    config = json.loads(path.read_text())
    for key in ("rope_parameters", "rope_scaling", "dtype"):
        config.pop(key, None)
    config["rope_theta"] = case.rope_theta
    if case.rope:
        scaling = dict(case.rope)
        if scaling["rope_type"] != "llama3":
            scaling["type"] = scaling.pop("rope_type")
        config["rope_scaling"] = scaling
    config["torch_dtype"] = str(case.dtype).removeprefix("torch.")
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def save_model(case: Case, folder: Path) -> None:
    limit = {} if case.shard_bytes is None else {"max_shard_size": case.shard_bytes}
    make_model(case).save_pretrained(folder, **limit)
    config = folder / "config.json"
    if case.old_config:
        write_old_config(config, case)
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


def load_fp32(folder: Path) -> PreTrainedModel:
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", local_files_only=True
    ).eval()
    check(all(p.dtype == torch.float32 for p in model.parameters()), f"{folder}: not fp32")
    check(model.config._attn_implementation == "eager", f"{folder}: attention is not eager")
    return model


@torch.no_grad()
def compute_logits(model: PreTrainedModel, ids: list[int]) -> np.ndarray:
    """[len(ids), vocab] float32"""
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    check(logits.dtype == torch.float32, f"logits are {logits.dtype}")
    check(bool(torch.isfinite(logits).all()), "logits are not finite")
    return logits.numpy()


def check_rope(model: PreTrainedModel, head_dim: int, theta: float, name: str) -> None:
    """The rotation's frequencies are theta^(-2i / head_dim): theta was not lost on the way."""
    expected = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    found = model.model.rotary_emb.inv_freq.double()
    same = found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-5, atol=0)
    check(same, f"{name}: rope_theta {theta} is not what the model computes with")


def check_telling(model: PreTrainedModel, ids: list[int], logits: np.ndarray, name: str) -> None:
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
    if case.rope:
        kind = model.config.rope_parameters["rope_type"]
        check(kind == case.rope["rope_type"], f"{case.name}: the model's rope is {kind}")
    else:
        check_rope(model, case.head_dim or case.hidden // case.heads, case.rope_theta, case.name)
    if case.rope.get("rope_type") != "dynamic":  # whose frequencies belong to a length
        check_telling(model, ids, logits, case.name)
    write_json(folder / "ids.json", {"ids": ids})
    np.save(folder / "logits.npy", np.ascontiguousarray(logits, dtype=np.float32))
    if case.greedy:
        model = load_fp32(folder)  # dynamic rope has a memory
        write_json(folder / "greedy.json", greedy(model, ids[:GREEDY_PROMPT], DEMO_STEPS, True))
    size = folder_bytes(folder)
    check(size < MAX_CASE_BYTES, f"{case.name}: {size} bytes are too many")
    print(f"{case.name}: {size} bytes, logits from {logits.min():.2f} to {logits.max():.2f}")


@torch.no_grad()
def greedy(model: PreTrainedModel, prompt: list[int], steps: int, cached: bool = False) -> dict:
    """The likeliest token, `steps` times, each from a full forward pass without a cache, or from
    the last token alone with one."""
    ids, gaps = [], []
    cache = None
    for _ in range(steps):
        if cached:
            new = ids[-1:] or prompt
            out = model(input_ids=torch.tensor([new]), past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            last = out.logits[0, -1]
        else:
            last = torch.from_numpy(compute_logits(model, prompt + ids)[-1])
        top = torch.topk(last, 2).values
        ids.append(int(torch.argmax(last)))
        gaps.append(float(top[0] - top[1]))
    check(min(gaps) > MIN_GAP, f"the best token leads by {min(gaps)}")
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

Each folder but `demo` and `tokenizers` is a random model as `save_pretrained` writes it, and:

- `ids.json`: `{{"ids": [...]}}`, the tokens that are fed;
- `greedy.json` of some: `prompt`, its 64 likeliest continuations one after the other with
  transformers' own cache (`ids`), and by how much the best logit led (`gaps`);
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
