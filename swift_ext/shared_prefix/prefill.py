"""ms-swift's generation by transformers with a prompt prefilled once for its answers."""

from typing import Any

import torch
from swift.infer_engine import TransformersEngine
from swift.utils import get_logger
from transformers.integrations import is_deepspeed_zero3_enabled

from trl_ext.sharding import is_sharded
from trl_ext.shared_prefix.prefill import prefilled

logger = get_logger()


class TrainingEngine(TransformersEngine):
    """The change to [`swift.infer_engine.TransformersEngine`]: no `torch.inference_mode` around a model that FSDP2 has sharded.

    FSDP2 gathers weights into buffers that it writes again in training, which is forbidden to tensors of that mode.
    """

    def _infer_full(self, inputs, **kwargs):
        if not is_sharded(self.model):
            return super()._infer_full(inputs, **kwargs)
        with torch.inference_mode(False), torch.no_grad():
            copies = {name: one.clone() if isinstance(one, torch.Tensor) else one for name, one in inputs.items()}
            return super()._infer_full(copies, **kwargs)


class SharedPrefillEngine(TrainingEngine):
    """The change to [`TrainingEngine`]: rows with the same prompt begin with copies of one cache.

    The tokens drawn are the parent's for the same seed.
    """

    def _infer_full(self, inputs, *, generation_config, adapter_request, **kwargs):
        reason = self._why_plain(inputs, generation_config, adapter_request)
        if reason:
            logger.info_once(f"shared prefixes: each answer's prompt is prefilled for itself because {reason}")
        else:
            model = self.template.get_base_model(self.model)  # the module that `generate` calls
            inputs = {**inputs, **prefilled(model, inputs["input_ids"], inputs["attention_mask"])}
        return super()._infer_full(
            inputs, generation_config=generation_config, adapter_request=adapter_request, **kwargs
        )

    def _why_plain(self, inputs: dict[str, Any], generation_config: Any, adapter_request: Any) -> str | None:
        """In words that follow "because"; None where a cache can be handed to `generate`."""
        if other := sorted(inputs.keys() - {"input_ids", "attention_mask", "labels"}):
            return f"the batch has {', '.join(other)}"
        if adapter_request is not None:
            return "an adapter is asked for by name"
        if (generation_config.num_beams or 1) > 1 or (generation_config.num_return_sequences or 1) > 1:
            return "generate repeats rows itself"
        if generation_config.cache_implementation is not None:
            return f"the model asks for a cache of kind {generation_config.cache_implementation}"
        if generation_config.use_cache is False:
            return "use_cache is false"
        if is_deepspeed_zero3_enabled():
            return "ZeRO-3 has the weights in pieces"
        if is_sharded(self.model):
            return "FSDP has the weights in pieces"
        return None
