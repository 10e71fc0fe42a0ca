"""A language model that answers and scores, in eval mode, with the conversations in the form that it was trained on.

Shapes: B rows, T tokens.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets_builders.messages import Messages
from datasets_builders.model_names import in_a_numbered_run
from datasets_builders.progress import progress
from launch.answers.forms import EncodedRow, Form, Speaking, SwiftForm, TokenizerForm, check_swift
from launch.models.merge_lora import with_adapter
from trl_ext.modpo.model_dir import check_dtype, check_finite, check_finite_weights, resolve_model

if TYPE_CHECKING:
    import torch


def resolve_adapter(path: str) -> str:
    """`path` itself.

    Raises:
        ValueError: there is no `adapter_config.json` in it, or a weight that is not finite.
    """
    if not os.path.isfile(os.path.join(path, "adapter_config.json")):
        raise ValueError(f"{path}: no adapter_config.json, this is not an adapter directory{in_a_numbered_run(path)}")
    check_finite_weights(path)
    return path


def load_tokenizer(model: str, adapter: str | None = None, trust_remote_code: bool = False) -> Any:
    """The tokenizer of the adapter's folder where it holds one, else the model's. No weights are read."""
    from transformers import AutoTokenizer

    directory = resolve_model(model, trust_remote_code)
    own = adapter is not None and Path(resolve_adapter(adapter), "tokenizer_config.json").is_file()
    return AutoTokenizer.from_pretrained(adapter if own else directory, trust_remote_code=trust_remote_code)


class Policy(Speaking):
    """One model with the form of its conversations and any number of named adapters, in eval mode.

    With `model_type` or `template_type` ms-swift loads the model and writes its conversations; otherwise both is done by
    transformers alone, with the tokenizer's own chat template, see `launch.answers.forms`.

    Args:
        path: model directory or hub name.
        adapters: name -> adapter directory, or the directory of a single one; the tokenizer is that of the first one
            where it holds one.
        kind, system, use_chat_template, enable_thinking: see `TokenizerForm`; the last three are `swift rlhf`'s, too.
        torch_dtype: float32, bfloat16 or float16; None takes the model's own.
        max_length: longest row in tokens; None is the model's limit.

    Raises:
        ValueError: a path that is no model or adapter, an adapter that does not fit, an unknown type, a type of ms-swift
            where there is none, code in the model directory, or weights that are not finite.
    """

    def __init__(
        self,
        path: str,
        *,
        adapters: Mapping[str, str] | str | None = None,
        model_type: str | None = None,
        template_type: str | None = None,
        kind: str | None = None,
        system: str | None = None,
        torch_dtype: str | None = None,
        max_length: int | None = None,
        use_chat_template: bool = True,
        enable_thinking: bool | None = None,
        trust_remote_code: bool = False,
    ):
        from trl_ext.shared_prefix.choice import choose

        check_swift({"--model_type": model_type, "--template": template_type})
        directory = resolve_model(path, trust_remote_code)
        named = {"adapter": adapters} if isinstance(adapters, str) else adapters or {}
        adapters = {name: resolve_adapter(place) for name, place in named.items()}
        check_dtype(torch_dtype)
        settings = {
            "system": system,
            "max_length": max_length,
            "use_chat_template": use_chat_template,
            "enable_thinking": enable_thinking,
        }
        self.form: Form
        if model_type is None and template_type is None:
            tokenizer = load_tokenizer(directory, next(iter(adapters.values()), None), trust_remote_code)
            model, self.form = _load(directory, tokenizer, torch_dtype, trust_remote_code, kind, settings)
        else:
            model, self.form = _load_by_swift(directory, model_type, template_type, torch_dtype, settings)
        check_finite(model, path)
        self.adapters = tuple(adapters)
        for name, place in adapters.items():
            model = with_adapter(model, Path(place), name)
        self.model = model.eval()
        self._prefixes = choose("auto", self.model, [], lambda line: None, training=False)

    @property
    def device(self) -> "torch.device":
        """Where the inputs go."""
        return self.model.device

    @property
    def max_length(self) -> int:
        """Longest encoded row, in tokens."""
        return self.form.max_length

    @property
    def stop_ids(self) -> list[int]:
        """Tokens that end an answer."""
        return self.form.stop_ids

    @property
    def pad_id(self) -> int:
        """A token for masked places. Never an end token where there is a choice: a repetition penalty would see it."""
        candidates = [self.tokenizer.pad_token_id, *self.tokenizer.all_special_ids]
        ends = self.stop_ids
        return next((token for token in candidates if token is not None and token not in ends), ends[0])

    def encode_prompt(self, messages: Messages) -> list[int]:
        """See `Form`."""
        return self.form.encode_prompt(messages)

    def encode_pair_row(self, messages: Messages) -> EncodedRow:
        """See `Form`."""
        return self.form.encode_pair_row(messages)

    @contextmanager
    def using(self, adapter: str | None):
        """Within the block the model runs with `adapter`, or as the bare base model when None.

        Raises:
            ValueError: no adapter of that name was loaded.
        """
        if adapter is None:
            with self.model.disable_adapter() if self.adapters else nullcontext():
                yield
            return
        if adapter not in self.adapters:
            raise ValueError(f"no adapter {adapter!r}: loaded are {list(self.adapters)}")
        self.model.set_adapter(adapter)
        yield

    def sequence_logps(
        self, rows: Sequence[EncodedRow], adapter: str | None = None, batch_size: int = 8, what: str = ""
    ) -> "torch.Tensor":
        """Sum of the log-probabilities of each row's scored tokens. Unit: nats.

        Args:
            rows: B rows of `encode_pair_row`.
            adapter: the name of a loaded adapter; None is the base model.
            batch_size: rows a forward pass; rows of one prompt go together, which is then computed once.
            what: names the work in a progress bar; none without.

        Returns:
            (B,) fp32 on the CPU, in the order of `rows`. Logits are cast to fp32 before the softmax.

        Raises:
            ValueError: an unknown adapter or a batch size below one.
        """
        import torch

        from launch.answers.row_logps import batches_by_prompt, sums

        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        result = torch.zeros(len(rows), dtype=torch.float32)
        bar = progress(len(rows), what, "answers", shown=bool(what))
        with torch.no_grad(), self.using(adapter), bar:
            for batch in batches_by_prompt(rows, batch_size):
                result[batch] = sums(self.model, [rows[index] for index in batch], self.pad_id, self._prefixes).cpu()
                bar.update(len(batch))
        return result


def _load(
    directory: str, tokenizer: Any, torch_dtype: str | None, trust_remote_code: bool, kind: str | None, settings: dict
) -> tuple[Any, TokenizerForm]:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch_dtype or "auto", trust_remote_code=trust_remote_code
    )
    form = _tokenizer_form(tokenizer, model.config, model.generation_config, kind, settings)
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), form


def _tokenizer_form(
    tokenizer: Any, config: Any, generation_config: Any, kind: str | None, settings: dict
) -> TokenizerForm:
    ends = generation_config.eos_token_id
    ids = {*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id}
    limit = settings["max_length"] or getattr(
        config.get_text_config(), "max_position_embeddings", tokenizer.model_max_length
    )
    stop_ids = sorted(token for token in ids if token is not None)
    return TokenizerForm(tokenizer, kind, stop_ids=stop_ids, **settings | {"max_length": limit})


def _load_by_swift(
    directory: str,
    model_type: str | None,
    template_type: str | None,
    torch_dtype: str | None,
    settings: dict,
    weights: bool = True,
) -> tuple[Any, SwiftForm]:
    import torch
    from swift.model import MODEL_MAPPING, get_model_processor
    from swift.template import get_template

    if model_type is not None and model_type not in MODEL_MAPPING:
        raise ValueError(f"model_type {model_type!r} is unknown to ms-swift")
    model, processor = get_model_processor(
        directory,
        torch_dtype=getattr(torch, torch_dtype) if torch_dtype else None,
        load_model=weights,
        model_type=model_type,
        task_type="causal_lm",
    )
    # last_round: preference training scores the final answer only, whatever the conversation holds before it.
    template = get_template(
        processor,
        default_system=settings["system"],
        template_type=template_type,
        max_length=settings["max_length"],
        loss_scale="last_round",
        use_chat_template=settings["use_chat_template"],
        enable_thinking=settings["enable_thinking"],
    )
    return model, SwiftForm(template)


def read_form(
    directory: str,
    adapter: str | None = None,
    *,
    model_type: str | None = None,
    template_type: str | None = None,
    kind: str | None = None,
    trust_remote_code: bool = False,
    **settings: Any,
) -> Form:
    """The form of a `Policy` with these arguments; no weights are read. Errors: those of `Policy`.

    Args:
        directory: a resolved model.
        settings: `system`, `max_length`, `use_chat_template` and `enable_thinking`.
    """
    from transformers import AutoConfig, GenerationConfig

    check_swift({"--model_type": model_type, "--template": template_type})
    defaults = {"system": None, "max_length": None, "use_chat_template": True, "enable_thinking": None}
    settings = defaults | settings
    if model_type is not None or template_type is not None:
        return _load_by_swift(directory, model_type, template_type, None, settings, weights=False)[1]
    config = AutoConfig.from_pretrained(directory, trust_remote_code=trust_remote_code)
    # As transformers does when it loads a model.
    if Path(directory, "generation_config.json").is_file():
        generation = GenerationConfig.from_pretrained(directory)
    else:
        generation = GenerationConfig.from_model_config(config)
    return _tokenizer_form(load_tokenizer(directory, adapter, trust_remote_code), config, generation, kind, settings)
