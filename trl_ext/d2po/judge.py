"""Judges one window after another and keeps what that needs: gold, ledger, discriminator, shaping, counts."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasets_builders.io import atomic_writer
from datasets_builders.journal import read_lines

from .collective import OnMain, Replicas, on_main
from .config import D2POConfig
from .discriminator import load_discriminator
from .discriminator_interface import Discriminator
from .first_pairs import read_first_pairs
from .gold import get_gold
from .gold_labels import GoldLabels
from .labelling import Decision, Window, decide_by_gold, decide_by_scores, decide_with_labels, score_all
from .ledger import Ledger
from .shaping import Shaping

ROLLOUTS_FILE = "rollouts.jsonl"
DISCRIMINATOR_FOLDER = "discriminator"


def build_discriminator(args: D2POConfig, accelerator: Any) -> Replicas | OnMain | None:
    """The discriminator that `args` name, as all ranks use it."""
    if args.discriminator_url is not None:
        from .remote import RemoteDiscriminator

        return OnMain(RemoteDiscriminator(args.discriminator_url) if accelerator.is_main_process else None, accelerator)
    if args.discriminator is None:
        return None
    device = "cpu" if args.device.type == "cpu" else args.device  # torch cannot load to the "cpu:0" of a gloo rank
    own = load_discriminator(args.discriminator, args.discriminator_settings(), device)
    own.shared_prefix = args.shared_prefix
    if args.discriminator_first_pairs is not None:
        own.learnt += read_first_pairs(args.discriminator_first_pairs, args.discriminator_loss)
    return Replicas(own, accelerator)


PAID_FOLDER = "d2po_gold_answers"


class WindowJudge:
    """Called by all ranks alike with the answers of all ranks.

    Args:
        args: of the run.
        accelerator: of the run.
        discriminator: a discriminator of the caller's, one a rank; None makes what `args` name.
    """

    def __init__(self, args: D2POConfig, accelerator: Any, discriminator: Discriminator | None = None):
        self.args, self.accelerator = args, accelerator
        self.shaping = Shaping(args.shaping)
        self.window, self.updates = 0, 0  # windows judged, updates of the discriminator
        self.metrics: dict[str, float] = {}
        self.gold: GoldLabels | None = None
        if args.gold is not None:
            ledger = Ledger(Path(args.output_dir), args.max_labels) if accelerator.is_main_process else None
            gold = args.build_gold()
            if gold.costs_money and accelerator.is_main_process:
                # A label is several answers: those that came before one fails are paid for too.
                gold.keep_answers(Path(args.output_dir, PAID_FOLDER))
            self.gold = GoldLabels(gold, ledger, accelerator)
        self.eval_gold = None if args.eval_gold is None else get_gold(args.eval_gold)
        if discriminator is not None:
            self.discriminator = Replicas(discriminator, accelerator)
        else:
            self.discriminator = build_discriminator(args, accelerator)

    def peek(self, prompts: Sequence[str], responses: Sequence[str], metadata: Sequence[dict]) -> np.ndarray | None:
        """(M,) gold of any answers, for diagnosis and never for training; None where there is none that is free."""
        if self.eval_gold is not None:
            return on_main(self.accelerator, lambda: np.array(self.eval_gold(prompts, responses, metadata), float))
        return self.gold.peek(prompts, responses, metadata) if self.gold is not None else None

    def judge(self, window: Window, own_scores: np.ndarray | None, step: int) -> Decision:
        """Decides a window's pairs.

        Args:
            own_scores: (N, n) of the policy itself, for `self_reward`.
            step: noted beside labels and rollouts.
        """
        decision = self._decide(window, own_scores, {"window": self.window, "step": step})
        if self.args.save_rollouts and self.accelerator.is_main_process:
            self._write_rollouts(window, decision, step)
        self.window += 1
        self.updates = int(decision.metrics.get("updates", 0))
        # A measure of nothing, such as the agreement on no pair, is NaN there; a checkpoint is JSON, which has none.
        self.metrics = {name: value for name, value in decision.metrics.items() if np.isfinite(value)}
        return decision

    def _decide(self, window: Window, own_scores: np.ndarray | None, where: dict[str, int]) -> Decision:
        args = self.args
        if args.mode == "opo":
            if args.gold is not None:
                return decide_by_gold(window, self.gold, self.shaping, where)
            return decide_by_scores(window, score_all(window, self.discriminator.score), self.shaping)
        learns = args.update_discriminator and own_scores is None
        return decide_with_labels(
            window,
            score_all(window, self.discriminator.score) if own_scores is None else own_scores,
            self.shaping,
            self.gold,
            budget=args.labels_per_window,
            selection=args.selection,
            generator=np.random.default_rng([args.seed, self.window]),
            discriminator=self.discriminator if learns else None,
            number=self.updates,
            where=where,
        )

    def _write_rollouts(self, window: Window, decision: Decision, step: int) -> None:
        rows = []
        for index, (prompt, responses) in enumerate(zip(window.prompts, window.responses, strict=True)):
            pair = [responses[place] for place in decision.places[index]]
            label = None
            if decision.labelled[index]:
                label = self.gold.ledger.find(prompt, responses if self.args.mode == "opo" else pair)
            best = int(decision.scores[index, 1] > decision.scores[index, 0])
            rows.append({
                "window": self.window, "step": step, "prompt": prompt, "completions": responses,
                "pair": decision.places[index].tolist(), "scores": decision.scores[index].tolist(),
                "gold": label and list(label.gold), "chosen": pair[best] if decision.weights[index] else None,
            })  # fmt: skip
        with self._rollouts.open("a", encoding="utf-8") as file:
            file.writelines(map(_line, rows))

    @property
    def _rollouts(self) -> Path:
        return Path(self.args.output_dir, ROLLOUTS_FILE)

    def begin_rollouts(self) -> None:
        """Sets the rollouts of an earlier start aside as `rollouts.N.jsonl`: the windows are counted from 0 again."""
        if self.accelerator.is_main_process and self._rollouts.is_file():
            number = next(n for n in itertools.count(1) if not self._rollouts.with_suffix(f".{n}.jsonl").exists())
            self._rollouts.rename(self._rollouts.with_suffix(f".{number}.jsonl"))

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """The discriminator with its optimiser, into a checkpoint."""
        if self.discriminator is not None:
            self.discriminator.save(folder / DISCRIMINATOR_FOLDER)

    def state_dict(self) -> dict[str, Any]:
        return {
            "window": self.window,
            "updates": self.updates,
            "labels": self.gold and self.gold.spent,
            "metrics": self.metrics,
            "shaping": self.shaping.state_dict(),
        }

    def load(self, folder: Path, state: dict[str, Any]) -> None:
        """Back to a checkpoint. The ledger is not taken back: labels bought since then are met again and are free.

        Raises:
            ValueError: the ledger has fewer labels than the checkpoint knows of.
        """
        if self.gold is not None and self.gold.spent < state["labels"]:
            raise ValueError(
                f"the ledger in {self.args.output_dir} has {self.gold.spent} labels, the checkpoint {folder} knows of "
                f"{state['labels']}: resume with the ledger of that run in --output_dir"
            )
        self.window, self.updates, self.metrics = state["window"], state["updates"], state["metrics"]
        self.shaping.load_state_dict(state["shaping"])
        if self.discriminator is not None:
            self.discriminator.load(folder / DISCRIMINATOR_FOLDER)
        if self.accelerator.is_main_process and self._rollouts.is_file():
            self._forget_rollouts()

    def _forget_rollouts(self) -> None:
        """Drops the windows after the checkpoint, which will be judged again, and a line that a crash cut off."""
        rows = read_lines(self._rollouts, _judged, "a judged pair").entries
        with atomic_writer(self._rollouts) as file:
            file.writelines(_line(row) for row in rows if row["window"] < self.window)


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"


def _judged(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the rollouts; ValueError or KeyError for any other one."""
    if type(row["window"]) is not int:
        raise ValueError(f"window is {row['window']!r}, no whole number")
    return row
