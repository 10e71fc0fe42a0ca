"""One trial: a run of `trl_ext.modpo.script` with the same arguments, whose rungs are judged by a worker.

`python -m launch.tune.train --config trial_0003/run.yaml --rung_steps 300 600 1000 --rung_folder trial_0003/rungs`.
The run file alone is one of `trl_ext.modpo.script`: it trains the same policy without a study.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from transformers import set_seed
from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, get_peft_config

from launch.tune.callback import RungCallback
from launch.tune.rungs import RungFiles
from launch.tune.trainer import RankingMODPOTrainer
from trl_ext.modpo.config import MODPOConfig
from trl_ext.modpo.pair_rows import checked
from trl_ext.script import ScriptParser, load_splits, model_init_kwargs, pick


@dataclass
class RungArguments:
    """Where the rungs are, and where they are talked about."""

    rung_steps: list[int] = field(metadata={"help": "Steps at which the run asks whether it goes on."})
    rung_folder: str = field(metadata={"help": "Folder of the reports and answers."})


def refuse_shared_rows(train: Iterable[dict], test: Iterable[dict]) -> None:
    """Whether the pairs that judge are kept out of training.

    Raises:
        ValueError: they are not.
    """

    def key(row: dict) -> str:
        return json.dumps([row.get(name) for name in ("prompt", "chosen", "rejected")])

    held_out = {key(row) for row in test}
    if shared := sum(key(row) in held_out for row in train):
        raise ValueError(f"{shared} training pairs are among those held out: a study must be judged by other pairs")


def main(argv: list[str] | None = None) -> None:
    """Trains, from `resume_from_checkpoint` if given, until the end or a rung that stops it. Only an end is saved."""
    parser = ScriptParser((ScriptArguments, MODPOConfig, ModelConfig, DatasetMixtureConfig, RungArguments))
    try:
        script_args, args, model_args, mixture, rungs = parser.parse_args_and_config(argv)
        if args.max_steps != rungs.rung_steps[-1]:
            raise ValueError(f"max_steps {args.max_steps} must be the last of rung_steps {rungs.rung_steps}")
        if args.n_gpu > 1:  # transformers would wrap the model in DataParallel
            raise ValueError(f"{args.n_gpu} GPUs are visible to this run: give each worker one with --gpu_id")
        splits = load_splits(script_args, mixture)
        train = pick(splits, script_args.dataset_train_split, "dataset_train_split")
        test = pick(splits, script_args.dataset_test_split, "dataset_test_split")
        refuse_shared_rows(train, test)
        train, test = checked(train, "dataset_train_split"), checked(test, "dataset_test_split")
        set_seed(args.seed)  # TRL 0.29 draws new LoRA weights before it sets the seed
        args.model_init_kwargs = {**model_init_kwargs(model_args), **(args.model_init_kwargs or {})}
        callback = RungCallback(rungs.rung_steps, RungFiles(Path(rungs.rung_folder)))
        trainer = RankingMODPOTrainer(
            model_args.model_name_or_path,
            args=args,
            train_dataset=train,
            eval_dataset=test,
            peft_config=get_peft_config(model_args),
            callbacks=[callback],
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    if callback.stopped_at is None:
        trainer.save_model(args.output_dir)


if __name__ == "__main__":
    main()
