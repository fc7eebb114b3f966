"""Training curves as an SVG of our own: no plotting library is needed to keep them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT, MARGIN = 720, 320, 48
COLOURS = ("#2463a8", "#b3541e", "#2e7d4f", "#7a4fa3")


def curves_svg(
    history: Sequence[Mapping[str, Any]], *, keys: Mapping[str, str], title: str
) -> str:
    """Draw figures between 0 and 1 over the epochs.

    Args:
        history: One entry an epoch.
        keys: The figures to draw, with what each is called.
        title: What stands above.
    """
    last = max(1, len(history))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{MARGIN}" y="20" font-size="14">{escape(title)}</text>',
    ]
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        y = _y(share)
        parts.append(
            f'<line x1="{MARGIN}" y1="{y}" x2="{WIDTH - 16}" y2="{y}" '
            f'stroke="#d8dce2"/><text x="14" y="{y + 4}">{share:.1f}</text>'
        )
    parts += _size_marks(history, last)
    for key, colour in zip(keys, COLOURS, strict=False):
        points = [
            f"{_x(i + 1, last)},{_y(float(entry[key]))}"
            for i, entry in enumerate(history)
            if entry.get(key) is not None
        ]
        parts.append(
            f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" '
            'stroke-width="2"/>'
        )
    for row, ((_, name), colour) in enumerate(zip(keys.items(), COLOURS, strict=False)):
        y = HEIGHT - MARGIN - 12 - 16 * (len(keys) - 1 - row)
        parts.append(
            f'<text x="{WIDTH - 24}" y="{y}" text-anchor="end" fill="{colour}">'
            f"{escape(name)}</text>"
        )
    parts.append(
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">epoch</text>'
        "</svg>\n"
    )
    return "\n".join(parts)


def _size_marks(history: Sequence[Mapping[str, Any]], last: int) -> list[str]:
    """Mark the epochs from which images are larger."""
    marks, before = [], None
    for i, entry in enumerate(history):
        if entry["size"] != before:
            x = _x(i + 1, last)
            marks.append(
                f'<line x1="{x}" y1="{MARGIN - 12}" x2="{x}" y2="{HEIGHT - MARGIN}" '
                'stroke="#9aa3ad" stroke-dasharray="3 3"/>'
                f'<text x="{x + 4}" y="{MARGIN - 2}" fill="#5b6470">'
                f"{entry['size']} px, from epoch {entry['epoch']}</text>"
            )
            before = entry["size"]
    return marks


def _x(epoch: int, last: int) -> float:
    inner = WIDTH - MARGIN - 32
    return round(MARGIN + 8 + inner * (epoch - 1) / max(1, last - 1), 1)


def _y(value: float) -> float:
    return round(HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * value, 1)
