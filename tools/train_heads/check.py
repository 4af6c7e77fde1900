#!/usr/bin/env python3
"""Checks of tools/train_heads on a CPU, in seconds: the bundled model on random tokens.

    check.py [--mask FILE.tsv]

With --mask it also says whether a file has the shape of a mask for the model.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "train_demo"))

import torch
import torch.nn.functional as F

from evaluate import decode, winnow
from evaluate import prefill as own_prefill
from export import read_model, read_shape
from gated import GatedDecoder, Streaming, blend
from gates import Gates, Lagrangian, learning_rate, n_open, target_sparsity
from measure import Measure
from model import Decoder, rope_tables

MODEL = ROOT / "weights" / "demo"


def explicit(q, k, v, batch: int, sink: int, window: int) -> torch.Tensor:
    """Streaming attention in fp64 by a mask of all scores."""
    q, k, v = (x.double().unflatten(0, (batch, -1)).transpose(1, 2) for x in (q, k, v))
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    query = torch.arange(q.shape[2])[:, None]
    key = torch.arange(q.shape[2])
    seen = (key <= query) & ((key < sink) | (key > query - window))
    scores = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(~seen, float("-inf"))
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2).flatten(0, 1)


def check_streaming() -> None:
    for length, sink, window in [
        (1, 4, 8),
        (7, 4, 8),
        (8, 8, 8),
        (37, 3, 8),
        (64, 0, 16),
        (50, 5, 5),
    ]:
        torch.manual_seed(length)
        q, k, v = (torch.randn(2 * length, heads, 16) for heads in (6, 2, 2))
        ours = Streaming(sink, window)(q, k, v, 2)
        torch.testing.assert_close(
            ours.double(), explicit(q, k, v, 2, sink, window), rtol=0, atol=1e-5
        )


def check_blend() -> None:
    """KV head 1 of sequence 0 streams; its query heads are 3, 4, 5."""
    full, streaming = torch.zeros(2 * 5, 6 * 4), torch.ones(2 * 5, 6 * 4)
    out = blend(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), full, streaming).view(2, 5, 6, 4)
    assert out[0, :, 3:].eq(1).all() and out[0, :, :3].eq(0).all() and out[1].eq(0).all()


def check_open_gates(gated: GatedDecoder, tokens: torch.Tensor) -> None:
    """With all gates open it is the model."""
    shape = gated.decoder.shape
    own = gated.decoder(tokens, *rope_tables(shape, tokens.shape[1], "cpu"))
    ones = torch.ones(len(tokens), shape.layers, shape.kv_heads)
    assert torch.equal(gated(tokens, ones), own)
    ones[0, 4, 1] = 0
    apart = (gated(tokens, ones) - own).view(*tokens.shape, -1).abs().amax(-1)
    streaming = gated.streaming
    holds_all = streaming.window + streaming.sink  # queries before this one see every row
    assert apart[0, :holds_all].max() < 1e-4, "a window that holds all rows changes nothing"
    assert apart[0, holds_all:].max() > 1e-2
    assert apart[1].max() == 0, "another sequence's gate changed this one"


def decode_logits(decoder: Decoder, start, n_new: int, seen) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [B, n_new] and the logits [B, n_new, V] that they are the best of."""
    logits = []

    def hear(hidden):
        logits.append(Decoder.logits(decoder, hidden))
        return logits[-1]

    decoder.logits = hear
    tokens = decode(decoder, start, n_new, seen)
    del decoder.logits
    return tokens, torch.stack(logits, dim=1)


def check_decode(gated: GatedDecoder, tokens: torch.Tensor) -> None:
    """Logits with a cache are those of the whole text read anew, under any mask."""
    shape, n_new = gated.decoder.shape, 8
    measure = object.__new__(Measure)  # without its texts
    measure.gated, measure.device = gated, torch.device("cpu")
    ones = torch.ones(shape.layers, shape.kv_heads)
    torch.manual_seed(3)
    for mask in (ones, torch.zeros_like(ones), torch.randint_like(ones, 2)):
        start = measure.prefill(tokens, mask)
        written, logits = decode_logits(gated.decoder, start, n_new, measure.seen(start, mask))
        text = torch.cat([tokens, written], dim=1)
        hidden = gated(text, mask.expand(len(text), -1, -1)).view(*text.shape, -1)
        again = gated.decoder.logits(hidden)[:, tokens.shape[1] - 1 : -1]
        torch.testing.assert_close(logits, again, rtol=0, atol=1e-3)
    start = own_prefill(gated.decoder, tokens)
    seen = [winnow(q, k, n_new, "full", 0, None) for q, k, _ in start.layers]
    _, own = decode_logits(gated.decoder, start, n_new, seen)
    start = measure.prefill(tokens, ones)
    _, ours = decode_logits(gated.decoder, start, n_new, measure.seen(start, ones))
    torch.testing.assert_close(ours, own, rtol=0, atol=1e-3)


def check_gates() -> None:
    """Gates that cost the loss something stay open, the others close, until the share is reached."""
    steps, sparsity = 400, 0.5
    gates, lagrangian = Gates(8, 2, seed=1), Lagrangian()
    worth = torch.linspace(0, 1, 16)[torch.randperm(16, generator=torch.Generator().manual_seed(2))]
    first = gates.log_alpha.detach().clone()
    optimizers = [
        torch.optim.Adam(gates.parameters(), 1.0, (0.9, 0.95)),
        torch.optim.Adam(lagrangian.parameters(), 1.0, (0.9, 0.95), maximize=True),
    ]
    for step in range(steps):
        share = (step + 1) / steps
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = learning_rate(share)
        z = gates.draw(8)
        loss = ((1 - z).flatten(1) * worth).sum(1).mean()
        (loss + lagrangian(z, target_sparsity(share, sparsity))).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        gates.bound()
    mask, z = gates.rounded(sparsity), gates.draw(1000)
    assert (gates.log_alpha - first).abs().min() > 0, "a gate did not move"
    assert mask.sum() == n_open(16, sparsity) == 8
    print(
        f"sparsity {1 - z.mean():.3f}, kept worth {worth[mask.flatten() == 1].sum():.2f}",
        f"of at most {worth.topk(8).values.sum():.2f}; lambdas {lagrangian.lambdas.tolist()}",
    )
    assert abs(1 - z.mean() - sparsity) < 0.1
    assert worth[mask.flatten() == 1].min() > worth[mask.flatten() == 0].max() - 0.2


def check_mask(path: Path) -> None:
    shape = read_shape(MODEL)
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == shape.layers, f"{path}: {len(rows)} lines for {shape.layers} layers"
    assert all(len(row) == shape.kv_heads and set(row) <= {"0", "1"} for row in rows), path


@torch.no_grad()
def check_model() -> None:
    shape = read_shape(MODEL)
    gated = GatedDecoder(read_model(shape, MODEL, "cpu"), Streaming(4, 16))
    tokens = torch.randint(3, shape.vocab, (2, 75), generator=torch.Generator().manual_seed(1))
    check_open_gates(gated, tokens)
    check_decode(gated, tokens)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--mask", type=Path)
    args = p.parse_args()
    check_streaming()
    check_blend()
    check_model()
    check_gates()
    if args.mask:
        check_mask(args.mask)
    print("all well")


if __name__ == "__main__":
    main()
