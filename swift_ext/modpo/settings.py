"""Settings of MODPO in ms-swift: `MODPO_*` in the environment, the `ENV:` map of a run file or `--model_kwargs`."""

from typing import Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from swift_ext.shared_prefix.settings import SharedPrefix, refuse_flags
from trl_ext.modpo.margins import Margin, MarginSpec, resolve_margins, short_form
from trl_ext.modpo.start import refuse_start


class MODPOSettings(BaseSettings):
    """| variable | meaning |
    |---|---|
    | `MODPO_W` | weight w_k of the preference in the data, above 0; 1 without margins is DPO |
    | `MODPO_MARGIN_ADAPTER` | short form for one margin: folder of a DPO-trained LoRA adapter |
    | `MODPO_MARGIN_FUNCTION` | short form for one margin: a function of the response |
    | `MODPO_MARGIN_CLASSIFIER` | short form for one margin: a sequence-classification reward model |
    | `MODPO_MARGIN_ROLE` | `reward` (default) or `cost` |
    | `MODPO_MARGIN_WEIGHT` | default: 1 - w |
    | `MODPO_MARGIN_BETA` | multiplies the margin; default: the run's beta for an adapter, 1 otherwise |
    | `MODPO_MARGINS` | several margins: a JSON list of the same fields |
    | `MODPO_NORMALIZED_WEIGHTS` | `true`: w and the margin weights must sum to 1 |
    | `MODPO_STORE` | folder written by `python -m launch precompute-margins` |
    | `MODPO_START` | `reference` (default), or `margins`: the policy's LoRA starts as the weighted sum of the margin adapters |
    | `MODPO_SHARED_PREFIX` | `auto` (default) computes a pair's prompt once where that is exact and pays, `on` always, `off` never |
    """

    model_config = SettingsConfigDict(env_prefix="MODPO_", case_sensitive=False)

    w: float = Field(allow_inf_nan=False)
    margin_adapter: str | None = None
    margin_function: str | None = None
    margin_classifier: str | None = None
    margin_role: Literal["reward", "cost"] | None = None
    margin_weight: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    margin_beta: float | None = Field(default=None, allow_inf_nan=False)
    margins: list[MarginSpec] = Field(default_factory=list)
    normalized_weights: bool = False
    store: str | None = None
    start: Literal["reference", "margins"] = "reference"
    shared_prefix: SharedPrefix = "auto"

    @model_validator(mode="after")
    def _short_form(self):
        if one := short_form(self, lambda field: f"MODPO_{field.upper()}"):
            self.margins = [MarginSpec(**one)]
        return self

    def resolve(self, beta: float) -> list[Margin]:
        """The margins with every default filled in. See `trl_ext.modpo.margins.resolve_margins`."""
        return resolve_margins(self.margins, self.w, beta, self.normalized_weights)


def refuse_what_cannot_work(settings: MODPOSettings, margins: list[Margin], training_args, template) -> None:
    """Refuses setups in which margins would silently have no effect or meet the wrong rows.

    Args:
        training_args: ms-swift's DPOConfig.
        template: ms-swift's template.

    Raises:
        ValueError: the flag that stands in the way is named.
    """
    # LoRA's only reference beside the base
    own_reference = "--ref_adapters" if getattr(training_args, "ref_adapter_name", None) else None
    refuse_start(settings.start, margins, "MODPO_START", training_args.tuner_type == "lora", own_reference)
    if (margins or settings.store) and getattr(training_args, "reference_free", None):
        raise ValueError("reference_free drops the reference term, and the margins with it")
    loss_types = training_args.loss_type
    loss_types = loss_types if isinstance(loss_types, list) else [loss_types]
    if margins and all(loss_type == "sft" for loss_type in loss_types):
        raise ValueError(f"loss_type {loss_types} has no reference term: the margins would have no effect")
    reads_columns = settings.store is not None or any(margin.kind != "adapter" for margin in margins)
    if (template.packing or template.padding_free) and reads_columns:
        raise ValueError(
            "packing and padding_free join rows and drop their columns: function and classifier margins and "
            "MODPO_STORE need --packing false --padding_free false (adapter margins work with packing)"
        )
    if getattr(training_args, "streaming", False) and reads_columns:
        raise ValueError(
            "--streaming true: function and classifier margins and MODPO_STORE read rows by their place, which a stream does "
            "not have; use --streaming false, precompute-margins and its store need it too (adapter margins work with streams)"
        )
    if template.sequence_parallel_size > 1 and reads_columns:
        raise ValueError(
            f"--sequence_parallel_size {template.sequence_parallel_size} splits the tokens of a row over ranks: function and "
            "classifier margins and MODPO_STORE need whole rows; use 1 (adapter margins work with it)"
        )
    on_policy = settings.store is None and any(margin.kind == "adapter" for margin in margins)
    if training_args.neftune_noise_alpha and on_policy and training_args.tuner_type != "full":
        raise ValueError(
            f"--neftune_noise_alpha {training_args.neftune_noise_alpha} would put noise on the embeddings that margin adapters "
            "see too, which share the policy's base: leave it out, or use MODPO_STORE"
        )
    if settings.store is not None and getattr(training_args, "ref_adapter_name", None):
        raise ValueError("MODPO_STORE holds the reference without adapters; it cannot be used with --ref_adapters")
    refuse_flags(settings.shared_prefix, training_args, template)
