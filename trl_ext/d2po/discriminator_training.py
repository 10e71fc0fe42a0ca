"""How a discriminator on this machine learns from labelled pairs: the same loop for every kind of score."""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trl_ext.modpo.model_dir import resolve_model
from trl_ext.objectives.preference import preference_loss

from .discriminator_interface import DiscriminatorSettings, LabelledPair, check_pairs
from .discriminator_state import read_state, write_state
from .discriminator_text import Row, TextEncoder, by_length, pad


def seed_of(*parts: int | str) -> int:
    """A seed that is a function of `parts` alone, so that resuming needs no stored random state."""
    return int.from_bytes(hashlib.sha256(":".join(map(str, parts)).encode()).digest()[:7], "big")


@contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Inside, torch draws from `seed`; afterwards its random state is what it was before.

    Only the generators of the CPU and of `device` are touched: `torch.manual_seed` would also seed the other GPUs.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def accuracy(differences: Sequence[float]) -> float:
    """Share of pairs whose chosen response scores higher; a tie counts half."""
    return sum((d > 0) + 0.5 * (d == 0) for d in differences) / len(differences)


class TrainedDiscriminator(ABC):
    """A model with a score, an optimiser of its own and the pairs of all updates so far.

    Subclasses set up the model (`_build`) and say what a score is (`_scores`). The model is in evaluation mode except
    inside the training passes of `update`, and the random state of the process is never changed.

    Args:
        path: folder of the model and its tokenizer.
        settings: how it reads and learns.
        device: where it lives.

    Raises:
        ValueError: no such folder, or a model that does not fit.
    """

    difference_scale = 1.0  # of the differences of scores inside the loss
    batches = staticmethod(by_length)  # of rows that are scored
    tokenizer: Any
    model: nn.Module

    def __init__(self, path: str, settings: DiscriminatorSettings, device: str | torch.device = "cpu"):
        self.path, self.settings, self.device = str(path), settings, torch.device(device)
        self.directory = self._find()
        with own_randomness(seed_of(settings.seed, "adapter"), self.device):
            self.tokenizer, self.model = self._build()
        self.model.to(self.device).eval()
        for parameter in self.trained.values():
            parameter.data = parameter.data.float()
        # Some classifiers look for the last token of a row by the model's own pad id, so rows are padded with that one.
        pad_ids = (self.model.config.pad_token_id, self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0)
        self.pad_id = self.model.config.pad_token_id = next(token for token in pad_ids if token is not None)
        positions = self.model.config.to_dict().get("max_position_embeddings") or settings.max_length
        self.encoder = TextEncoder(self.tokenizer, settings.text_format, min(settings.max_length, positions))
        self.optimiser = torch.optim.AdamW(
            self.trained.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.updates = 0
        self.learnt: list[LabelledPair] = []  # of all updates, in order: what replay draws from
        self._cut_in_scoring = 0

    def _find(self) -> str:
        """Folder that holds what `path` names."""
        return resolve_model(self.path)

    @abstractmethod
    def _build(self) -> tuple[Any, nn.Module]:
        """Tokenizer and model; parameters that require a gradient are the ones that learn."""

    @abstractmethod
    def _scores(self, ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(B, T) each -> (B,) fp32, with a gradient where one is asked for."""

    def _baseline(self, rows: Sequence[Row]) -> torch.Tensor:
        """(B,) fp32 of one batch: what is subtracted from `_scores` and does not change in training."""
        return torch.zeros(len(rows), device=self.device)

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """Parameters that learn, by name."""
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    def digest(self) -> str:
        """SHA-256 over name, shape and bytes of every parameter that learns."""
        digest = hashlib.sha256()
        for name, parameter in sorted(self.trained.items()):
            digest.update(f"{name}{tuple(parameter.shape)}".encode())
            digest.update(parameter.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        """One finite score a response, whatever else is scored beside it (up to rounding).

        Raises:
            ValueError: lists of different length, or a score that is not finite.
        """
        if len(prompts) != len(responses):
            raise ValueError(f"{len(prompts)} prompts and {len(responses)} responses: one prompt a response is needed")
        rows = [self.encoder.encode(prompt, response) for prompt, response in zip(prompts, responses, strict=True)]
        self._cut_in_scoring += sum(row.truncated for row in rows)
        return self._score_rows(rows)

    def _score_rows(self, rows: Sequence[Row]) -> list[float]:
        values = (self._batched(self._forward, rows) - self._batched(self._baseline, rows)).tolist()
        for index, value in enumerate(values):
            if not math.isfinite(value):
                raise ValueError(f"the discriminator {self.path} scored response {index} with {value}")
        return values

    def _batched(self, function: Callable[[Sequence[Row]], torch.Tensor], rows: Sequence[Row]) -> torch.Tensor:
        """(N,): `function` of all rows, without a gradient, in batches of similar length."""
        values = torch.empty(len(rows), device=self.device)
        with torch.no_grad():
            for batch in self.batches(rows, self.settings.batch_size):
                values[batch] = function([rows[index] for index in batch])
        return values

    def _forward(self, rows: Sequence[Row]) -> torch.Tensor:
        dtype = getattr(torch, self.settings.dtype)
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            return self._scores(*pad(rows, self.pad_id, self.device)).float()

    def update(self, pairs: Sequence[LabelledPair], number: int) -> dict[str, float]:
        """Trains on `pairs` and on a draw of earlier ones.

        Order, dropout and draw are functions of (seed, number). Without a pair nothing is trained, but the update
        counts.

        Args:
            pairs: with gold labels.
            number: how many updates came before.

        Returns:
            `pairs`, `replayed`, `truncated` (rows of this update) and `truncated_in_scoring` (since the last update)
            as counts; with pairs also `loss_first` and `loss_last` (of the first and the last training step) and
            `accuracy_before` and `accuracy_after` (of the new pairs, in evaluation mode).

        Raises:
            ValueError: another number of updates came before, or pairs that the loss cannot train on.
        """
        if number != self.updates:
            raise ValueError(f"update number {number}: {self.updates} updates are done, so {self.updates} is valid")
        pairs = [LabelledPair(*pair) for pair in pairs]
        check_pairs(pairs, self.settings.loss)
        replayed = self._replay(number) if pairs else []
        rows = [self.encoder.encode(p.prompt, text) for p in [*pairs, *replayed] for text in (p.chosen, p.rejected)]
        metrics = {
            "pairs": len(pairs),
            "replayed": len(replayed),
            "truncated": sum(row.truncated for row in rows),
            "truncated_in_scoring": self._cut_in_scoring,
        }
        if pairs:
            metrics["accuracy_before"] = self._accuracy(rows[: 2 * len(pairs)])
            losses = self._train(rows, [pair.margin for pair in [*pairs, *replayed]], number)
            metrics |= {"loss_first": losses[0], "loss_last": losses[-1]}
            metrics["accuracy_after"] = self._accuracy(rows[: 2 * len(pairs)])
        self.learnt += pairs
        self.updates, self._cut_in_scoring = number + 1, 0
        return {name: float(value) for name, value in metrics.items()}

    def _replay(self, number: int) -> list[LabelledPair]:
        generator = torch.Generator().manual_seed(seed_of(self.settings.seed, number, "replay"))
        order = torch.randperm(len(self.learnt), generator=generator)[: self.settings.replay]
        return [self.learnt[index] for index in order.tolist()]

    def _accuracy(self, rows: Sequence[Row]) -> float:
        scores = self._score_rows(rows)
        return accuracy([chosen - rejected for chosen, rejected in zip(scores[::2], scores[1::2], strict=True)])

    def _train(self, rows: Sequence[Row], margins: Sequence[float | None], number: int) -> list[float]:
        """Loss of every step; `rows` are chosen and rejected in turn, one margin for the two."""
        baselines = self._batched(self._baseline, rows)
        losses = []
        self.model.train()
        try:
            for epoch in range(self.settings.epochs):
                seed = seed_of(self.settings.seed, number, epoch)
                order = torch.randperm(len(margins), generator=torch.Generator().manual_seed(seed)).tolist()
                with own_randomness(seed, self.device):
                    for start in range(0, len(order), self.settings.batch_size):
                        batch = order[start : start + self.settings.batch_size]
                        losses.append(self._step(batch, rows, margins, baselines))
        finally:
            self.model.eval()
        return losses

    def _step(
        self, batch: list[int], rows: Sequence[Row], margins: Sequence[float | None], baselines: torch.Tensor
    ) -> float:
        places = [2 * index for index in batch] + [2 * index + 1 for index in batch]  # all chosen, then all rejected
        scores = self._forward([rows[place] for place in places]) - baselines[places]
        chosen, rejected = scores.chunk(2)
        margin = None
        if self.settings.loss != "bt":
            margin = torch.tensor([margins[index] for index in batch], device=self.device)
        loss = preference_loss(self.difference_scale * (chosen - rejected), margin, self.settings.loss)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.trained.values(), self.settings.max_grad_norm)
        if not torch.isfinite(norm):
            raise ValueError(
                f"the discriminator's gradient is {norm.item()}: the weights have run away, lower learning_rate"
            )
        self.optimiser.step()
        return loss.item()

    def save(self, folder: Path) -> None:
        """Weights, optimiser, pairs and number of updates; randomness is a function of (seed, number)."""
        write_state(Path(folder), self)

    def load(self, folder: Path) -> None:
        """Continues exactly where `save` was called.

        Raises:
            ValueError: no state there, or one of another model or of other settings.
        """
        read_state(Path(folder), self)
