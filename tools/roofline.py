"""The roofline of a GPU as a picture: what its steps reach, under what they could reach.

A step that does I operations for each byte that it moves can do no more than I * bandwidth
operations a second, nor more than the machine multiplies: the lower of the two is its roof.
"""

import math
from dataclasses import dataclass


@dataclass
class Point:
    name: str
    token: bool  # a step of one token; else of a prompt's 8K rows
    intensity: float  # FLOP/byte
    tflops: float  # reached
    ceiling: dict[str, float]  # what the run that timed it found: read_GBps, gemm_TFLOPs

    def roof(self) -> float:
        """TFLOP/s, of the step's own run."""
        return min(self.ceiling["gemm_TFLOPs"], self.ceiling["read_GBps"] / 1e3 * self.intensity)


WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 60
X_DECADES = (-1, 4)  # FLOP/byte
Y_DECADES = (-1, 3)  # TFLOP/s


def x_of(intensity: float) -> float:
    first, last = X_DECADES
    return LEFT + (math.log10(intensity) - first) / (last - first) * (WIDTH - LEFT - RIGHT)


def y_of(tflops: float) -> float:
    first, last = Y_DECADES
    return HEIGHT - BOTTOM - (math.log10(tflops) - first) / (last - first) * (HEIGHT - TOP - BOTTOM)


def text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def line(x1: float, y1: float, x2: float, y2: float, look: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {look}/>'


def axes() -> list[str]:
    parts = []
    for decade in range(X_DECADES[0], X_DECADES[1] + 1):
        x = x_of(10.0**decade)
        parts.append(line(x, TOP, x, HEIGHT - BOTTOM, 'stroke="#ddd"'))
        parts.append(text(x, HEIGHT - BOTTOM + 18, f"{10.0**decade:g}", "middle"))
    for decade in range(Y_DECADES[0], Y_DECADES[1] + 1):
        y = y_of(10.0**decade)
        parts.append(line(LEFT, y, WIDTH - RIGHT, y, 'stroke="#ddd"'))
        parts.append(text(LEFT - 8, y + 4, f"{10.0**decade:g}", "end"))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, "FLOP/byte", "middle"))
    parts.append(text(LEFT, TOP - 12, "TFLOP/s"))
    return parts


def dots(points: list[Point], color: str, labels_x: float, labels_y: float) -> list[str]:
    """The points, and their names one below the other on the side that is free of them.

    The names stand in the order in which their points are seen from there, the highest first, so
    that no line crosses another.
    """
    places = [(x_of(p.intensity), y_of(p.tflops), p.name) for p in points]
    places.sort(key=lambda place: (place[1] - labels_y) / abs(place[0] - labels_x))
    left = all(labels_x < x for x, _, _ in places)
    parts = []
    for i, (x, y, name) in enumerate(places):
        label_y = labels_y + 14 * i
        line_x = labels_x + (4 if left else -4)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"/>')
        parts.append(line(x, y, line_x, label_y - 4, f'stroke="{color}" stroke-width="0.5"'))
        parts.append(text(labels_x, label_y, name, "end" if left else "start"))
    return parts


def picture(points: list[Point], memory: float, compute: float, gpu: str) -> str:
    """memory: TB/s that are read; compute: TFLOP/s of a matrix product."""
    ridge = compute / memory
    low = 10.0 ** X_DECADES[0]
    roof = 'stroke="#333" stroke-width="2"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *axes(),
        line(x_of(low), y_of(low * memory), x_of(ridge), y_of(compute), roof),
        line(x_of(ridge), y_of(compute), WIDTH - RIGHT, y_of(compute), roof),
        text(WIDTH - RIGHT, y_of(compute) - 8, f"{compute:.0f} TFLOP/s", "end"),
        text(x_of(14), y_of(14 * memory) - 14, f"{memory:.2f} TB/s", "end"),
        *dots([p for p in points if p.token], "#c2410c", x_of(9), y_of(6)),
        *dots([p for p in points if not p.token], "#1d4ed8", x_of(450), y_of(270)),
        text(WIDTH - RIGHT, HEIGHT - BOTTOM - 26, "a token", "end").replace(
            "<text", '<text fill="#c2410c"'
        ),
        text(WIDTH - RIGHT, HEIGHT - BOTTOM - 10, f"8K rows of a prompt; {gpu}", "end").replace(
            "<text", '<text fill="#1d4ed8"'
        ),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"
