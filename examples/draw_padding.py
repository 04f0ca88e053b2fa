"""Draw padding beside packing, from plans of the same sequences.

    python examples/draw_padding.py docs/padding.svg

Each line is a row of a batch, and each block a sequence. Under padding, a row holds one sequence.
"""

import sys
from pathlib import Path

import packsort

TOKENS = [775, 752, 545, 420, 341, 306, 272, 257, 238, 206, 177, 166, 139, 131, 122, 115]
LENGTH, SCALE, LINE, TOP, LEFT, GAP = 1024, 0.34, 12, 50, 16, 40
STYLE = """
  .card { fill: #ffffff; stroke: #d0d7de }
  text { fill: #1f2328; font: 21px system-ui, -apple-system, "Segoe UI", sans-serif }
  .head { font-weight: 600 }
  .waste { fill: #d8dee4 }
  .a { fill: #0a62c4 } .b { fill: #1a7f5a } .c { fill: #b3541e }
  @media (prefers-color-scheme: dark) {
    .card { fill: #151b23; stroke: #3d444d }
    text { fill: #f0f6fc }
    .waste { fill: #343b44 }
    .a { fill: #58a6ff } .b { fill: #4ac28e } .c { fill: #f0954a }
  }
"""


def rows(plan: packsort.Plan, left: float) -> list[str]:
    """Return the blocks of a plan, one row for each pack."""
    drawn = []
    for row, ids in enumerate(plan):
        y, x = TOP + row * (LINE + 3), left
        drawn.append(f'<rect class="waste" x="{left:.1f}" y="{y}" width="{LENGTH * SCALE:.1f}" height="{LINE}"/>')
        for place, sequence in enumerate(ids):
            width = TOKENS[sequence] * SCALE
            name = "abc"[place % 3]
            drawn.append(f'<rect class="{name}" x="{x:.1f}" y="{y}" width="{width - 1:.1f}" height="{LINE}"/>')
            x += width
    return drawn


def draw() -> str:
    """Return the picture as SVG."""
    padded = packsort.plan(TOKENS, LENGTH, strategy="padding")
    packed = packsort.plan(TOKENS, LENGTH)
    right = LEFT + LENGTH * SCALE + GAP
    width, height = right + LENGTH * SCALE + LEFT, TOP + padded.num_packs * (LINE + 3) + 8
    heads = [
        f'<text class="head" x="{x:.1f}" y="32">'
        f"{name}: {plan.num_packs} rows, {100 * plan.efficiency:.0f} % full</text>"
        for x, name, plan in ((LEFT, "Padding", padded), (right, "packsort", packed))
    ]
    said = (
        f"{len(TOKENS)} sequences take {padded.num_packs} rows of {LENGTH} tokens with padding, "
        f"and {packed.num_packs} packs with packsort."
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img"',
            f'aria-label="{said}">',
            f"<style>{STYLE}</style>",
            f'<rect class="card" x="0.5" y="0.5" width="{width - 1:.0f}" height="{height - 1}" rx="8"/>',
            *heads,
            *rows(padded, LEFT),
            *rows(packed, right),
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else "docs/padding.svg").write_text(draw(), "utf-8")
