"""The gates of KV heads, how they are drawn, and what makes many of them close.

A gate z in [0, 1] says how much of full attention a KV head has (1: all). It is drawn from the
hard-concrete distribution (Louizos et al., 2018): a stretched sigmoid of noise, cut at 0 and 1, so
that it is exactly 0 or 1 most of the time and yet has a gradient now and then.

    sigma = sigmoid((log u - log(1 - u) + log_alpha) / TAU),  u uniform in (0, 1)
    z = clamp(sigma (RIGHT - LEFT) + LEFT, 0, 1)

The number of closed gates is led by a Lagrangian (PruLong, arXiv 2506.17121, eq. 2): with s the
mean of 1 - z, and t the share of closed gates that is asked for,

    max over lambda1, lambda2, min over log_alpha of  loss + lambda1 (s - t) + lambda2 (s - t)^2

Shapes: B sequences, L layers, K KV heads.
"""

import math

import torch
import torch.nn as nn

TAU, LEFT, RIGHT = 2 / 3, -0.1, 1.1
EPSILON = 1e-8
BOUND = math.log(100)  # of |log_alpha|
OPEN_MEAN, OPEN_STD = 4.5, 0.01  # log_alpha at first: nearly all gates are open
BETAS = (0.9, 0.95)
WARMUP, LAST_LR = 0.1, 0.01  # shares, of the way and of the highest learning rate
RAMP = 0.8  # share of the way on which the sparsity asked for rises
TIES_SEED = 42  # of chance among equal gates


def stretch(sigma: torch.Tensor) -> torch.Tensor:
    return (sigma * (RIGHT - LEFT) + LEFT).clamp(0, 1)


class Gates(nn.Module):
    """Random numbers come from the CPU: a seed means the same on every device."""

    def __init__(self, layers: int, kv_heads: int, seed: int) -> None:
        super().__init__()
        self.rng = torch.Generator().manual_seed(seed)
        noise = torch.randn(layers, kv_heads, generator=self.rng)
        self.log_alpha = nn.Parameter(OPEN_MEAN + OPEN_STD * noise)

    def draw(self, batch: int) -> torch.Tensor:
        """z [B, L, K]: each sequence has a draw of its own, which makes the gradient less noisy."""
        u = torch.rand(batch, *self.log_alpha.shape, generator=self.rng, dtype=torch.float64)
        noise = torch.logit(u, eps=EPSILON).float().to(self.log_alpha.device)
        return stretch(torch.sigmoid((noise + self.log_alpha) / TAU))

    @torch.no_grad()
    def bound(self) -> None:
        """After every step: a gate far beyond the cuts is 1 (or 0) in every draw, has no gradient
        any more, and could never change its mind."""
        self.log_alpha.clamp_(-BOUND, BOUND)

    @torch.no_grad()
    def median(self) -> torch.Tensor:
        """z [L, K] of u = 1/2."""
        return stretch(torch.sigmoid(self.log_alpha / TAU))

    @torch.no_grad()
    def rounded(self, sparsity: float) -> torch.Tensor:
        """[L, K] of 0 and 1: the heads with the largest log_alpha stay open. Chance decides among
        equals: gates at the bound."""
        flat = self.log_alpha.flatten().cpu()
        order = torch.randperm(len(flat), generator=torch.Generator().manual_seed(TIES_SEED))
        best = order[flat[order].argsort(descending=True, stable=True)]
        mask = torch.zeros_like(flat)
        mask[best[: n_open(len(flat), sparsity)]] = 1
        return mask.view(self.log_alpha.shape)


def n_open(heads: int, sparsity: float) -> int:
    return int(heads * (1 - sparsity) + 1e-6)  # 10 x (1 - 0.7) is 3, not 2.9999


class Lagrangian(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lambdas = nn.Parameter(torch.zeros(2))

    def forward(self, z: torch.Tensor, target: float) -> torch.Tensor:
        excess = (1 - z.mean()) - target
        return self.lambdas[0] * excess + self.lambdas[1] * excess**2


def learning_rate(share: float) -> float:
    """Of the highest: up in a line, then down in a line."""
    fall = (share - WARMUP) / (1 - WARMUP)
    return share / WARMUP if share < WARMUP else 1 - (1 - LAST_LR) * fall


def target_sparsity(share: float, sparsity: float) -> float:
    return sparsity * min(1.0, share / RAMP)
