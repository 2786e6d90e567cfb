#!/usr/bin/env bash
# RoBERTa-large to 12 layers, a sweep of it if you like, by hydra's submitit launcher: run it where sbatch is. See README.md beside this.
#
#   NODES=4 bash examples/many_gpus/submitit.sh DATA TEACHER OUT task.num_classes=3 [KEY=VALUE[,VALUE...]...]
#
# To change: NODES (1), PER_NODE (GPUs of a node; 8), PORT (300: job n listens on 300n), and hydra.launcher.partition=NAME and the like.
# To expect on MNLI (64 tokens on average): 6.5 GB of a GPU; 16 minutes for 10 epochs on 8 GPUs, 11 on 32. Computed, as README.md
# says; no GPU was at hand to measure.
# DRY_RUN=cpu PER_NODE=2: two processes on this machine's CPU, 4 updates, without Slurm.
set -euo pipefail
if [ $# -lt 3 ]; then sed -n '2,9s/^# \?//p' "$0" >&2 && exit 2; fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
data=$1 teacher=$2 out=$3 nodes=${NODES:-1} per_node=${PER_NODE:-8}
shift 3

run=(
    common.user_dir="'$root/mixkd_plugin'" task.data="'$data'" task.teacher_path="'$teacher'" hydra.sweep.dir="'$out'"
    hydra.launcher.nodes="$nodes" hydra.launcher.tasks_per_node="$per_node" hydra.launcher.gpus_per_node="$per_node"
    hydra.launcher.cpus_per_task=4 hydra.launcher.mem_gb=64 hydra.launcher.timeout_min=120
    # composed on this machine, whose GPUs are not those of the run: without it, world size 1
    distributed_training.distributed_world_size=$((nodes * per_node))
)
port="${PORT:-300}\${hydra:job.num}" # jobs of a sweep may share a host
export SLURM_KILL_BAD_EXIT=1 # --kill-on-bad-exit of the srun that submitit calls
if [ -z "${DRY_RUN:-}" ]; then # with a port, fairseq asks Slurm for the rest
    run+=(hydra/launcher=submitit_slurm hydra.launcher.max_num_timeout=10 "distributed_training.distributed_port=$port")
else
    run+=(hydra/launcher=submitit_local "+dry_run=$DRY_RUN" distributed_training.distributed_no_spawn=true
        "distributed_training.distributed_init_method=tcp://localhost:$port"
        "distributed_training.distributed_rank=\${oc.env:SUBMITIT_LOCAL_GLOBALID}")
fi
exec fairseq-hydra-train --config-dir "$root/examples/hydra" --config-name distil_roberta_large --multirun "${run[@]}" "$@"
