"""What a trainer hands to its parent's method in the model's place. Shapes: B rows, T columns, V words of the vocabulary."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F

from trl_ext.objectives.logps import selective_logps

from .attention import attention_mask as mask_of
from .choice import SharedPrefixes
from .layout import SharedLayout, shared_layout

IGNORED = -100
# Per-token values of TRL's fused head, each (streams, places).
FUSED_VALUES = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
# Arguments of a forward pass that say nothing about single tokens.
_PASSED_ON = frozenset({"use_cache", "return_dict"})


class SharedPrefixModel:
    """Calls `model` on the layout of its rows and gives what a plain call gives, in the rows' own columns.

    | argument of the call | meaning, as for the plain model |
    |---|---|
    | `input_ids`, `attention_mask` | (B, T), padded at either end |
    | `position_ids` | (B, T), from 0 at the first token of a row: the layout's own |
    | `logits_to_keep` | number of last columns |
    | `labels`, `fused_lm_head=True` | TRL's fused head: (B, T - 1) values of the labelled tokens instead of logits |

    Columns of padding, and those that `read` leaves out, hold the logits of some other token: finite, and read by nobody.

    Args:
        model: a causal language model in whatever wraps it; `attention.why_not` of its configuration is None.
        prefixes: the run's choice; it may leave a batch plain, and compares the first one.
        stream: (B,) the stream of each row, from 0 without gaps: rows of one stream share.
        read: (B, T) bool, columns whose logits the caller reads; None for all that are kept.
        rows: (input_ids, attention_mask) to compute in the place of those of the call, which holds their last columns.
    """

    def __init__(
        self,
        model: Callable,
        prefixes: SharedPrefixes,
        stream: torch.Tensor,
        read: torch.Tensor | None = None,
        rows: tuple[torch.Tensor, torch.Tensor] | None = None,
    ):
        self.model, self.prefixes, self.stream, self.read, self.rows = model, prefixes, stream, read, rows

    def __call__(
        self,
        input_ids,
        attention_mask=None,
        *,
        position_ids=None,
        logits_to_keep=None,
        labels=None,
        fused_lm_head=False,
        **kwargs,
    ) -> Any:
        """The model's output with `logits` (B, kept columns, V), or with the fused head's values (B, T - 1).

        Raises:
            ValueError: an argument of single tokens, which the layout would have to carry and does not; or a first batch
                that differs from its plain pass.
        """
        if other := sorted(name for name, value in kwargs.items() if value is not None and name not in _PASSED_ON):
            raise ValueError(f"shared prefixes do not carry {', '.join(other)}: set shared_prefix to off")
        kept = logits_to_keep or input_ids.shape[1]
        if self.rows is not None:
            input_ids, attention_mask = self.rows
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if position_ids is not None and (self.rows is not None or not _count_from_0(position_ids, attention_mask)):
            raise ValueError(
                "shared prefixes count the tokens of a row from 0, these position_ids do not: set shared_prefix to off"
            )
        batch = _Batch(input_ids, attention_mask, position_ids, self.stream, kwargs)
        if fused_lm_head:
            call: _LogitsCall | _FusedCall = _FusedCall(batch, labels)
        else:
            call = _LogitsCall(batch, kept, self.read)
        layout = call.layout()
        if self.prefixes.to_compare:
            with torch.no_grad():
                # One stream is enough, and cheap: the one of most rows, which shares most.
                one = call.of_rows(self.stream == self.stream.bincount().argmax())
                plain, shared = one.plain(self.model), one.shared(self.model, one.layout())
                self.prefixes.compare(one.logps(plain), one.logps(shared), self.model, layout.share)
        return call.shared(self.model, layout) if self.prefixes.pays(layout.share) else call.plain(self.model)


def _count_from_0(position_ids: torch.Tensor, attention_mask: torch.Tensor) -> bool:
    """Whether each row's tokens have positions 0, 1, 2, ...; those of padding do not matter."""
    real = attention_mask.bool()
    counted = attention_mask.cumsum(1) - 1
    return position_ids.shape == counted.shape and torch.equal(position_ids[real], counted[real])


