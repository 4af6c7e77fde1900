#!/usr/bin/env python3
"""Learns which KV heads of the bundled model need all rows, and which get along with a few.

    train_heads.py --corpus books.txt.xz --work DIR --out heads.tsv [--sparsity 0.5]

The model is frozen. Each KV head's attention is a blend of full attention and of streaming
attention (the first --sink rows and the last --window ones), by a gate that is learnt; more and
more gates are made to close until the share --sparsity of them is (PruLong, arXiv 2506.17121).
gates.py has the rule, gated.py the network, measure.py the figures. What is learnt from is what
tools/train_demo trains the model on: books, and tasks that ask for what stands in them.

Writes, beside each other:

    heads.tsv        a line for each layer, a column for each KV head: 1 full, 0 streaming
    heads.gates.tsv  the same before rounding
    heads.json       settings, the way there, and figures of masks: all heads full, the learnt
                     mask, each head streaming alone, random masks with as many full heads

One GPU; a small try runs on a CPU too (--device cpu --tokens 512 --batch 2 --window 64 ...).
--work keeps the tokenized corpus.
"""

import argparse
import json
import math
import random
import sys
import time
from pathlib import Path

STARTED = time.monotonic()
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "train_demo"))

import torch

import corpus as corpora
from export import read_model, read_shape
from gated import GatedDecoder, Streaming
from gates import BETAS, Gates, Lagrangian, learning_rate, n_open, target_sparsity
from measure import Measure, next_token_losses
from tasks import TaskMaker
from train import Batches, Phase, loader

LOG_LINES = 50  # of the way, in heads.json


