"""Train and evaluate multilingual dense retrievers with hybrid batches (arXiv 2408.10536).

Attributes load on first use, so that `import hybrid_fast` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hybrid_fast.data import AlignedTable as AlignedTable
    from hybrid_fast.data import HybridBatchSampler as HybridBatchSampler
    from hybrid_fast.data import PlanIndex as PlanIndex
    from hybrid_fast.data import load_builtin as load_builtin
    from hybrid_fast.data import load_table as load_table
    from hybrid_fast.data import open_corpus as open_corpus
    from hybrid_fast.evaluation import load_task as load_task
    from hybrid_fast.models import BiEncoder as BiEncoder
    from hybrid_fast.ops import InfoNCELoss as InfoNCELoss
    from hybrid_fast.ops import info_nce as info_nce
    from hybrid_fast.retrieval import Retriever as Retriever
    from hybrid_fast.retrieval import encode_corpus as encode_corpus
    from hybrid_fast.retrieval import index_corpus as index_corpus
    from hybrid_fast.retrieval import mine_hard_negatives as mine_hard_negatives
    from hybrid_fast.training import HybridTrainer as HybridTrainer
    from hybrid_fast.training import HybridTrainingArguments as HybridTrainingArguments

__version__ = version("hybrid_fast")

_HOMES = {
    "AlignedTable": "data",
    "HybridBatchSampler": "data",
    "PlanIndex": "data",
    "load_builtin": "data",
    "load_table": "data",
    "open_corpus": "data",
    "load_task": "evaluation",
    "BiEncoder": "models",
    "InfoNCELoss": "ops",
    "info_nce": "ops",
    "index_corpus": "retrieval",
    "encode_corpus": "retrieval",
    "mine_hard_negatives": "retrieval",
    "Retriever": "retrieval",
    "HybridTrainer": "training",
    "HybridTrainingArguments": "training",
}
__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"hybrid_fast.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'hybrid_fast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