@dataclass(frozen=True)
class _Batch:
    """B rows and the arguments that are passed on as they are."""

    input_ids: torch.Tensor  # (B, T)
    attention_mask: torch.Tensor  # (B, T)
    position_ids: torch.Tensor | None  # (B, T)
    stream: torch.Tensor  # (B,)
    passed: dict[str, Any]

    def of_rows(self, rows: torch.Tensor) -> "_Batch":
        positions = None if self.position_ids is None else self.position_ids[rows]
        stream = torch.zeros_like(self.stream[rows])
        return _Batch(self.input_ids[rows], self.attention_mask[rows], positions, stream, self.passed)

    def plain(self, model: Callable, **kwargs) -> Any:
        passed = self.passed if self.position_ids is None else self.passed | {"position_ids": self.position_ids}
        return model(input_ids=self.input_ids, attention_mask=self.attention_mask, **passed, **kwargs)

    def shared(self, model: Callable, layout: SharedLayout, **kwargs) -> Any:
        mask = mask_of(model, layout)
        ids, positions = layout.input_ids, layout.position_ids
        return model(input_ids=ids, attention_mask=mask, position_ids=positions, **self.passed, **kwargs)


@dataclass(frozen=True)
class _LogitsCall:
    """A call for the logits of the last `kept` columns."""

    batch: _Batch
    kept: int
    read: torch.Tensor | None  # (B, T)

    def of_rows(self, rows: torch.Tensor) -> "_LogitsCall":
        return replace(self, batch=self.batch.of_rows(rows), read=None if self.read is None else self.read[rows])

    def _read(self) -> torch.Tensor:
        """(B, T) bool."""
        kept = torch.zeros_like(self.batch.attention_mask, dtype=torch.bool)
        kept[:, -self.kept :] = True
        return kept & self.batch.attention_mask.bool() & (True if self.read is None else self.read.bool())

    def layout(self) -> SharedLayout:
        return shared_layout(self.batch.input_ids, self.batch.attention_mask, self.batch.stream, self._read())

    def plain(self, model: Callable) -> Any:
        return self.batch.plain(model, logits_to_keep=self.kept)

    def shared(self, model: Callable, layout: SharedLayout) -> Any:
        outputs = self.batch.shared(model, layout, logits_to_keep=layout.kept)
        logits = outputs.logits[:, -layout.kept :]
        width = layout.input_ids.shape[1]
        place = layout.place[:, -self.kept :].clamp(min=0)
        column = (place % width - (width - layout.kept)).clamp(min=0)
        row = (place // width * layout.kept + column).flatten()
        outputs.logits = logits.flatten(0, 1).index_select(0, row).view(*place.shape, -1)
        return outputs

    def logps(self, outputs: Any) -> torch.Tensor:
        """(n,) of the tokens after the columns that are read."""
        following = self.batch.input_ids[:, -self.kept + 1 :] if self.kept > 1 else self.batch.input_ids[:, :0]
        scored = self._read()[:, -self.kept : -1] & self.batch.attention_mask[:, -self.kept + 1 :].bool()
        return selective_logps(outputs.logits[:, -self.kept : -1], following)[scored]


@dataclass(frozen=True)
class _FusedCall:
    """A call of TRL's fused head, which scores a place with one label: places are shared where the next label agrees."""

    batch: _Batch
    labels: torch.Tensor  # (B, T)

    def of_rows(self, rows: torch.Tensor) -> "_FusedCall":
        return replace(self, batch=self.batch.of_rows(rows), labels=self.labels[rows])

    def _next_labels(self) -> torch.Tensor:
        return F.pad(self.labels[:, 1:], (0, 1), value=IGNORED)

    def layout(self) -> SharedLayout:
        batch = self.batch
        return shared_layout(batch.input_ids, batch.attention_mask, batch.stream, None, self._next_labels())

    def plain(self, model: Callable) -> Any:
        return self.batch.plain(model, labels=self.labels, fused_lm_head=True)

    def shared(self, model: Callable, layout: SharedLayout) -> Any:
        next_labels = self._next_labels()
        labelled = next_labels != IGNORED
        of_places = next_labels.new_full((layout.input_ids.numel(),), IGNORED)
        of_places[layout.place[labelled]] = next_labels[labelled]
        shift_labels = of_places.view_as(layout.input_ids)
        outputs = self.batch.shared(model, layout, shift_labels=shift_labels, fused_lm_head=True)
        place, labelled = layout.place[:, :-1].clamp(min=0), labelled[:, :-1]
        for name in FUSED_VALUES:
            value = getattr(outputs, name, None)
            if value is not None:
                setattr(outputs, name, value.flatten()[place].masked_fill(~labelled, 0))
        outputs.label_mask, outputs.loss = labelled, None
        return outputs

    def logps(self, outputs: Any) -> torch.Tensor:
        """(n,) of the labelled tokens."""
        return outputs.log_probs[self.labels[:, 1:] != IGNORED]
