"""The contrastive loss: one definition, several backends, one public function.

Needs torch alone, and on the CPU NumPy, by which tensors reach the C++ core.
"""

from hybrid_fast.ops.infonce import InfoNCEGradients, info_nce, value_and_grad
from hybrid_fast.ops.loss import InfoNCELoss
from hybrid_fast.ops.negative_mask import MaskingRule
from hybrid_fast.ops.report import cpu_report
from hybrid_fast.ops.tensor_fields import per_pair, per_passage, per_query

__all__ = [
    "InfoNCEGradients",
    "InfoNCELoss",
    "MaskingRule",
    "cpu_report",
    "info_nce",
    "per_pair",
    "per_passage",
    "per_query",
    "value_and_grad",
]
