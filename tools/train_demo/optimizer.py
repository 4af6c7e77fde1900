"""How weights are changed: Muon for the layers' matrices, AdamW for the embedding and all vectors.

AdamW scales each number of a gradient by itself. Muon (Keller Jordan, 2024) sees that a matrix is a
map: from the momentum M = U S V^T of its gradients it takes U V^T, a step of the same length in
every direction, so that rare directions are learnt as fast as common ones. U V^T comes without a
decomposition: the odd polynomial

    X <- a X + (b A + c A^2) X,  A = X X^T

pushes all singular values of X = M / |M| towards 1 (a Newton-Schulz iteration with coefficients that
are steep at 0). Steps are made as long as AdamW's are, 0.2 for each number on average, so that both
can share one schedule (arXiv 2502.16982).
"""

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
MOMENTUM = 0.95
STEP_RMS = 0.2
BETAS = (0.9, 0.95)


def orthogonal(m: torch.Tensor) -> torch.Tensor:
    """[n, rows, columns] -> U V^T of each matrix, nearly; rows <= columns."""
    a, b, c = COEFFICIENTS
    x = m.bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


class Muon(torch.optim.Optimizer):
    """Matrices of one shape are stacked and go through the iteration together."""

    def __init__(self, matrices: list[torch.nn.Parameter], weight_decay: float) -> None:
        by_shape: dict[tuple[int, int], list[torch.nn.Parameter]] = {}
        for p in matrices:
            by_shape.setdefault((min(p.shape), max(p.shape)), []).append(p)
        groups = [{"params": alike} for alike in by_shape.values()]
        super().__init__(groups, {"lr": 0.0, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            directions = []
            for p in group["params"]:
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].lerp_(p.grad, 1 - MOMENTUM)
                ahead = p.grad.lerp(state["momentum"], MOMENTUM)  # Nesterov's
                directions.append(ahead if p.shape[0] <= p.shape[1] else ahead.mT)
            lr, longest = group["lr"], max(group["params"][0].shape)
            updates = orthogonal(torch.stack(directions)).float()
            for p, update in zip(group["params"], updates):
                p.mul_(1 - lr * group["weight_decay"])
                update = update if p.shape[0] <= p.shape[1] else update.mT
                p.add_(update, alpha=-lr * STEP_RMS * longest**0.5)


def make_optimizers(
    net: torch.nn.Module, weight_decay: float, device: str
) -> list[torch.optim.Optimizer]:
    """One for the layers' matrices, one for all else; learning rates are set at every step."""
    matrices, embeddings, vectors = [], [], []
    for name, p in net.named_parameters():
        (vectors if p.dim() == 1 else embeddings if "embed" in name else matrices).append(p)
    groups = [
        {"params": embeddings, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=0.0, betas=BETAS, fused=device == "cuda")
    return [Muon(matrices, weight_decay), adam]
