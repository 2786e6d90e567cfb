#!/usr/bin/env bash
# What only a GPU can show, in under 8 minutes: OUT/gpu.json and OUT/gpu.md. `--toy` takes the same steps on a CPU.
#   bash tests/gpu/run.sh OUT [--toy]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. examples/environment.sh
set_up_environment test
exec python tests/gpu/run.py "$@"
