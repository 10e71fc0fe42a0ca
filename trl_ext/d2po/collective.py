"""One discriminator for all ranks: a replica on each that is checked to be the same, or one that the main process asks."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list, gather_object

from .discriminator_interface import Discriminator, LabelledPair


def on_main(accelerator: Any, call: Callable[[], Any]) -> Any:
    """What `call` returns on the main process, on every rank; an error of it is raised on every rank.

    Args:
        accelerator: None is a single process.
    """
    if accelerator is None or accelerator.num_processes == 1:
        return call()
    outcome: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            outcome[0] = call()
        except Exception as error:
            outcome[1] = error
    value, error = broadcast_object_list(outcome)
    if error is not None:
        raise error
    return value


class Replicas:
    """A discriminator on every rank: scores are shared out, updates are made by all and end in the same weights."""

    def __init__(self, own: Discriminator, accelerator: Any):
        self.own, self.accelerator = own, accelerator

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        ranks, rank = self.accelerator.num_processes, self.accelerator.process_index
        share = -(-len(prompts) // ranks)
        rows = slice(rank * share, (rank + 1) * share)
        return gather_object(self.own.score(prompts[rows], responses[rows]))

    def update(self, pairs: Sequence[LabelledPair], number: int) -> dict[str, float]:
        """Raises a RuntimeError when the ranks' weights differ afterwards."""
        metrics = self.own.update(pairs, number)
        digests = gather_object([self.own.digest()])
        if len(set(digests)) > 1:
            raise RuntimeError(
                f"update {number} left the discriminators of the ranks different: {[digest[:12] for digest in digests]}; "
                "set --full_determinism true, or serve one with `python -m launch discriminator-server`"
            )
        return metrics

    def save(self, folder: Path) -> None:
        if self.accelerator.is_main_process:
            self.own.save(folder)

    def load(self, folder: Path) -> None:
        self.own.load(folder)

    def digest(self) -> str:
        return self.own.digest()


class OnMain:
    """A discriminator that only the main process talks to; the other ranks are told."""

    def __init__(self, own: Discriminator | None, accelerator: Any):
        self.own, self.accelerator = own, accelerator

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        return on_main(self.accelerator, lambda: self.own.score(prompts, responses))

    def update(self, pairs: Sequence[LabelledPair], number: int) -> dict[str, float]:
        return on_main(self.accelerator, lambda: self.own.update(pairs, number))

    def save(self, folder: Path) -> None:
        on_main(self.accelerator, lambda: self.own.save(folder))

    def load(self, folder: Path) -> None:
        on_main(self.accelerator, lambda: self.own.load(folder))

    def digest(self) -> str:
        return on_main(self.accelerator, lambda: self.own.digest())
