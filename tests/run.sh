#!/usr/bin/env bash
# Set up the environment and run the tests in two processes; arguments go to pytest (`-m slow` runs the slow ones, `-m ""` all).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. examples/environment.sh
set_up_environment test
exec python -m pytest -n 2 --dist loadfile -m "not slow" "$@"
