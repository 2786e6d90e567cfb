#!/usr/bin/env bash
# A student with a sentencepiece vocabulary, as XLM-R has one, from raw text to predictions. See README.md beside this.
# usage: bash examples/sentencepiece/run.sh [OUT_DIR]      (default examples/sentencepiece/out, which is replaced)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=${1:-$root/examples/sentencepiece/out}
rm -rf "${out:?}/work" # only what this script made before
mkdir -p "$out/work"
out=$(cd "$out/work" && pwd)
cd "$root"
. examples/environment.sh
. examples/small_models.sh
set_up_environment quickstart

echo "== A sample of sentences"
make_corpus "$out"

echo "== A sentencepiece model of the training text, and its vocabulary as fairseq's dict.txt"
python examples/vocabulary.py sentencepiece "$out/glue/train.tsv" "$out" 300 >"$out/sentencepiece.log" 2>&1
python -m mixkd_plugin.tools.encode --glue "$out/glue" --task SST-2 --out "$out/data" \
    --tokenizer "sentencepiece:$out/sentencepiece.bpe.model"

echo "== The teacher: 2 layers of 64, trained from nothing"
train_small 900 "$out/data" "$out/teacher" --encoder-embed-dim 64 --encoder-ffn-embed-dim 128 \
    --sm-weight 0 --tmkd-weight 0 --mixup-ratio 0
echo "== The student: 2 layers of 32, MixKD"
train_small 900 "$out/data" "$out/student" --teacher-path "$out/teacher/checkpoint_last.pt"

echo "== Predictions of the student on raw text, the teacher being gone"
rm -r "$out/teacher"
python examples/sentencepiece/predict.py "$out/student" "$out/data" "$out/sentencepiece.bpe.model" \
    "the soup was not bad at all" "the soup was not good at all" "my brother called the film dull , and i agree completely"
