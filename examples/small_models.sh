# shellcheck shell=bash
# To be sourced, by bash, after examples/environment.sh: steps of examples with small models, trained from nothing.

# A corpus in SST-2's layout. Models without pre-training know no word that they have not seen, so the sample's own
# training sentences are split: 6,000 for training, 500 others for validation.
make_corpus() { # OUT_DIR
    python examples/quickstart/sample.py "$1/sample" --train 6500 --dev 1
    mkdir -p "$1/glue"
    { head -n 1 "$1/sample/train.tsv" && tail -n 500 "$1/sample/train.tsv"; } >"$1/glue/dev.tsv"
    head -n 6001 "$1/sample/train.tsv" >"$1/glue/train.tsv"
}

# fairseq-train; the log is SAVE_DIR.log, and what its last validation found is printed.
train_small() { # UPDATES DATA SAVE_DIR FLAGS...
    local updates=$1 data=$2 save_dir=$3
    shift 3
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
