"""The contrastive loss: one definition, several backends, one public function. Needs only torch."""

from hybrid_fast.ops.infonce import InfoNCEGradients, info_nce, value_and_grad
from hybrid_fast.ops.loss import InfoNCELoss
from hybrid_fast.ops.report import cpu_report

__all__ = ["InfoNCEGradients", "InfoNCELoss", "cpu_report", "info_nce", "value_and_grad"]
