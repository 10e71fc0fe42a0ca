"""What a margin is: a reward or a cost beside the trained preference, typed and validated.

The interface carries every sign: weights are positive, `role: reward` pushes toward higher values of the margin and
`role: cost` away from them. `beta` multiplies the raw value; a negative one is for experts who mean it and is put into
words when the run starts.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from datasets_builders.choices import did_you_mean
from datasets_builders.io import read_object
from datasets_builders.model_names import in_a_numbered_run, refuse_missing_folder
from datasets_builders.old_variables import MODPO, refuse_old_variables
from trl_ext.model_card import Objective, source_name
from trl_ext.objectives.text import get_text_function

# What a higher value of a function margin means for the reader of the log, and its opposite.
_HIGHER_MEANS = {
    "negative_response_tokens": ("shorter answers", "longer answers"),
    "brevity": ("shorter answers", "longer answers"),
    "long_words": ("longer words", "shorter words"),
    "rich_vocabulary": ("richer vocabulary", "plainer vocabulary"),
    "short_words": ("shorter words", "longer words"),
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class MarginSpec(BaseModel):
    """One margin as the user writes it: exactly one of `adapter`, `classifier` and `function`.

    | field | meaning |
    |---|---|
    | `adapter` | folder of a LoRA adapter trained by DPO on the base of this run; value = log pi_adapter - log pi_base |
    | `classifier` | sequence-classification reward model; value = logit of `head` |
    | `function` | registered function or dotted path, see `trl_ext.objectives.text` |
    | `role` | `reward` or `cost` |
    | `weight` | positive; left out, what `1 - w` leaves over is shared evenly |
    | `beta` | multiplies the value; default: the run's beta for an adapter, 1 otherwise |
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = None
    adapter: str | None = None
    classifier: str | None = None
    function: str | None = None
    role: Literal["reward", "cost"] = "reward"
    weight: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    beta: float | None = Field(default=None, allow_inf_nan=False)
    head: int = Field(default=0, ge=0)
    allow_other_base: bool = False

    @model_validator(mode="before")
    @classmethod
    def _unknown_fields(cls, data):
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    raise ValueError(f"a margin has no field {key!r}{did_you_mean(key, cls.model_fields)}")
        return data

    @model_validator(mode="after")
    def _one_source(self):
        given = [kind for kind in ("adapter", "classifier", "function") if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"a margin needs exactly one of adapter, classifier, function; got {given or 'none'}")
        if self.beta == 0:
            raise ValueError("beta = 0 switches the margin off; leave the margin out instead")
        if self.function is not None:
            get_text_function(self.function)
        if self.name is not None and not _NAME.fullmatch(self.name):
            raise ValueError(f"margin name {self.name!r} may hold letters, digits, '_' and '-' only")
        return self

    @property
    def kind(self) -> Literal["adapter", "classifier", "function"]:
        return "adapter" if self.adapter is not None else "classifier" if self.classifier is not None else "function"

    @property
    def source(self) -> str:
        return getattr(self, self.kind)


@dataclass(frozen=True)
class Margin:
    """One margin with nothing left open. `weight` is positive, `signed_weight` carries the role."""

    name: str
    kind: Literal["adapter", "classifier", "function"]
    source: str
    role: Literal["reward", "cost"]
    weight: float
    beta: float
    head: int = 0
    allow_other_base: bool = False

    @property
    def signed_weight(self) -> float:
        return self.weight if self.role == "reward" else -self.weight

    def direction(self) -> str:
        """Which way the policy is pushed, in words."""
        toward = self.signed_weight * self.beta > 0
        if self.kind == "function" and self.source in _HIGHER_MEANS:
            push = f"pushes TOWARD {_HIGHER_MEANS[self.source][0 if toward else 1]}"
        elif self.kind == "adapter":
            push = f"pushes {'TOWARD' if toward else 'AWAY FROM'} what the adapter {self.source} prefers"
        else:
            push = f"pushes {'TOWARD' if toward else 'AWAY FROM'} higher values of {self.source}"
        if self.weight == 0:
            push = "has weight 0 and pushes nowhere"
        raw = " (by a raw negative beta)" if self.beta < 0 else ""
        return f"margin {self.name!r}: {self.role}, weight {self.weight:g}, beta {self.beta:g}: {push}{raw}"


