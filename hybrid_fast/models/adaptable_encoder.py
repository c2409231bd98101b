"""What an encoder does with adapters (peft): it is given one, and merges it, or saves it apart."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from hybrid_fast.common.hub import is_hub_name
from hybrid_fast.common.json_files import read_optional
from hybrid_fast.common.paths import expanded
from hybrid_fast.models.adapters.adapters import (
    adapter_of,
    add_adapter,
    beside_adapter,
    merge_adapter,
    transformer_of,
)
from hybrid_fast.models.adapters.options import AdapterOptions, make_config, plain_config
from hybrid_fast.models.adapters.saving import find_base
from hybrid_fast.models.backbones.direction import direction_options, reads_both_ways
from hybrid_fast.models.backbones.transformer import TransformerBackbone
from hybrid_fast.models.sentence_encoder import SentenceEncoder

if TYPE_CHECKING:
    from peft import PeftConfig


logger = logging.getLogger(__name__)


class AdaptableEncoder(SentenceEncoder):
    """A SentenceEncoder whose transformer may have an adapter.

    Attributes:
        name_or_path: where the weights came from.
        revision: of the hub model that was loaded.
    """

    name_or_path: str
    revision: str | None

    @property
    def adapter_config(self) -> dict[str, Any] | None:
        """Kind of the adapter, and options that differ from peft's defaults; None without one.

        Raises:
            ValueError: there are several, or one that is not supported.
        """
        if not isinstance(self.backbone, TransformerBackbone):
            return None
        found = adapter_of(self.backbone.model)
        return None if found is None else plain_config(found[1])

    def add_adapter(self, options: AdapterOptions | PeftConfig, *, seed: int = 0) -> None:
        """Put an adapter (peft) into the transformer, in place, and freeze its other weights.

        The adapter, and modules after pooling, are what is trained then. Embeddings stay the same
        until it is.

        Args:
            options: of peft.LoraConfig, such as {"r": 16, "lora_alpha": 32}; or, with "peft_type",
                of another kind that changes layers; or a configuration of peft. LoRA without
                target_modules changes all linear layers.
            seed: of its first weights; equal seeds give equal adapters.

        Raises:
            ImportError: peft is not installed.
            TypeError: neither options nor a configuration.
            ValueError: the encoder is static or has an adapter already, or an option is unknown,
                out of range, or names a module that is not there.
        """
        backbone = self._adaptable()
        add_adapter(backbone.model, make_config(options), seed)

    def merge_adapter(self) -> None:
        """Merge the adapter into the weights for good; all of them can be trained then.

        Raises:
            ValueError: there is no adapter, or one that cannot be merged.
        """
        backbone = self._adaptable()
        if self.adapter_config is None:
            raise ValueError("the encoder has no adapter to merge")
        transformer = transformer_of(backbone.model)
        merge_adapter(transformer)
        backbone.model = transformer

    def _adaptable(self) -> TransformerBackbone:
        if not isinstance(self.backbone, TransformerBackbone):
            raise ValueError("a static encoder has no layers for an adapter; use a transformer")
        return self.backbone

    def _save_apart(self, folder: Path) -> dict[str, dict[str, object]]:
        """Write the adapter and the tokenizer into an existing folder.

        Returns:
            What the base must be told, see `direction_options`; {} if its own configuration says
            it.
        """
        backbone, name = self._adaptable(), self.name_or_path
        of_hub = "/" in name and is_hub_name(name) and not expanded(name).exists()
        base = find_base(backbone.model, name if of_hub else "", self.revision)
        backbone.save_apart(folder, base)
        trained = (item for item in backbone.model.named_parameters() if item[1].requires_grad)
        beside = beside_adapter(backbone.model, trained)
        if beside:
            logger.warning(
                "%d weights are trained beside the adapter, such as %s, and are not in its folder, "
                "which gives other embeddings without them; name their modules in modules_to_save "
                "of the adapter, or save the model merged.",
                len(beside),
                next(iter(beside)),
            )
        return {} if base.name is None else _turned(transformer_of(backbone.model))


def _turned(transformer: Any) -> dict[str, dict[str, object]]:
    """Return what turns a saved transformer as this one was turned after it was loaded."""
    saved = read_optional(Path(transformer.name_or_path) / "config.json")
    both = reads_both_ways(transformer.config)
    if not saved or reads_both_ways(SimpleNamespace(**saved)) == both:
        return {}
    options = direction_options(transformer.config)
    if "config_kwargs" not in options:
        logger.warning(
            "The attention of the decoder was turned after it was loaded, and sentence-"
            "transformers cannot turn it below an adapter: it will refuse the folder, which "
            "BiEncoder loads. Merge the adapter, or save the turned decoder before it gets one."
        )
    return options
