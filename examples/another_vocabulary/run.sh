#!/usr/bin/env bash
# A WordPiece teacher distilled into a sentencepiece student. See README.md beside this.
# usage: bash examples/another_vocabulary/run.sh [OUT_DIR [UPDATES]]
#        (default examples/another_vocabulary/out, which is replaced, and 900 updates of each model)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=${1:-$root/examples/another_vocabulary/out}
updates=${2:-900}
rm -rf "${out:?}/work" # only what this script made before
mkdir -p "$out/work"
out=$(cd "$out/work" && pwd)
cd "$root"
. examples/environment.sh
set_up_environment quickstart

# fairseq-train; the log is SAVE_DIR.log, and what its last validation found is printed.
train_small() { # DATA SAVE_DIR FLAGS...
    local data=$1 save_dir=$2
    shift 2
    # shellcheck disable=SC2046 # flags, to be split
    fairseq-train "$data" --user-dir mixkd_plugin --task mixkd_sentence_prediction --criterion mixkd \
        $(cat "$data/train_flags.txt") --arch mixkd_tiny --batch-size 32 --required-batch-size-multiple 1 \
        --optimizer adam --lr 2e-3 --lr-scheduler polynomial_decay --warmup-updates 60 --clip-norm 1.0 \
        --max-update "$updates" --total-num-update "$updates" --cpu --num-workers 0 --log-format simple \
        --log-interval 100 --validate-interval 1000 --save-interval 1000 --no-save-optimizer-state \
        --save-dir "$save_dir" "$@" >"$save_dir.log" 2>&1 ||
        { tail -n 20 "$save_dir.log" && return 1; }
    sed -n 's/.*\(valid on.*\) | wps.*/  \1/p' "$save_dir.log" | tail -n 1
}

# Models without pre-training know no word that they have not seen, so the sample's own training sentences are split.
echo "== A sample of sentences: 6,000 for training, 500 others for validation, in SST-2's layout"
python examples/quickstart/sample.py "$out/sample" --train 6500 --dev 1
mkdir -p "$out/glue"
{ head -n 1 "$out/sample/train.tsv" && tail -n 500 "$out/sample/train.tsv"; } >"$out/glue/dev.tsv"
head -n 6001 "$out/sample/train.tsv" >"$out/glue/train.tsv"

echo "== Two vocabularies of the training text, and the same sentences in each"
for kind in wordpiece sentencepiece; do
    python examples/vocabulary.py "$kind" "$out/glue/train.tsv" "$out/$kind" 300 >"$out/$kind.log" 2>&1
done
encode() { python -m mixkd_plugin encode --glue "$out/glue" --task SST-2 "$@"; }
encode --tokenizer "wordpiece:$out/wordpiece" --out "$out/teacher_data"
encode --tokenizer "sentencepiece:$out/sentencepiece/sentencepiece.bpe.model" --out "$out/data"

echo "== The teacher: 2 layers of 64 on WordPiece, trained from nothing"
train_small "$out/teacher_data" "$out/teacher" --encoder-embed-dim 64 --encoder-ffn-embed-dim 128 \
    --sm-weight 0 --tmkd-weight 0 --mixup-ratio 0
echo "== The student: 2 layers of 32 on sentencepiece, MixKD"
train_small "$out/data" "$out/student" --kd-weight 1 \
    --teacher-path "$out/teacher/checkpoint_last.pt" --teacher-data "$out/teacher_data"

echo "== Both on the validation sentences, each reading its own folder"
python -m mixkd_plugin compare "$out/data" teacher="$out/teacher/checkpoint_last.pt" \
    student="$out/student/checkpoint_last.pt" --teacher-data "$out/teacher_data" --out "$out/compare"

echo "== Predictions of the student on raw text, the teacher and its data being gone"
rm -r "$out/teacher" "$out/teacher_data"
python examples/another_vocabulary/predict.py "$out/student" "$out/data" "$out/sentencepiece/sentencepiece.bpe.model" \
    "the soup was not bad at all" "the soup was not good at all" "my brother called the film dull , and i agree completely"