def resolve_margins(specs: Sequence[MarginSpec], w: float, beta: float, normalized_weights: bool) -> list[Margin]:
    """Names, weights and betas filled in.

    Args:
        specs: the margins as written.
        w: weight of the trained preference.
        beta: the run's beta, the default for adapters.
        normalized_weights: whether w and all margin weights must sum to one.

    Raises:
        ValueError: w is out of range, weights do not fit, two margins share a name, or a variable of the reference's
            scripts is set.
    """
    refuse_old_variables(MODPO)
    if not w > 0:
        raise ValueError(f"MODPO_W must be above 0 (the loss divides by it), got {w:g}")
    given = sum(spec.weight for spec in specs if spec.weight is not None)
    open_count = sum(spec.weight is None for spec in specs)
    if (normalized_weights or open_count) and w > 1:
        why = "normalized weights were asked for" if normalized_weights else "a margin leaves its weight to 1 - w"
        raise ValueError(f"MODPO_W must be at most 1 when {why}, got {w:g}")
    left = 1.0 - w - given
    if open_count and left < -1e-9:
        raise ValueError(f"w = {w:g} and the given margin weights sum to {w + given:g}: nothing is left to share")
    if normalized_weights and specs and not open_count and abs(left) > 1e-6:
        raise ValueError(f"normalized weights must sum to 1: w = {w:g} plus margins = {w + given:g}")
    margins = []
    for spec in specs:
        name = spec.name or (Path(spec.source).name if spec.kind != "function" else spec.source.rsplit(".", 1)[-1])
        name = re.sub(r"[^A-Za-z0-9_-]", "_", name)
        weight = spec.weight if spec.weight is not None else round(max(left, 0.0) / open_count, 12)
        margin_beta = spec.beta if spec.beta is not None else (beta if spec.kind == "adapter" else 1.0)
        margins.append(
            Margin(
                name=name,
                kind=spec.kind,
                source=spec.source,
                role=spec.role,
                weight=weight,
                beta=margin_beta,
                head=spec.head,
                allow_other_base=spec.allow_other_base,
            )
        )
    names = [margin.name for margin in margins]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two margins are called {name!r}: give each a `name`")
    return margins


def described(margins: Sequence[Margin], w: float, beta: float) -> list[Objective]:
    """The lines of a model card: the trained preference and every margin; none for w = 1 without margins, which is DPO."""
    if w == 1 and not margins:
        return []
    told = ((one, f"{one.role}, {one.kind} {source_name(one.source)}, beta {one.beta:g}") for one in margins)
    return [
        Objective("the preference in the training pairs", f"{w:g}", f"reward, DPO with beta {beta:g}"),
        *(Objective(one.name, f"{one.weight:g}", text) for one, text in told),
    ]


def refuse_missing_sources(margins: Sequence[Margin]) -> None:
    """Refuses adapters and classifiers that are not there, before a model is loaded; what may be a hub's name passes.

    Raises:
        ValueError: the margin and its folder are named.
    """
    for margin in margins:
        if margin.kind != "function":
            made_by = "plain DPO on the pairs of its objective makes it" if margin.kind == "adapter" else ""
            refuse_missing_folder(margin.source, f"margin {margin.name!r}: {margin.kind}", made_by)


def short_form(settings: Any, named: Callable[[str], str]) -> dict[str, Any]:
    """The fields of the one margin that is set by `margin_*`; none where no source is.

    Args:
        settings: has `margins` and the fields `margin_adapter`, `margin_role`, ....
        named: a field -> what the user calls it.

    Raises:
        ValueError: two sources, none of them, or the list of margins too.
    """

    def given(*fields: str) -> dict[str, Any]:
        return {name: value for name in fields if (value := getattr(settings, f"margin_{name}")) is not None}

    sources, options = given("adapter", "function", "classifier"), given("role", "weight", "beta")
    if options and not sources:
        raise ValueError(f"{named(f'margin_{next(iter(options))}')} is set but no margin source is")
    if sources and settings.margins:
        raise ValueError(f"set either {named('margins')} or the short form {named('margin_')}*, not both")
    if len(sources) > 1:
        raise ValueError(f"the short form takes one margin, got {sorted(sources)}; use {named('margins')} for several")
    return sources | options


def read_adapter_config(path: str) -> dict:
    """`adapter_config.json` of an adapter folder.

    Raises:
        ValueError: the folder or the file is missing, or the file is not JSON.
    """
    config_path = Path(path) / "adapter_config.json"
    if not Path(path).is_dir():
        raise ValueError(f"margin adapter {path!r} is not a folder{in_a_numbered_run(path)}")
    if not config_path.is_file():
        raise ValueError(
            f"margin adapter {path!r} holds no adapter_config.json: found {sorted(p.name for p in Path(path).iterdir())[:8]}"
        )
    return read_object(config_path)
