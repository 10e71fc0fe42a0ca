"""Trains with MODPO from a YAML run file or flags: `accelerate launch -m trl_ext.modpo.script --config run.yaml`.

The arguments are those of TRL's own DPO script and the fields of [`trl_ext.MODPOConfig`]. `dataset_name` may also be a
local .json or .jsonl file of preference pairs, whose rows then are the train split.
"""

from trl_ext.launched import end_with_launcher

if __name__ == "__main__":
    end_with_launcher()  # here and in `main`: the imports below take seconds, in which the launcher may be killed

import sys

from transformers import set_seed
from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, get_peft_config

from trl_ext.checkpoints import resume_folder
from trl_ext.script import ScriptParser, load_splits, model_init_kwargs, pick
from trl_ext.sharding import warn_if_unsharded
from trl_ext.shutdown import let_gloo_finish_at_exit

from .config import MODPOConfig
from .model_dir import check_whole
from .pair_rows import checked
from .trainer import MODPOTrainer


def main(argv: list[str] | None = None) -> None:
    """Builds the trainer, trains (from `resume_from_checkpoint` if given), evaluates and saves."""
    end_with_launcher()
    let_gloo_finish_at_exit()
    parser = ScriptParser((ScriptArguments, MODPOConfig, ModelConfig, DatasetMixtureConfig))
    try:
        script_args, args, model_args, mixture = parser.parse_args_and_config(argv)
        if not model_args.model_name_or_path:
            raise ValueError("model_name_or_path is needed: the model to train")
        check_whole(model_args.model_name_or_path)
        resume = resume_folder(args.resume_from_checkpoint, args.output_dir)
        splits = load_splits(script_args, mixture)
        evaluate = args.eval_strategy != "no"
        train = pick(splits, script_args.dataset_train_split, "dataset_train_split")
        test = pick(splits, script_args.dataset_test_split, "dataset_test_split") if evaluate else None
        train, test = checked(train, "dataset_train_split"), checked(test, "dataset_test_split")
        set_seed(args.seed)  # TRL 0.29 draws new LoRA weights before it sets the seed
        args.model_init_kwargs = {**model_init_kwargs(model_args), **(args.model_init_kwargs or {})}
        trainer = MODPOTrainer(
            model_args.model_name_or_path,
            args=args,
            train_dataset=train,
            eval_dataset=test,
            peft_config=get_peft_config(model_args),
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    warn_if_unsharded(trainer)
    trainer.train(resume_from_checkpoint=resume)
    if evaluate:
        metrics = trainer.evaluate()
        trainer.log_metrics("eval", metrics)
        trainer.save_metrics("eval", metrics)
    trainer.save_model(args.output_dir)
    if args.push_to_hub:
        trainer.push_to_hub(dataset_name=script_args.dataset_name)


if __name__ == "__main__":
    main()
