"""The contrastive loss: one definition, one public function. Needs torch alone."""

from hybrid_fast.ops.infonce import info_nce
from hybrid_fast.ops.loss import InfoNCELoss

__all__ = ["InfoNCELoss", "info_nce"]
