"""Training: arguments, batches by step, and HybridTrainer."""

from hybrid_fast.training.arguments import HybridTrainingArguments
from hybrid_fast.training.trainer import HybridTrainer

__all__ = ["HybridTrainer", "HybridTrainingArguments"]
