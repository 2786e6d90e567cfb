#!/usr/bin/env bash
# Time MixKD against fairseq's fine-tuning and against other tools: environment, times, table, plot.
# All arguments go to benchmark.py; `--help` names them. See README.md beside this file.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

. examples/environment.sh
set_up_environment quickstart

# The other tools, and what they need but do not ask for: tensorboard, requests.
others=(textbrewer==0.2.1.post1 tensorboard 'nvidia-modelopt==0.47.*' requests transformers)
missing='from importlib.util import find_spec as find
print(*(m for m in ("textbrewer", "tensorboard", "modelopt", "requests", "transformers") if not find(m)))'
if [ -n "$(python -c "$missing")" ]; then
    if [ -n "${VENV:-}" ]; then
        echo "VENV=$VENV lacks: $(python -c "$missing"). Install there: ${others[*]}" >&2
        exit 1
    fi
    echo "Installing ${others[*]}"
    if command -v uv >/dev/null; then
        uv pip install --quiet --python "$(command -v python)" "${others[@]}"
    else
        python -m pip install --quiet "${others[@]}"
    fi
fi

python examples/benchmark/benchmark.py "$@"
