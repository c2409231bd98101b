"""What the loss, and encoders, compute by on this processor: a text for logs and bug reports."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from hybrid_fast.cpu import Choice, choices, emulates, processor, products, slowdown
from hybrid_fast.cpu.ways import cache_file
from hybrid_fast.ops.backends.cpu import CHUNK_BYTES, MOST_ROWS, rows_of_chunk

_TYPICAL = ((1024, 384), (4096, 384), (8192, 384), (8192, 768))  # passages, their dimension


def cpu_report() -> str:
    """Return how this processor computes: what it is, libraries, and each way that was chosen.

    `print(cpu_report())` shows the processor, its instructions, threads, versions of libraries,
    how bfloat16 is multiplied, where measurements are kept, and a line for each choice so far:
    its kind and class, the way, where that came from, and the milliseconds of every way. Before any
    product was computed those of typical losses are measured first, which takes a second.

    Raises:
        ValueError: HYBRID_FAST_WAYS or HYBRID_FAST_CPU makes no sense.
        NotADirectoryError: HYBRID_FAST_CACHE names a file.
    """
    if not any(question.partition(" ")[0] in products.PRODUCTS for question in choices()):
        _compute_typical_products()
    facts = _facts()
    width = max(map(len, facts))
    lines = [f"{name:<{width}}  {fact}" for name, fact in facts.items()]
    return "\n".join([*lines, "", *_table()])


def _facts() -> dict[str, str]:
    from hybrid_fast import _core  # loaded by those who need it

    here = processor()
    model = f"{here['vendor']}, family {here['family']}, model {here['model']}"
    bfloat16 = "multiplied by this processor"
    if emulates(torch.bfloat16):
        factor = slowdown(torch.bfloat16)
        bfloat16 = f"emulated: a layer takes {factor:.1f} times as long as in float32"
    return {
        "processor": f"{here['name']} ({model}), {here['cores']} cores",
        "instructions": ", ".join(here["instruction_sets"]) or "none that matter",
        "kernels": _core.contrast_instructions(),
        "threads": str(torch.get_num_threads()),
        "libraries": products.libraries(),
        "bfloat16": bfloat16,
        "kept in": str(cache_file()),
    }


def _table() -> Iterator[str]:
    """Yield a line for each choice, in columns."""
    head = ("what", "class", "way", "from", "milliseconds")
    rows = [head, *(_row(question, choice) for question, choice in choices().items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _row(question: str, choice: Choice) -> tuple[str, ...]:
    kind, _, case = question.partition(" ")
    times = [f"{way} {1000 * seconds:.3f}" for way, seconds in choice.seconds.items()]
    described = products.described(case) if kind in products.PRODUCTS else case
    return kind, described, choice.way, choice.source, ", ".join(times) or "not measured"


def _compute_typical_products() -> None:
    for size, dim in _TYPICAL:
        passages = torch.ones(size, dim, dtype=torch.float32, device="cpu")
        rows = rows_of_chunk(size, passages.element_size(), MOST_ROWS, CHUNK_BYTES)
        scores = products.nt(passages[:rows], passages)
        products.nn(scores, passages)
        total = products.tn(scores, passages[:rows])
        products.add_tn(scores, passages[:rows], total)