def half(device: str):
    """As in training: matrices in bf16, on a GPU."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda")


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:6.1f}] {text}", flush=True)


class Trainer:
    def __init__(self, gated: GatedDecoder, corpus: corpora.Corpus, args) -> None:
        self.gated, self.args = gated, args
        shape = gated.decoder.shape
        self.gates = Gates(shape.layers, shape.kv_heads, args.seed).to(args.device)
        self.lagrangian = Lagrangian().to(args.device)
        self.optimizers = [
            torch.optim.Adam(self.gates.parameters(), args.lr, BETAS),
            torch.optim.Adam(self.lagrangian.parameters(), args.lambda_lr, BETAS, maximize=True),
        ]
        self.highest = [args.lr, args.lambda_lr]
        maker = TaskMaker(corpus.tokenizer, corpus.train, corpus.words, corpus.held_out_words.all())
        batches = Batches(maker, Phase(1.0, args.tokens, args.batch), args.seed, 0)
        self.batches = loader(batches, args.workers, args.device)

    def run(self) -> list[dict]:
        """All steps; what is logged of them."""
        every, way = max(1, self.args.steps // LOG_LINES), []
        for step in range(self.args.steps):
            figures = self.step(next(self.batches), (step + 1) / self.args.steps)
            if step % every == 0 or step + 1 == self.args.steps:
                way.append({"step": step + 1, **self.record(figures)})
                say(json.dumps(way[-1]))
                if not math.isfinite(way[-1]["loss"]):
                    sys.exit("train_heads: the loss is not a number")
        return way

    def step(self, batch, share: float) -> dict:
        """`share` is how far the run is, in (0, 1]."""
        target = target_sparsity(share, self.args.sparsity)
        for optimizer, highest in zip(self.optimizers, self.highest):
            optimizer.param_groups[0]["lr"] = highest * learning_rate(share)
        tokens, weights = (x.to(self.args.device, non_blocking=True) for x in batch)
        z = self.gates.draw(len(tokens))
        with half(self.args.device):
            loss, text, answers = next_token_losses(self.gated, tokens.long(), weights, z)
        (loss + self.lagrangian(z, target)).backward()
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.gates.bound()
        sparsity = 1 - z.detach().mean()
        figures = {"loss": loss, "text": text, "answers": answers, "sparsity": sparsity}
        return {"target": target, **{name: x.detach() for name, x in figures.items()}}

    def record(self, figures: dict) -> dict:
        lambdas = self.lagrangian.lambdas.tolist()
        log_alpha = self.gates.log_alpha.detach().flatten().tolist()
        return {
            **{name: round(float(x), 4) for name, x in figures.items()},
            "lambdas": [round(x, 3) for x in lambdas],
            "log_alpha": [round(x, 2) for x in log_alpha],
        }


def random_masks(shape, sparsity: float, count: int, seed: int) -> list[torch.Tensor]:
    heads = shape.layers * shape.kv_heads
    masks = []
    for i in range(count):
        mask = torch.zeros(heads)
        mask[
            random.Random(f"{seed}/heads/mask/{i}").sample(range(heads), n_open(heads, sparsity))
        ] = 1
        masks.append(mask.view(shape.layers, shape.kv_heads))
    return masks


def closed_alone(measure: Measure, shape) -> dict:
    """Losses when one head streams: of each loss a row for each layer, a column for each KV head."""
    table = []
    for head in range(shape.layers * shape.kv_heads):
        mask = torch.ones(shape.layers * shape.kv_heads)
        mask[head] = 0
        table.append(measure.losses(mask.view(shape.layers, shape.kv_heads)))
    return {
        name: [
            [losses[name] for losses in table[layer * shape.kv_heads :][: shape.kv_heads]]
            for layer in range(shape.layers)
        ]
        for name in table[0]
    }


def compare(measure: Measure, learnt: torch.Tensor, shape, args) -> dict:
    """Figures of masks."""
    result = {}
    for name, mask in (("full", torch.ones_like(learnt)), ("learnt", learnt)):
        result[name] = measure.figures(mask)
        say(f"{name}: {json.dumps(result[name])}")
    result["closed_alone"] = closed_alone(measure, shape)
    say(f"loss with one head streaming: {json.dumps(result['closed_alone']['loss'])}")
    masks = random_masks(shape, args.sparsity, args.random_masks, args.seed)
    result["random"] = [measure.figures(mask) for mask in masks]
    if masks:
        result["random_mean"] = {
            name: round(sum(f[name] for f in result["random"]) / len(masks), 4)
            for name in result["full"]
        }
        say(f"random, mean of {len(masks)}: {json.dumps(result['random_mean'])}")
    return result


def write_table(path: Path, rows: list[list[float]]) -> None:
    text = "".join("\t".join(f"{x:.6g}" for x in row) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


def is_models_corpus(args) -> bool:
    """Whether what was held out is what the model has not seen."""
    ours, models = ((d / "held_out.json").read_bytes() for d in (args.work, args.model))
    if ours != models:
        say("warning: another corpus than the model's: it may have seen what it is measured on")
    return ours == models


def parse_args() -> argparse.Namespace:
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--corpus", type=Path, required=True, help="text, or text packed with xz")
    p.add_argument("--work", type=Path, required=True, help="tokenized corpus")
    p.add_argument("--out", type=Path, required=True, help="mask to write, NAME.tsv")
    p.add_argument("--model", type=Path, default=ROOT / "weights" / "demo")
    p.add_argument("--sparsity", type=float, default=0.5, help="share of KV heads that stream")
    p.add_argument("--steps", type=int, default=600)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--sink", type=int, default=16, help="rows")
    p.add_argument("--window", type=int, default=256, help="rows")
    p.add_argument("--tokens", type=int, default=8192, help="of a sequence")
    p.add_argument("--batch", type=int, default=8, help="sequences of a step")
    p.add_argument("--lr", type=float, default=1.0, help="of the gates")
    p.add_argument(
        "--lambda-lr",
        type=float,
        default=0.1,
        help="less than --lr (in the paper the same): so few gates all swing with the lambdas, and "
        "one that swings shut does not always come back",
    )
    p.add_argument("--eval-texts", type=int, default=32)
    p.add_argument("--eval-needles", type=int, default=40, help="with 1 secret and with 8, each")
    p.add_argument("--random-masks", type=int, default=12)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--workers", type=int, default=13, help="processes that make batches")
    p.add_argument("--threads", type=int, default=16, help="for tokenizing the corpus")
    args = p.parse_args()
    if not 0 < args.sparsity < 1:
        p.error(f"--sparsity must be between 0 and 1, not {args.sparsity}")
    if not 0 <= args.sink <= args.window:
        p.error("--sink must not exceed --window")
    if args.out.suffix != ".tsv":
        p.error(f"--out must end in .tsv: {args.out}")
    return args


def main() -> None:
    args = parse_args()
    torch.set_float32_matmul_precision("high")
    device = torch.device(args.device)
    corpus = corpora.prepare_with(
        args.model / "tokenizer.model", args.corpus, args.work, args.threads
    )
    same_corpus = is_models_corpus(args)
    shape = read_shape(args.model)
    gated = GatedDecoder(read_model(shape, args.model, device), Streaming(args.sink, args.window))
    trainer = Trainer(gated, corpus, args)
    say(f"{len(corpus.train)} tokens of text")
    begun = time.monotonic()
    way = trainer.run()
    seconds = time.monotonic() - begun
    mask = trainer.gates.rounded(args.sparsity)
    with half(args.device):
        figures = compare(Measure(gated, corpus, args), mask, shape, args)

    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_table(args.out, mask.tolist())
    write_table(args.out.with_suffix(".gates.tsv"), trainer.gates.median().tolist())
    names = "sparsity steps seed sink window tokens batch lr lambda_lr eval_texts eval_needles"
    corpora.write_json(
        args.out.with_suffix(".json"),
        {
            "settings": {name: getattr(args, name) for name in names.split()},
            "held_out_is_the_models": same_corpus,
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
            "train_seconds": round(seconds, 1),
            "seconds": round(time.monotonic() - STARTED, 1),
            "mask": mask.int().tolist(),
            "log_alpha": trainer.gates.log_alpha.tolist(),
            "figures": figures,
            "way": way,
        },
    )
    say(f"wrote {args.out}")


if __name__ == "__main__":
    main()
