#!/usr/bin/env python3
"""Compares winnow with transformers on a large checkpoint of random weights, on a GPU.

    tools/check_large.py [--shape tools/shapes/llama-3.1-8b.json] [--dir FOLDER] [--winnow PROGRAM]

Writes a sharded checkpoint of the shape to FOLDER (with few ids, so that the logits of a long text
stay small), lets both compute the logits of the same ids, and holds them against the fp32
computation of the same rounded weights; long texts, for which transformers' fp32 attention wants
too much memory, against its bf16. Says how long a run took (of one token: loading), beside reading
the files alone, and the most host memory that the program held. Needs torch and transformers; takes
twice the checkpoint's size in GPU memory, and once on FOLDER's disk.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

VOCAB = 1000
FAMILIES = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
}
# Run by a small process of its own: a program's peak counts what it was forked from, too.
MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
NOT_FOR_CONFIG = {"model_type", "torch_dtype"}


def write_checkpoint(shape: dict, folder: Path, device: str) -> torch.nn.Module:
    """The model on the GPU in bf16, as it lies in the folder."""
    config_type, model_type = FAMILIES[shape["model_type"]]
    keys = {k: v for k, v in shape.items() if k not in NOT_FOR_CONFIG}
    config = config_type(**keys | {"vocab_size": VOCAB, "bos_token_id": 1, "eos_token_id": 2})
    config._attn_implementation = "sdpa"
    torch.manual_seed(1)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = model_type(config)
    torch.set_default_dtype(torch.float32)
    model.eval().save_pretrained(folder, max_shard_size="4GB")
    return model


def random_ids(n: int) -> list[int]:
    return np.random.default_rng(2).integers(3, VOCAB, n).tolist()


@torch.no_grad()
def transformers_logits(model: torch.nn.Module, ids: list[int]) -> np.ndarray:
    return model(torch.tensor([ids], device=model.device)).logits[0].float().cpu().numpy()


def winnow_logits(args: argparse.Namespace, ids: list[int]) -> tuple[np.ndarray, float, float]:
    """Logits, seconds from start to end, and the most host memory in GB."""
    out = args.dir / "logits.npy"
    command = [args.winnow, "logits", "-m", args.dir, "--device", args.device, "-q", "-o", out]
    start = time.time()
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, command), "--ids", ",".join(map(str, ids))],
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds = time.time() - start
    if run.returncode != 0:
        sys.exit(f"check_large: winnow ended with {run.returncode}")
    return np.load(out), seconds, int(run.stdout) * 1024 / 1e9


def nmse(actual: np.ndarray, truth: np.ndarray) -> float:
    actual, truth = actual.astype(np.float64), truth.astype(np.float64)
    return float(((actual - truth) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())


def read_seconds(folder: Path) -> tuple[float, float]:
    """GB of the shards, and seconds to read them one after the other."""
    start, n = time.time(), 0
    for shard in sorted(folder.glob("*.safetensors")):
        with open(shard, "rb", buffering=0) as file:
            while part := file.read(64 << 20):
                n += len(part)
    return n / 1e9, time.time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--shape", type=Path, default=Path("tools/shapes/llama-3.1-8b.json"))
    parser.add_argument("--dir", type=Path, default=Path("/dev/shm/check_large"))
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--longest-truth", type=int, default=4096)
    parser.add_argument("--winnow", default="build/winnow")
    parser.add_argument("--lengths", type=int, nargs="+", default=[1, 512, 32_000])
    parser.add_argument("--keep", action="store_true", help="leave the checkpoint where it is")
    args = parser.parse_args()
    args.dir.mkdir(parents=True, exist_ok=True)
    try:
        model = write_checkpoint(json.loads(args.shape.read_text()), args.dir, args.device)
        size, seconds = read_seconds(args.dir)
        print(f"{size:.2f} GB in {len(list(args.dir.glob('*.safetensors')))} shards,", end=" ")
        print(f"read in {seconds:.2f} s ({size / seconds:.1f} GB/s)")
        ids = {n: random_ids(n) for n in args.lengths}
        half = {n: transformers_logits(model, ids[n]) for n in args.lengths}
        model.float()
        truth = {
            n: transformers_logits(model, ids[n]) for n in args.lengths if n <= args.longest_truth
        }
        del model
        torch.cuda.empty_cache()
        for n in args.lengths:
            logits, seconds, peak = winnow_logits(args, ids[n])
            print(f"{n} tokens in {seconds:.2f} s, {peak:.2f} GB of host memory; NMSE", end=" ")
            if n in truth:
                print(f"to fp32 {nmse(logits, truth[n]):.2e},", end=" ")
                print(f"of transformers in bf16 {nmse(half[n], truth[n]):.2e},", end=" ")
            print(f"to transformers in bf16 {nmse(logits, half[n]):.2e}")
    finally:
        if not args.keep:
            shutil.rmtree(args.dir, ignore_errors=True)


if __name__ == "__main__":
    main()
