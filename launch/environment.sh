# Sourced by the scripts beside it: makes a virtual environment once and installs the pack and what it needs into it.
#   make_environment FOLDER EXTRAS CONSTRAINTS [PACKAGES WITHOUT THEIR DEPENDENCIES...]
# A stamp over setup.py, the constraints and the arguments tells whether anything has to be installed at all.
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE="${HF_HUB_OFFLINE:-1}" TOKENIZERS_PARALLELISM=false
export HF_HUB_DISABLE_TELEMETRY=1 TRL_EXPERIMENTAL_SILENCE=1

tested_extras="swift,deepspeed,eval,gguf,gold,api,ui,server,tune,dev,docs"   # of .venv

make_environment() {
  local folder="$root/$1" extras="$2" constraints="$root/launch/$3"
  shift 3
  local python="${PYTHON:-python3}" stamp
  stamp="$(cat "$root/setup.py" "$constraints" <(printf '%s\n' "$root" "$extras" "$@") | sha256sum | cut -d' ' -f1)"
  if [ "$(cat "$folder/installed.stamp" 2>/dev/null)" = "$stamp" ]; then return; fi
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Python 3.11 or newer is needed; set PYTHON to one. Found: $("$python" --version 2>&1)" >&2; exit 2; }
  echo "Installing into ${folder#"$root"/} (once; minutes, most of it torch)"
  [ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
  "$folder/bin/python" -m pip install --quiet --upgrade pip setuptools wheel
  "$folder/bin/python" -m pip install --quiet --constraint "$constraints" --editable "$root[$extras]"
  if [ "$#" -gt 0 ]; then "$folder/bin/python" -m pip install --quiet --no-deps "$@"; fi
  echo "$stamp" > "$folder/installed.stamp"
}
