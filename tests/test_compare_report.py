"""The report of a comparison and what a notebook shows of it: alone, and in Chromium at several widths."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import packsort
from packsort.comparison.compare import Comparison

COSTS = packsort.CostModel(linear=3.0, quadratic=0.0001)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Pages that a notebook may stand on: white, JupyterLab's and VS Code's dark, and Colab's dark.
NOTEBOOKS = ("#ffffff", "#111111", "#1e1e1e", "#383838")


@pytest.fixture(scope="module")
def found() -> Comparison:
    lengths = np.clip(np.random.default_rng(7).lognormal(5.5, 0.9, 3_000), 1, 4096).astype(np.int32)
    return packsort.compare(lengths, [1024, 2048, 4096], model=COSTS, turns=np.arange(3_000) % 3)


@pytest.fixture(scope="module")
def page(found: Comparison) -> str:
    return found.to_html()


@pytest.fixture(scope="module")
def padded() -> str:
    """A report that recommends padding, softly."""
    soft = packsort.compare(np.arange(1, 2_000), 4096, model="1B")
    text = soft.to_html()
    assert text == soft.to_html(), "the same comparison gives the same page"
    return text


def test_the_report_refers_to_nothing_outside_itself(page: str) -> None:
    for reference in ("http", "//", "src=", "@import", "<script", "<link"):
        assert reference not in page
    assert set(re.findall(r"url\((.)", page)) | set(re.findall(r'href="(.)', page)) <= {"#"}
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', page)) <= set(ids)
    assert page.count("<svg") == 2 + 3 * (3 + 2 + 4)
    assert not re.search(r"#0[1-7]0[1-7]0[1-7]", page), "colours are the page's"


def test_the_answer_comes_first_and_the_rest_is_folded(page: str, padded: str) -> None:
    answer = re.compile(
        r"<h1>At max_length [\d,]+, pack, greedily: [\d.]+ times fewer rows, about [\d.]+ times less time"
    )
    assert answer.search(page)
    assert "<h1>Padding may be the better choice; packing, greedily, would mean" in padded
    assert not re.search("choose|keep padding", padded, re.IGNORECASE), "a guess is no order"
    unfolded = re.sub("<details>.*?</details>", "", padded, flags=re.DOTALL)
    table = unfolded.partition('<table class="figures">')[2].partition("</table>")[0]
    assert re.findall(r'<th scope="row"[^>]*>([^<]+)', table) == [
        *("packs", "steps", "efficiency", "sequences cut", "multi-turn broken", "time")
    ]
    heads = re.findall(r'<th scope="col"( class="chosen")?>([^<]+)<small>([^<]+)', table)
    assert heads[:2] == [("", "greedy", "ffd"), (' class="chosen"', "padding", "to longest")]


def test_a_notebook_shows_the_answer_in_its_own_colours(found: Comparison) -> None:
    fragment = found._repr_html_()
    assert fragment.startswith('<div class="packsort-compare">')
    assert "times fewer rows" in fragment
    assert fragment.count('<table class="figures">') == 6
    style = fragment.partition("<style>")[2].partition("</style>")[0]
    for rule in re.findall(r"([^{}]+)\{", re.sub(r"@container [^{]*\{", "", style)):
        for selector in rule.split(","):
            assert selector.strip().startswith(".packsort-compare"), "a rule for other parts of the page"
    colours = re.findall(r"--packsort-(?:greedy|random|padding): (#\w{6})", style)
    assert len(colours) == 3
    for colour in colours:
        assert min(contrast(colour, background) for background in NOTEBOOKS) >= 3
    assert not re.findall(r"[^-]color: (?!inherit)", style), "text has the colour of the notebook"
    for reference in ("http", "src=", "<script", "<link", " id="):
        assert reference not in fragment


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours by its definition (WCAG 2.2)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    less, more = sorted((luminance(one), luminance(other)))
    return (more + 0.05) / (less + 0.05)


# Measures a report in frames of a width and a colour scheme, and leaves JSON in the title of the page.
MEASURE = """
<script>
function hex(colour) {
  return '#' + colour.match(/\\d+/g).slice(0, 3).map(one => (+one).toString(16).padStart(2, '0')).join('');
}
function measure(frame) {
  const page = frame.contentDocument, view = frame.contentWindow;
  const found = {width: view.innerWidth, overflow: page.documentElement.scrollWidth - view.innerWidth, tables: []};
  const inside = box => box.left >= -0.5 && box.right <= view.innerWidth + 0.5;
  page.querySelectorAll('details').forEach(one => one.open = true);
  page.querySelectorAll('.figures').forEach(table => {
    const scroll = table.parentElement, heads = [...table.querySelectorAll('thead th')];
    const chosen = table.querySelector('thead .chosen'), seen = [];
    scroll.scrollLeft = 0;
    const first = inside(heads[0].getBoundingClientRect());
    for (const left of [0, scroll.scrollWidth / 3, scroll.scrollWidth]) {
      scroll.scrollLeft = left;
      seen.push(inside(chosen.getBoundingClientRect()));
    }
    found.tables.push({first: first && heads[0].innerText.startsWith('greedy'), chosen: seen.every(Boolean)});
  });
  found.page = hex(view.getComputedStyle(page.body).backgroundColor);
  const bars = [...page.querySelectorAll('.bars i')];
  found.bars = [...new Set(bars.map(bar => hex(view.getComputedStyle(bar).backgroundColor)))];
  const root = view.getComputedStyle(page.documentElement);
  found.plots = ['--bars', '--padding', '--random', '--greedy'].map(one => root.getPropertyValue(one));
  return found;
}
addEventListener('load', () => {
  document.title = JSON.stringify([...document.querySelectorAll('iframe')].map(measure));
});
</script>
"""


def frames(report: str, sizes: list[tuple[int, str]]) -> str:
    """Return a page that holds a report in frames; a frame is to it what a screen of that width is."""
    inner = html.escape(report)
    framed = (
        f'<iframe width="{width}" height="900" style="border:0;color-scheme:{scheme}" srcdoc="{inner}"></iframe>'
        for width, scheme in sizes
    )
    return f"<!doctype html><meta charset=utf-8><title></title>{MEASURE}{''.join(framed)}"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory):
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed; .ci/run installs it")
    user = tmp_path_factory.mktemp("chromium")

    def call(page: Path, *options: str) -> subprocess.CompletedProcess[str]:
        always = ["--headless", "--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={user}"]
        done = subprocess.run(
            [CHROMIUM, *always, "--enable-logging=stderr", *options, page.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert "CONSOLE" not in done.stderr, "the page's own errors and refused references go there"
        return done

    return call


def test_the_report_fits_phones_and_screens_light_and_dark(chromium, page: str, padded: str, tmp_path: Path) -> None:
    sizes = [(390, "light"), (390, "dark"), (820, "light"), (1280, "dark")]
    path = tmp_path / "frames.html"
    path.write_text(frames(page, sizes) + frames(padded, sizes[:1]), encoding="utf-8")
    title = re.search("<title>(.*?)</title>", chromium(path, "--dump-dom").stdout)
    assert title is not None
    measured = json.loads(html.unescape(title[1]))
    assert [frame["width"] for frame in measured] == [390, 390, 820, 1280, 390]
    assert [frame["page"] for frame in measured] == ["#fcfcfb", "#171716", "#fcfcfb", "#171716", "#fcfcfb"]
    for frame in measured:
        assert frame["overflow"] <= 0, "the page itself does not scroll sideways"
        assert len(frame["tables"]) == (2 if frame is measured[-1] else 6)
        assert all(table["first"] and table["chosen"] for table in frame["tables"])
        assert len(frame["bars"]) == 3
        for colour in frame["bars"] + frame["plots"]:
            assert contrast(colour, frame["page"]) >= 3


def test_three_limits_print_on_six_pages(chromium, page: str, tmp_path: Path) -> None:
    path, out = tmp_path / "report.html", tmp_path / "report.pdf"
    path.write_text(page, encoding="utf-8")
    chromium(path, "--no-pdf-header-footer", f"--print-to-pdf={out}")
    pages = re.findall(rb"/Type\s*/Page\b", out.read_bytes())
    assert 2 <= len(pages) <= 6
