#!/usr/bin/env bash
# A user directory of one's own that adds a distance, a pairing rule and an encoder. See README.md beside this.
# usage: bash examples/extend/run.sh [OUT_DIR]      (default examples/extend/out, which is replaced)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=${1:-$root/examples/extend/out}
rm -rf "${out:?}/work" # only what this script made before
mkdir -p "$out/work"
out=$(cd "$out/work" && pwd)
cd "$root"
. examples/environment.sh
set_up_environment quickstart # the package mixkd_plugin can be imported: all that my_mixkd needs

echo "== A sample: the quickstart's sentences, one word a token; its own sentences are split"
python examples/quickstart/sample.py "$out/sample" --train 6500 --dev 1
tail -n +2 "$out/sample/train.tsv" >"$out/sample/rows"
for split in train valid; do
    if [ $split = train ]; then part=(head -n 6000); else part=(tail -n 500); fi
    "${part[@]}" "$out/sample/rows" | cut -f 1 >"$out/$split.text"
    "${part[@]}" "$out/sample/rows" | cut -f 2 >"$out/$split.label"
done
printf '0 1\n1 1\n' >"$out/labels"
preprocess() { # KIND FOLDER FLAGS...
    fairseq-preprocess --only-source --trainpref "$out/train.$1" --validpref "$out/valid.$1" \
        --destdir "$out/data/$2" --workers 1 "${@:3}" >"$out/$1.log" 2>&1 || { tail -n 20 "$out/$1.log" && return 1; }
}
preprocess text input0
preprocess label label --srcdict "$out/labels"

train() { # NAME USER_DIR FLAGS...
    fairseq-train "$out/data" --user-dir "$2" --task mixkd_sentence_prediction --criterion mixkd \
        --num-classes 2 --init-token 0 --max-positions 64 --batch-size 32 --optimizer adam --lr 2e-3 \
        --lr-scheduler polynomial_decay --warmup-updates 60 --clip-norm 1.0 --max-update 600 --total-num-update 600 \
        --cpu --num-workers 0 --log-format simple --log-interval 100 --validate-interval 1000 --save-interval 1000 \
        --no-save-optimizer-state --save-dir "$out/$1" "${@:3}" >"$out/$1.log" 2>&1 ||
        { tail -n 20 "$out/$1.log" && return 1; }
}
validate() { # NAME USER_DIR
    fairseq-validate "$out/data" --user-dir "$2" --task mixkd_sentence_prediction --path "$out/$1/checkpoint_last.pt" \
        --batch-size 100 --cpu >"$out/$1.valid.log" 2>&1 || { tail -n 20 "$out/$1.valid.log" && return 1; }
    sed -n 's/.*valid on .valid. subset | /  /p' "$out/$1.valid.log"
}

echo "== The teacher: a RoBERTa of 2 layers of 64, trained from nothing"
train teacher mixkd_plugin --arch mixkd_tiny --encoder-embed-dim 64 --encoder-ffn-embed-dim 128 \
    --sm-weight 0 --tmkd-weight 0 --mixup-ratio 0
validate teacher mixkd_plugin

echo "== The student: our encoder, taught by our distance on mixes of our pairs"
train student examples/extend/my_mixkd --arch my_cnn --teacher-path "$out/teacher/checkpoint_last.pt" --kd-weight 1 \
    --distill-distance cosine --mixup-pairing other-label
rm -r "$out/teacher"
validate student examples/extend/my_mixkd
