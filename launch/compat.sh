#!/usr/bin/env bash
# Purpose:  which versions of the upstreams the pack works with: one environment after another is made, the short form of the
#           tests is run in it, and it is deleted. docs/results/compatibility.json has the outcomes, docs/compatibility.md shows them.
# Hardware: 1 CPU core, 8 GB of memory and of disk, a package index; no GPU, no model hub. PYTHON names the interpreter.
# Options:  versions of TRL, or `oldest`, `ms-swift`: `bash launch/compat.sh 1.16.0 oldest`. Without any, every row that the file
#           does not hold yet, so that an interrupted sweep goes on where it was.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$root"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" PYTHONPATH="$root" CUDA_VISIBLE_DEVICES="" UV_LINK_MODE="${UV_LINK_MODE:-hardlink}"
export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}"   # where pip finds a torch for CPUs, uv finds it too
python="$(realpath "$(${PYTHON:-python3} -c 'import sys; print(sys.executable)')")"
torch="$(grep '^torch==' launch/constraints-trl.txt)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/tools"
"$work/tools/bin/python" -m pip install --quiet uv
uv="$work/tools/bin/uv"

# The packages of a row: what setup.py asks for, as new as this row's TRL allows, or as old as the ranges allow.
install() {
  case "$1" in
    oldest)
      # Of the dependencies that setup.py names the oldest; of what those bring along the newest that fits.
      "$uv" pip compile --quiet --python "$python" --resolution lowest-direct --extra trl setup.py -o "$work/oldest.txt"
      "$uv" pip install --quiet --python "$work/env" -r "$work/oldest.txt"
      "$uv" pip install --quiet --python "$work/env" -c "$work/oldest.txt" pytest hypothesis ;;
    ms-swift)
      "$uv" pip install --quiet --python "$work/env" "$torch" -r setup.py --extra swift pytest hypothesis deepspeed ;;
    *)
      "$uv" pip install --quiet --python "$work/env" "$torch" "trl==$1" -r setup.py --extra trl pytest hypothesis ;;
  esac
}

if [ "$#" -eq 0 ]; then mapfile -t rows < <("$python" -m tests.compatibility.rows); else rows=("$@"); fi
for row in "${rows[@]}"; do
  "$uv" venv --quiet --clear --python "$python" "$work/env"
  if install "$row" > "$work/install.log" 2>&1; then
    "$work/env/bin/python" -m tests.compatibility.run "$row"
  else
    "$python" -m tests.compatibility.rows "$row" "$work/install.log"
  fi
  rm -rf "$work/env"
done
