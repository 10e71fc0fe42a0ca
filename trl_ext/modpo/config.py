"""Settings of MODPO in TRL: the fields of DPOConfig and those of `swift_ext.modpo.settings`, under the same names."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ValidationError
from trl import DPOConfig, DPOTrainer

from datasets_builders.choices import check_choice
from trl_ext.shared_prefix.setting import HELP, read_setting

from .margins import Margin, MarginSpec, refuse_missing_sources, resolve_margins, short_form
from .start import STARTS, refuse_start

# In TRL 0.29 Liger's fused loss runs the reference model itself; in 1.x only its layer kernels are used.
_LIGER_LOSS = hasattr(DPOTrainer, "_compute_loss_liger")


def _spec(fields: Any, where: str) -> MarginSpec:
    if not isinstance(fields, dict):
        raise ValueError(f"{where}: a margin is a mapping of fields, found {fields!r}")
    try:
        return MarginSpec(**fields)
    except ValidationError as error:
        issues = [
            f"{'.'.join(map(str, issue['loc']))} {issue['msg'].removeprefix('Value error, ')}".strip()
            + ("" if issue["type"] == "value_error" else f", found {issue['input']!r}")
            for issue in error.errors()
        ]
        raise ValueError(f"{where}: {'; '.join(issues)}") from error


@dataclass
class MODPOConfig(DPOConfig):
    """[`trl.DPOConfig`] and the weights and margins of MODPO (arXiv 2310.03708).

    | field | meaning |
    |---|---|
    | `w` | weight w_k of the preference in the data, above 0; 1 without margins is DPO. Has no default |
    | `margins` | several margins: a list of mappings (YAML) or its JSON (command line), see `MarginSpec` |
    | `margin_adapter` | short form for one margin: folder of a DPO-trained LoRA adapter |
    | `margin_function` | short form for one margin: a function of the response |
    | `margin_classifier` | short form for one margin: a sequence-classification reward model |
    | `margin_role`, `margin_weight`, `margin_beta` | of the short form: `reward` or `cost`; default 1 - w; multiplier |
    | `normalized_weights` | w and the margin weights must sum to 1 |
    | `start` | where the policy begins: at the `reference`, or where the `margins` vanish, see `trl_ext.modpo.start` |
    | `shared_prefix` | whether a pair computes its prompt once: `auto` where it is exact and pays, `on`, `off` |

    Raises:
        ValueError: a weight or a margin that does not fit; the field, what was found and what is valid are named.
    """

    w: float | None = field(default=None, metadata={"help": "Weight of the preference in the data, above 0."})
    margins: list[dict[str, Any]] | str | None = field(
        default=None, metadata={"help": "Several margins: a list in YAML, JSON on the command line."}
    )
    margin_adapter: str | None = field(default=None, metadata={"help": "One margin: folder of a DPO-trained adapter."})
    margin_function: str | None = field(default=None, metadata={"help": "One margin: a function of the response."})
    margin_classifier: str | None = field(default=None, metadata={"help": "One margin: a classifier reward model."})
    margin_role: Literal["reward", "cost"] | None = field(default=None, metadata={"help": "Default: reward."})
    margin_weight: float | None = field(default=None, metadata={"help": "Weight of the one margin. Default: 1 - w."})
    margin_beta: float | None = field(
        default=None, metadata={"help": "Multiplies the margin. Default: the run's beta for an adapter, 1 otherwise."}
    )
    normalized_weights: bool = field(default=False, metadata={"help": "All weights must sum to 1."})
    start: str = field(
        default="reference",
        metadata={
            "help": "The policy's LoRA starts at the `reference`, or at the weighted sum of the `margins`' adapters."
        },
    )
    shared_prefix: str = field(default="auto", metadata={"help": HELP})

    def __post_init__(self):
        super().__post_init__()
        self.shared_prefix = read_setting("shared_prefix", self.shared_prefix)
        check_choice("start", self.start, STARTS)
        if isinstance(self.margins, str):
            try:
                self.margins = json.loads(self.margins)
            except json.JSONDecodeError as error:
                raise ValueError(f"margins: not JSON ({error}), found {self.margins!r}") from error
        refuse_missing_sources(self.resolve())

    def _specs(self) -> list[MarginSpec]:
        if one := short_form(self, lambda field: field):
            return [_spec(one, f"margin_{next(iter(one))}")]
        if not isinstance(self.margins or [], list):
            raise ValueError(f"margins: a list of mappings is needed, found {self.margins!r}")
        return [_spec(fields, f"margins[{index}]") for index, fields in enumerate(self.margins or [])]

    def resolve(self) -> list[Margin]:
        """The margins with every default filled in. See `trl_ext.modpo.margins.resolve_margins`."""
        if self.w is None:
            raise ValueError(
                "w is missing: the weight of the preference in the data, above 0 (1 without margins is DPO)"
            )
        try:
            return resolve_margins(self._specs(), self.w, self.beta, self.normalized_weights)
        except ValueError as error:
            raise ValueError(str(error).replace("MODPO_W", "w")) from error  # the name that ms-swift's users set


def refuse_what_cannot_work(args: MODPOConfig, margins: list[Margin], full: bool, own_reference: bool = False) -> None:
    """Refuses setups in which w or the margins would silently have no effect, or margins be of something else.

    Args:
        full: all weights are trained, so that margin adapters lie on the reference and not on the policy.
        own_reference: the reference is a model of its own.

    Raises:
        ValueError: the flag that stands in the way is named.
    """
    refuse_start(args.start, margins, "start:", not full, "ref_model" if own_reference else None)
    if args.use_liger_kernel and _LIGER_LOSS and (margins or args.w != 1):
        raise ValueError(
            "use_liger_kernel: this TRL's Liger loss runs the reference itself, past beta / w and the margins"
        )
    if margins and getattr(args, "reference_free", None):
        raise ValueError("reference_free drops the reference term, and the margins with it")
    if margins and all(loss_type == "sft" for loss_type in args.loss_type):
        raise ValueError(f"loss_type {args.loss_type} has no reference term: the margins would have no effect")
    adapters = any(margin.kind == "adapter" for margin in margins)
    if args.neftune_noise_alpha and margins and not full and not args.precompute_ref_log_probs:
        raise ValueError(
            f"neftune_noise_alpha {args.neftune_noise_alpha} would put noise on the embeddings of the reference and of margin "
            "adapters too, which share the policy's base: leave it out, or set precompute_ref_log_probs"
        )
    if args.sync_ref_model and adapters:
        raise ValueError("sync_ref_model moves the reference, which is also the base of the margin adapters")
