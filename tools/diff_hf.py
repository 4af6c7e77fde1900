#!/usr/bin/env python3
"""Runs a prompt through winnow and through transformers, and names the first step that differs.

    tools/diff_hf.py MODEL (-p TEXT | --ids 1,2,3) [--winnow PROGRAM] [--device cpu|cuda]
                     [--layers 0,5] [--tolerance X] [--dump DIR]

winnow writes what every step leaves (`winnow logits --dump`); transformers computes the same in
fp32, step by step, from the same weights. A line for each step, in the order of a token's way:

    step                    shape         difference   largest
    layer_00.qkv.q          [12, 6, 64]      1.3e-07    4.8e-06

The difference is the length of a - b over the length of b, all numbers of the step taken as one
vector; the largest is that of a single number. Exit code 1 where a step differs by more than the
tolerance: 1e-4, which fp32 stays far below. On a GPU a BF16 model rounds at every step; 3e-2 will
do there. --dump DIR compares what is in DIR (a run over the same ids), or leaves it there.

Needs numpy, torch and transformers.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from transformers import AutoModelForCausalLM


def fail(message: str) -> None:
    sys.exit(f"diff_hf: {message}")


def run_winnow(arguments: list[str]) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"{' '.join(arguments[:2])} failed: {done.stderr.strip()}")
    return done.stdout


class Recorder:
    """What every step of a transformers model leaves, under winnow's names."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.steps: dict[str, torch.Tensor] = {}
        self.model = model
        self.heads = model.config.num_attention_heads
        self.kv_heads = model.config.num_key_value_heads
        self._layer = 0  # whose q and k are rotated next
        self._record_rotation()
        model.model.embed_tokens.register_forward_hook(self._leaves("embed"))
        for i, layer in enumerate(model.model.layers):
            self._record_layer(f"layer_{i:02d}", layer)

    def run(self, ids: list[int]) -> None:
        with torch.no_grad():
            logits = self.model(torch.tensor([ids])).logits
        self._put("logits", logits[:, -1])

    def _put(self, name: str, tensor: torch.Tensor, heads: int = 0) -> None:
        rows = tensor.detach()[0].reshape(-1, tensor.shape[-1])
        self.steps[name] = rows.reshape(len(rows), heads, -1) if heads else rows

    def _leaves(self, name: str, heads: int = 0):  # noqa: ANN202
        def hook(_module, _inputs, output):  # noqa: ANN001, ANN202
            self._put(name, output[0] if isinstance(output, tuple) else output, heads)

        return hook

    def _takes(self, name: str, heads: int = 0):  # noqa: ANN202
        def hook(_module, inputs):  # noqa: ANN001, ANN202
            self._put(name, inputs[0], heads)

        return hook

    def _record_layer(self, name: str, layer: torch.nn.Module) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        attention.v_proj.register_forward_hook(self._leaves(f"{name}.qkv.v", self.kv_heads))
        attention.o_proj.register_forward_pre_hook(self._takes(f"{name}.attention", self.heads))
        layer.post_attention_layernorm.register_forward_pre_hook(
            self._takes(f"{name}.attention_output")
        )
        mlp.down_proj.register_forward_pre_hook(self._takes(f"{name}.gate_up"))
        layer.register_forward_hook(self._leaves(f"{name}.down"))

    def _record_rotation(self) -> None:
        """q and k are seen where they leave the rotation, a function of the model's module."""
        module = sys.modules[type(self.model).__module__]
        rotate = module.apply_rotary_pos_emb

        def recorded(*args, **kwargs):  # noqa: ANN002, ANN003, ANN202
            q, k = rotate(*args, **kwargs)
            for what, tensor in (("q", q), ("k", k)):  # [1, heads, n, head_dim]
                name = f"layer_{self._layer:02d}.qkv.{what}"
                self.steps[name] = tensor.detach()[0].transpose(0, 1)
            self._layer += 1
            return q, k

        module.apply_rotary_pos_emb = recorded


def names_in_order(n_layers: int, layers: list[int]) -> Iterator[str]:
    yield "embed"
    for i in range(n_layers):
        if layers and i not in layers:
            continue
        for step in ("qkv.q", "qkv.k", "qkv.v", "attention", "attention_output", "gate_up", "down"):
            yield f"layer_{i:02d}.{step}"
    yield "logits"


def compare(
    folder: Path, steps: dict[str, torch.Tensor], names: Iterator[str], tolerance: float
) -> str | None:
    """Prints a line for each step. The first that differs by more than the tolerance."""
    print(f"{'step':28}{'shape':18}{'difference':>12}{'largest':>12}")
    first = None
    for name in names:
        file = folder / f"{name}.npy"
        if not file.exists():
            fail(f"{file} is missing")
        ours = np.load(file).astype(np.float64)
        theirs = steps[name].numpy().astype(np.float64)
        if ours.shape != theirs.shape:
            fail(f"{file}: its shape is {list(ours.shape)}, in transformers {list(theirs.shape)}")
        difference = np.linalg.norm(ours - theirs) / max(np.linalg.norm(theirs), 1e-30)
        largest = np.abs(ours - theirs).max()
        within = difference <= tolerance  # a NaN is not
        if not within and first is None:
            first = name
        mark = "" if within else "  <-- differs" if first == name else "  differs"
        print(f"{name:28}{list(ours.shape)!s:18}{difference:12.1e}{largest:12.1e}{mark}")
    return first


def ids_of(args: argparse.Namespace) -> list[int]:
    if args.ids:
        return [int(word) for word in args.ids.split(",")]
    command = [args.winnow, "tokenize", "-m", args.model, "-p", args.prompt, "--bos", "auto"]
    return json.loads(run_winnow([*command, "--json"]))["tokens"]


def make_dump(args: argparse.Namespace, ids: list[int], folder: Path) -> None:
    command = [args.winnow, "logits", "-m", args.model, "--ids", ",".join(map(str, ids))]
    command += ["-o", str(folder / "all_logits.npy"), "--dump", str(folder)]
    command += ["--device", args.device, "-q"]
    if args.layers:
        command += ["--dump-layers", args.layers]
    run_winnow(command)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="model directory")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("-p", "--prompt", help="text, tokenized by winnow for both")
    source.add_argument("--ids", help="token ids, like 1,2,3")
    parser.add_argument("--winnow", default="build/winnow")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--layers", default="", help="only these, like 0,5")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--dump", type=Path, help="folder of a dump; made where it is empty")
    args = parser.parse_args()

    ids = ids_of(args)
    model = AutoModelForCausalLM.from_pretrained(
        args.model, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    recorder = Recorder(model)
    recorder.run(ids)
    layers = [int(word) for word in args.layers.split(",") if word]
    names = names_in_order(model.config.num_hidden_layers, layers)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.dump or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "embed.npy").exists():
            make_dump(args, ids, folder)
        first = compare(folder, recorder.steps, names, args.tolerance)
    if first:
        print(f"the first step that differs by more than {args.tolerance:g}: {first}")
        sys.exit(1)
    print(f"all steps agree within {args.tolerance:g}")


if __name__ == "__main__":
    main()
