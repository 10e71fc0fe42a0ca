#!/bin/bash
# Purpose:  the judge on verl, for those who stay there: verl's GRPO, this pack's rows and its reward for the right verdict. verl
#           has no sampler for pairs: both orders are trained on, but not side by side.
# Hardware: eight GPUs of 80 GB; verl 0.9 with vLLM and Ray, this pack beside it. Tried on a CPU only: a test trains a tiny model for
#           three steps by this script and verl 0.9.1, with the changes that docs/scaling.md lists; verl itself wants a GPU.
# Data:     python -m datasets_builders helpsteer2-pairwise --output_dir data/judge --max_prompt_chars 12000
# Launch:   bash launch/runs/pairwise_judge/verl.sh        (what follows is handed to verl, such as trainer.nnodes=2)
set -euo pipefail
REWARD="$(python -c "import trl_ext.pairwise_judge.verl_reward as reward; print(reward.__file__)")"
python -m verl.trainer.main_ppo \
    algorithm.adv_estimator=grpo algorithm.use_kl_in_reward=false \
    data.train_files=data/judge/preference_train.parquet data.val_files=data/judge/preference_test.parquet \
    data.prompt_key=prompt data.train_batch_size=96 data.val_batch_size=192 \
    data.max_prompt_length=4096 data.max_response_length=2048 data.filter_overlong_prompts=true data.truncation=right \
    reward.custom_reward_function.path="$REWARD" reward.custom_reward_function.name=compute_score \
    actor_rollout_ref.model.path=Qwen/Qwen3-14B \
    actor_rollout_ref.model.use_remove_padding=true actor_rollout_ref.model.enable_gradient_checkpointing=true \
    actor_rollout_ref.actor.optim.lr=1e-6 actor_rollout_ref.actor.ppo_mini_batch_size=24 \
    actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1 actor_rollout_ref.actor.entropy_coeff=0 \
    actor_rollout_ref.actor.use_kl_loss=true actor_rollout_ref.actor.kl_loss_coef=0.001 \
    actor_rollout_ref.actor.kl_loss_type=low_var_kl \
    actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=1 actor_rollout_ref.ref.fsdp_config.param_offload=true \
    actor_rollout_ref.rollout.name=vllm actor_rollout_ref.rollout.tensor_model_parallel_size=8 \
    actor_rollout_ref.rollout.gpu_memory_utilization=0.6 actor_rollout_ref.rollout.n=4 \
    actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=1 \
    trainer.logger='["console"]' trainer.project_name=pairwise_judge trainer.experiment_name=verl \
    trainer.n_gpus_per_node=8 trainer.nnodes=1 trainer.total_epochs=10 trainer.save_freq=20 trainer.test_freq=20 \
    trainer.val_before_train=false "$@"
