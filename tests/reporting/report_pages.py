"""Contents of results.json files made by hand, and pages of reports read back."""

import csv
import io
import random
import re
from html.parser import HTMLParser
from importlib import resources
from urllib.parse import unquote

import numpy as np

from hybrid_fast.reporting.report import write_report
from hybrid_fast.results import load_runs

LANGUAGES = ("ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh")
HOSTILE = "<script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"
VOID_TAGS = {"meta", "link", "img", "rect", "br"}


def make_run(kind, mono, cross, multi, rank_distance, seed=0, languages=LANGUAGES):
    noise = random.Random(f"{kind} {seed}")

    def near(value):
        return round(min(1.0, value * noise.uniform(0.95, 1.03)), 4)

    def grid(factor):
        return {
            query: {
                **{
                    corpus: near(factor * (mono if query == corpus else cross))
                    for corpus in languages
                },
                "all": near(factor * multi),
            }
            for query in languages
        }

    def metrics(value):
        return {"map": value, "map@20": value, "recall@1": value * 0.9, "recall@10": value * 1.02}

    return {
        "task": "builtin",
        "model": "static, 384 dimensions",
        "kind": kind,
        "seed": seed,
        "versions": {"hybrid_fast": "0.1.0", "torch": "2.13.0"},
        "settings": {"candidate_text": "sentence", "max_length": None, "prompts": {"query": "Q: "}},
        "metrics": {"mono": metrics(mono), "cross": metrics(cross), "multi": metrics(multi)},
        "grid": {"map": grid(1.0), "recall@1": grid(0.9)},
        "language_bias": {
            "rank_distance": rank_distance,
            "rank_distance_median": 0.8 * rank_distance,
            "rank_distance_normalised": rank_distance / 6996,
            "by_language": {each: rank_distance * noise.uniform(0.7, 1.3) for each in languages},
        },
        "counts": {
            "queries": dict.fromkeys(languages, 640),
            "candidates": dict.fromkeys(languages, 636),
            "pool": 636 * len(languages),
            "dropped": {each: dict.fromkeys(languages, 0) for each in languages},
        },
    }


def three_runs(**options):
    return [
        make_run("mono", 0.964, 0.104, 0.231, 2210.4, **options),
        make_run("cross", 0.951, 0.702, 0.672, 181.3, **options),
        make_run("hybrid", 0.966, 0.691, 0.668, 192.8, **options),
    ]


def small_run(kind="mono", **options):
    return make_run(kind, 0.9, 0.1, 0.2, 50.0, languages=("de", "th"), **options)


def report_of(contents, folder, **options):
    """Write the report of contents of results.json files."""
    return write_report(load_runs(contents), folder, **options)


SORT_SCRIPT = (
    resources.files("hybrid_fast.reporting").joinpath("templates/sort.js").read_text("utf-8")
).rstrip("\n")


class Page(HTMLParser):
    """Elements and texts of a page; fails on a tag that is closed out of turn."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.open, self.cells, self.text = [], [], [], ""
        self.style, self.script = "", ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag in ("td", "th"):
            self.cells.append({"tag": tag, "text": "", **dict(attributes)})
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            self.style += data
            return
        if "script" in self.open:
            self.script += data
            return
        self.text += data
        if self.open and {"td", "th"} & set(self.open):
            self.cells[-1]["text"] += data

    def downloads(self):
        """Return the address of each file by its name."""
        return {a["download"]: a["href"] for tag, a in self.elements if tag == "a"}

    def rows(self, name):
        """Return the rows of a CSV file."""
        kind, content = self.downloads()[name].split(",", 1)
        assert kind == "data:text/csv;charset=utf-8"
        return list(csv.reader(io.StringIO(unquote(content))))

    def heat_cells(self):
        return [cell for cell in self.cells if re.match(r"h\d+|none", cell.get("class") or "")]


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def assert_loads_nothing(page):
    tags = [tag for tag, _ in page.elements]
    assert not {"iframe", "object", "form"} & set(tags)
    assert tags.count("script") == 1
    assert page.script == SORT_SCRIPT
    for _tag, attributes in page.elements:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith("data:")
    assert "url(" not in page.style
    assert "@import" not in page.style
