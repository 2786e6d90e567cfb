#!/usr/bin/env bash
# RoBERTa-large to 12 layers by torchrun: run this once on every node, with the same arguments. See README.md beside this file.
#
#   NODES=4 NODE_RANK=0 MASTER_ADDR=node0 bash examples/many_gpus/torchrun.sh DATA TEACHER OUT task.num_classes=3 [KEY=VALUE...]
#
# To change: NODES (1), NODE_RANK (0), MASTER_ADDR (a name of node 0; localhost), MASTER_PORT (29500), PER_NODE (GPUs of a node; 8).
# To expect on MNLI (64 tokens on average): 6.5 GB of a GPU; 16 minutes for 10 epochs on 8 GPUs, 11 on 32. Computed, as README.md
# says; no GPU was at hand to measure.
# DRY_RUN=cpu PER_NODE=2: two processes on this machine's CPU, 4 updates.
set -euo pipefail
if [ $# -lt 3 ]; then sed -n '2,9s/^# \?//p' "$0" >&2 && exit 2; fi
exec torchrun --nnodes "${NODES:-1}" --node_rank "${NODE_RANK:-0}" --nproc_per_node "${PER_NODE:-8}" \
    --master_addr "${MASTER_ADDR:-localhost}" --master_port "${MASTER_PORT:-29500}" \
    --no-python bash "$(dirname "${BASH_SOURCE[0]}")/train.sh" "$@"
