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
. examples/small_models.sh
set_up_environment quickstart

echo "== A sample of sentences"
make_corpus "$out"

echo "== Two vocabularies of the training text, and the same sentences in each"
for kind in wordpiece sentencepiece; do
    python examples/vocabulary.py "$kind" "$out/glue/train.tsv" "$out/$kind" 300 >"$out/$kind.log" 2>&1
done
encode() { python -m mixkd_plugin.tools.encode --glue "$out/glue" --task SST-2 "$@"; }
encode --tokenizer "wordpiece:$out/wordpiece" --out "$out/teacher_data"
encode --tokenizer "sentencepiece:$out/sentencepiece/sentencepiece.bpe.model" --out "$out/data"

echo "== The teacher: 2 layers of 64 on WordPiece, trained from nothing"
train_small "$updates" "$out/teacher_data" "$out/teacher" --encoder-embed-dim 64 --encoder-ffn-embed-dim 128 \
    --sm-weight 0 --tmkd-weight 0 --mixup-ratio 0
echo "== The student: 2 layers of 32 on sentencepiece, MixKD"
train_small "$updates" "$out/data" "$out/student" --kd-weight 1 \
    --teacher-path "$out/teacher/checkpoint_last.pt" --teacher-data "$out/teacher_data"

echo "== Both on the validation sentences, each reading its own folder"
python -m mixkd_plugin.tools.compare "$out/data" teacher="$out/teacher/checkpoint_last.pt" \
    student="$out/student/checkpoint_last.pt" --teacher-data "$out/teacher_data" --out "$out/compare"

echo "== Predictions of the student on raw text, the teacher and its data being gone"
rm -r "$out/teacher" "$out/teacher_data"
python examples/sentencepiece/predict.py "$out/student" "$out/data" "$out/sentencepiece/sentencepiece.bpe.model" \
    "the soup was not bad at all" "the soup was not good at all" "my brother called the film dull , and i agree completely"
