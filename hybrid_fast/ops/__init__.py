"""The contrastive loss: one definition, one public function. Needs torch alone."""

from .infonce import info_nce
from .loss import InfoNCELoss

__all__ = ["InfoNCELoss", "info_nce"]
