"""What the network learns by: the next token, and two terms beside it.

    look-ahead    The hidden state before an answer foretells its next tokens too, through heads that
                  are dropped after training. They make the last token of a question attend to the
                  whole answer, not to its first word alone: what eviction goes by.
    repetition    Plain text must not go in circles (unlikelihood, arXiv 1908.04319).

Shapes: B sequences of T tokens, N = B T rows, D hidden, V vocabulary. All terms work on a number of
rows that does not depend on the context's length.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

from model import Decoder, Shape, initialise
from tasks import ANSWER, TEXT

Z_LOSS = 1e-4

LOOK_AHEAD = 5  # tokens after the next one that a hidden state must foretell: +2 ... +6
LOOK_AHEAD_WEIGHT = 0.15  # of each
LOOK_AHEAD_ROWS = 4096  # of a step, those before answers

REPEAT_WEIGHT = 0.5
REPEAT_SHARE = 4  # one token in so many: those at the start of each sequence
REPEAT_WINDOW = 128  # tokens back that are looked at


class Trainee(nn.Module):
    """The decoder as `model`, and what only training needs."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.model = Decoder(shape)
        heads = (nn.Linear(shape.hidden, shape.hidden, bias=False) for _ in range(LOOK_AHEAD))
        self.look_ahead = nn.ModuleList(heads)
        self.look_ahead_norm = nn.RMSNorm(shape.hidden, shape.eps)
        self.parts = {"next": self.next_token, "ahead": self.answers_ahead, "repeat": unlikelihood}
        initialise(self, shape.layers)

    def compile(self) -> None:
        """Part by part. Layers share their code."""
        for layer in self.model.layers:
            layer.before = torch.compile(layer.before, dynamic=False)
            layer.after = torch.compile(layer.after, dynamic=False)
        for name, part in self.parts.items():
            self.parts[name] = torch.compile(part, dynamic=False)

    def losses(self, hidden, inputs, targets, weights):
        """hidden [N, D]; inputs, targets and weights [B, T]. The loss, and means of the cross
        entropy over plain text and over answers."""
        embedding = self.model.embed_tokens.weight
        loss, text, answers = self.parts["next"](
            hidden, embedding, targets.flatten(), weights.flatten()
        )
        rows, further, further_weights = before_answers(targets, weights)
        loss = loss + self.parts["ahead"](hidden[rows], embedding, further, further_weights)
        rows, followers, wrong = repeats(inputs, targets, weights)
        loss = loss + REPEAT_WEIGHT * self.parts["repeat"](
            hidden[rows], embedding, followers, wrong
        )
        return loss, text.detach(), answers.detach()

    @staticmethod
    def next_token(hidden, embedding, targets, weights):
        """Of all rows: hidden [N, D], targets and weights [N]. Another term keeps the logits'
        normaliser near 1."""
        nll, normaliser = cross_entropy(hidden, embedding, targets)
        loss = mean(nll + Z_LOSS * normaliser**2, weights)
        is_text, is_answer = (weights == TEXT).float(), (weights == ANSWER).float()
        return loss, mean(nll, is_text), mean(nll, is_answer)

    def answers_ahead(self, hidden, embedding, targets, weights):
        """hidden [M, D]; targets and weights [M, LOOK_AHEAD]."""
        loss = 0.0
        for i, head in enumerate(self.look_ahead):
            state = self.look_ahead_norm(head(hidden))
            nll = cross_entropy(state, embedding, targets[:, i])[0]
            loss = loss + LOOK_AHEAD_WEIGHT * mean(nll, weights[:, i])
        return loss


def mean(x, weights):
    return (x * weights).sum() / weights.sum().clamp(min=1e-6)


def cross_entropy(hidden, embedding, targets):
    """Of each row, and the logarithm of its normaliser."""
    logits = F.linear(hidden, embedding).float()
    normaliser = logits.logsumexp(-1)
    return normaliser - logits.gather(-1, targets[:, None])[:, 0], normaliser


def before_answers(targets, weights):
    """LOOK_AHEAD_ROWS of the rows after whose next token more of an answer comes, with the tokens
    that come there and 1 for those that belong to it: [M], [M, LOOK_AHEAD] twice. Where there are
    fewer such rows, others stand in for them with weights of 0."""
    width = targets.shape[1]
    is_answer = F.pad((weights == ANSWER).float(), (0, LOOK_AHEAD))
    ahead = is_answer.unfold(1, LOOK_AHEAD, 1)[:, 1 : width + 1]  # [B, T, LOOK_AHEAD]
    tokens = F.pad(targets, (0, LOOK_AHEAD)).unfold(1, LOOK_AHEAD, 1)[:, 1 : width + 1]
    count = min(LOOK_AHEAD_ROWS, targets.numel())
    rows = ahead.amax(-1).flatten().topk(count).indices
    return rows, tokens.flatten(0, 1)[rows], ahead.flatten(0, 1)[rows]


def repeats(inputs, targets, weights):
    """Of the first tokens of each sequence: their rows [M]; the tokens [M, window] that stand after
    each place of the last REPEAT_WINDOW tokens; and whether the two tokens before that place are the
    two at hand, but the token is not the one that comes. Only of plain text, because answers must
    repeat."""
    batch, width = inputs.shape
    n = width // REPEAT_SHARE
    rows = torch.arange(batch * width, device=inputs.device).view(batch, width)[:, :n]
    inputs, targets, weights = inputs[:, :n], targets[:, :n], weights[:, :n]
    pairs = F.pad(inputs[:, 1:] * (1 << 20) + inputs[:, :-1], (REPEAT_WINDOW + 1, 0), value=-1)
    followers = F.pad(inputs, (REPEAT_WINDOW - 1, 0)).unfold(1, REPEAT_WINDOW, 1)
    same = pairs[:, :-1].unfold(1, REPEAT_WINDOW, 1) == pairs[:, REPEAT_WINDOW:, None]
    wrong = same & (followers != targets[..., None]) & (weights == TEXT)[..., None]
    return rows.flatten(), followers.flatten(0, 1).contiguous(), wrong.flatten(0, 1)


def unlikelihood(hidden, embedding, followers, wrong):
    """The mean over rows of the sum of -log(1 - p) of wrong followers.  hidden [M, D]"""
    log_p = F.linear(hidden, embedding).float().log_softmax(-1)
    p = log_p.gather(-1, followers).exp().clamp(max=0.999)
    return -(torch.log1p(-p) * wrong).sum() / len(hidden)
