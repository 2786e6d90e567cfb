#!/usr/bin/env bash
# A student with a sentencepiece vocabulary, as XLM-R has one, from raw text to predictions. See README.md beside this.
# usage: bash examples/sentencepiece/run.sh [OUT_DIR]      (default examples/sentencepiece/out, which is replaced)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=${1:-$root/examples/sentencepiece/out}
rm -rf "${out:?}/work" # only what this script made before
mkdir -p "$out/work/glue"
out=$(cd "$out/work" && pwd)
cd "$root"
. examples/environment.sh
set_up_environment quickstart

echo "== A sample: models without pre-training know no word that they have not seen, so its own sentences are split"
python examples/quickstart/sample.py "$out/sample" --train 6500 --dev 1
{ head -n 1 "$out/sample/train.tsv" && tail -n 500 "$out/sample/train.tsv"; } >"$out/glue/dev.tsv"
head -n 6001 "$out/sample/train.tsv" >"$out/glue/train.tsv"

echo "== A sentencepiece model of the training text, and its vocabulary as fairseq's dict.txt"
python - "$out" >"$out/sentencepiece.log" 2>&1 <<'END'
import sys
import sentencepiece

out = sys.argv[1]
with open(out + "/glue/train.tsv", encoding="utf-8") as f:
    text = [line.split("\t")[0] for line in f][1:]
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(text), model_prefix=out + "/sentencepiece.bpe", vocab_size=300
)
pieces = sentencepiece.SentencePieceProcessor(model_file=out + "/sentencepiece.bpe.model")
with open(out + "/dict.txt", "w", encoding="utf-8") as f:
    for i in range(len(pieces)):
        if not (pieces.is_control(i) or pieces.is_unknown(i)):  # fairseq has its own <s> </s> <unk>
            f.write(pieces.id_to_piece(i) + " 1\n")
END
python -m mixkd_plugin.tools.encode --glue "$out/glue" --task SST-2 --out "$out/data" \
    --tokenizer "sentencepiece:$out/sentencepiece.bpe.model"

train() { # NAME FLAGS...
    local name=$1
    shift
    # shellcheck disable=SC2046 # flags, to be split
    fairseq-train "$out/data" --user-dir mixkd_plugin --task mixkd_sentence_prediction --criterion mixkd \
        $(cat "$out/data/train_flags.txt") --arch mixkd_tiny --batch-size 32 --required-batch-size-multiple 1 \
        --optimizer adam --lr 2e-3 --lr-scheduler polynomial_decay --warmup-updates 60 --clip-norm 1.0 \
        --max-update 900 --total-num-update 900 --cpu --num-workers 0 --log-format simple --log-interval 100 \
        --validate-interval 1000 --save-interval 1000 --no-save-optimizer-state --save-dir "$out/$name" "$@" >"$out/$name.log" 2>&1 ||
        { tail -n 20 "$out/$name.log" && return 1; }
    sed -n 's/.*\(valid on.*\) | wps.*/  \1/p' "$out/$name.log" | tail -n 1
}
echo "== The teacher: 2 layers of 64, trained from nothing"
train teacher --encoder-embed-dim 64 --encoder-ffn-embed-dim 128 --sm-weight 0 --tmkd-weight 0 --mixup-ratio 0
echo "== The student: 2 layers of 32, MixKD"
train student --teacher-path "$out/teacher/checkpoint_last.pt"

echo "== Predictions of the student on raw text, the teacher being gone"
rm -r "$out/teacher"
python examples/sentencepiece/predict.py "$out/student" "$out/data" "$out/sentencepiece.bpe.model" \
    "the soup was not bad at all" "the soup was not good at all" "my brother called the film dull , and i agree completely"
