"""GRPO that generates both rows of a pair on one rank, in one generation batch. Shapes: N completions in groups of K."""

import inspect
import json
from itertools import zip_longest
from pathlib import Path
from typing import ClassVar

from swift.rewards import orms
from swift.rlhf_trainers import GRPOTrainer
from swift.utils import get_logger

from swift_ext.settings import read_settings
from swift_ext.shared_prefix.grpo import SharesCompletions
from trl_ext.checkpoints import EndsAtItsLastStep
from trl_ext.model_card import DescribesItself, Objective
from trl_ext.sharding import refuse_shards

from .pair_index import PairColumns, PairIndex, index_pairs
from .sampler import PairRepeatSampler
from .sampling import draw_from_every_token, drawn, hidden_cuts, sampling_warnings
from .settings import PairedSettings

logger = get_logger()


def _first_line(reward) -> str:
    """Of what a reward, or its class, says of itself."""
    said = inspect.getdoc(reward if inspect.isfunction(reward) else type(reward)) or type(reward).__name__
    return said.partition("\n")[0]


class PairedGRPOTrainer(EndsAtItsLastStep, DescribesItself, SharesCompletions, GRPOTrainer):
    """The change to [`swift.rlhf_trainers.GRPOTrainer`] is the sampler, in training and in evaluation.

    Around it: what both sides of a pair have in common is computed once, dynamic sampling replaces whole pairs, a resume in
    the middle of a generation batch takes up the same pairs, and `--top_k -1` cuts nothing. A subclass names its columns
    and settings, and refuses what it cannot do in `check_run`.

    Raises:
        ValueError: rows that are no whole pairs, or what `check_run` refuses.
    """

    pair_columns: ClassVar[PairColumns]
    settings_class: ClassVar[type[PairedSettings]]
    groups_a_stream = 2  # both sides of a pair

    def __init__(self, model=None, ref_model=None, reward_model=None, reward_funcs=None, *args, **kwargs):
        self.settings = read_settings(self.settings_class)
        refuse_shards(kwargs["args"])
        rewards = reward_funcs if isinstance(reward_funcs, list) else [reward_funcs] if reward_funcs else []
        classes = [orms[one] for one in rewards if isinstance(one, str) and one in orms]
        train_dataset, eval_dataset = kwargs.get("train_dataset"), kwargs.get("eval_dataset")
        self.check_run(classes, kwargs["args"], kwargs["template"], train_dataset)
        for warning in sampling_warnings(kwargs["args"]):
            logger.warning(warning)
        self._pairs: dict[
            int, tuple[object, PairIndex]
        ] = {}  # by id; the data set is held so that its id stays its own
        for name, dataset in (("training", train_dataset), ("evaluation", eval_dataset)):
            if dataset is not None:
                index = self._index(dataset)
                prefix = self.settings_class.model_config["env_prefix"]
                index.check(self.settings.max_bad_pairs, f"{prefix}MAX_BAD_PAIRS")
                logger.info(f"{name}: {len(index)} of {index.total} pairs; faults: {index.bad or 'none'}")
        super().__init__(model, ref_model, reward_model, reward_funcs, *args, **kwargs)
        if not self.args.use_vllm:
            draw_from_every_token(self.request_config)
            logger.info(f"answers are drawn at {drawn(self.request_config)}")
            if hidden := hidden_cuts(self.engine, self.request_config):
                logger.warning(f"the model's generation_config.json also sets {hidden}, which its log-probs leave out")

    def objectives(self):
        weights, settings = self.reward_weights.tolist(), self.settings
        prefix = settings.model_config["env_prefix"]
        given = ", ".join(
            f"`{prefix}{name.upper()}={getattr(settings, name)}`" for name in sorted(settings.model_fields_set)
        )
        names = {
            reward: name for name, reward in orms.items()
        }  # as they are asked for; upstream's are those of classes
        told = [(names.get(type(one)), _first_line(one)) for one in self.reward_funcs]
        # A gym's reward is the last one, without a function.
        rewards = zip_longest(self.reward_func_names, weights, told, fillvalue=(None, ""))
        found = [Objective(asked or name, f"{weight:g}", said) for name, weight, (asked, said) in rewards]
        return [*found, Objective("settings", "", given)] if given else found

    def check_run(self, reward_classes, training_args, template, train_dataset) -> None:
        """Refuses what cannot work, by ValueError, before the parent is built."""
        raise NotImplementedError

    def _index(self, dataset) -> PairIndex:
        if id(dataset) not in self._pairs:
            self._pairs[id(dataset)] = dataset, index_pairs(dataset, self.pair_columns)
        return self._pairs[id(dataset)][1]

    def _get_train_sampler(self, train_dataset=None):
        return PairRepeatSampler(
            self._index(train_dataset if train_dataset is not None else self.train_dataset),
            mini_repeat_count=self.num_generations,
            pairs_per_batch=self.args.generation_batch_size // (2 * self.num_generations),
            repeat_count=self.num_iterations * self.args.steps_per_generation,
            shuffle=self.shuffle_dataset,
            seed=self.args.seed,
            current_epoch=lambda: int(self.state.epoch or 0),
        )

    def _get_eval_sampler(self, eval_dataset):
        return PairRepeatSampler(self._index(eval_dataset), self.num_generations_eval, shuffle=False)

    def _compute_rewards_per_func(self, samples):
        rewards_per_func = super()._compute_rewards_per_func(samples)
        if self.settings.log_pairs and self.model.training:
            self._log_pairs(samples)
        return rewards_per_func

    def _log_pairs(self, samples) -> None:
        seen = {(sample.extra["pair_id"], sample.extra["side"]) for sample in samples}
        line = {"step": self.state.global_step, "rank": self.accelerator.process_index, "pairs_and_sides": sorted(seen)}
        path = Path(self.args.output_dir, f"pairs-rank{self.accelerator.process_index}.jsonl")
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def compute_std(self, samples, rewards_per_func):
        """The parent's, by pair: dynamic sampling replaces a pair when neither side has spread, and then both sides."""
        rows = 2 * self.num_generations
        spread = super().compute_std(samples, rewards_per_func)
        return spread.view(-1, rows).max(dim=1).values.repeat_interleave(rows)

    def train(self, resume_from_checkpoint=None, *args, **kwargs):
        if resume_from_checkpoint and not self.args.ignore_data_skip:
            self._step = self._micro_steps_of_epoch(resume_from_checkpoint)
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _micro_steps_of_epoch(self, checkpoint) -> int:
        """Where in its epoch a checkpoint stands. The parent counts from 0 after a resume and would then generate, in
        the middle of a chunk, for pairs that the loader is about to leave."""
        state = json.loads(Path(checkpoint, "trainer_state.json").read_text(encoding="utf-8"))
        rows = self.args.per_device_train_batch_size * self.args.steps_per_generation * self.accelerator.num_processes
        batches, accumulated = len(self._get_train_sampler()) // rows, self.args.gradient_accumulation_steps
        updates = max(batches // accumulated + (batches % accumulated > 0), 1)
        return state["global_step"] % updates * accumulated
