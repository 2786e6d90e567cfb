#!/usr/bin/env bash
# Set up the environment and back-translate a GLUE task; arguments go to back_translate.py. See README.md beside this.
# usage: bash examples/back_translation/run.sh --glue DIR --task NAME --out DIR --forward ARGUMENTS --backward ARGUMENTS ...
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$root/examples/environment.sh"
set_up_environment quickstart
exec python "$root/examples/back_translation/back_translate.py" "$@"
