#!/usr/bin/env bash
# One process of a run on many GPUs; torchrun.sh and slurm.sbatch start one a GPU. See README.md beside this file.
# usage: train.sh DATA TEACHER OUT [KEY=VALUE...]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
data=$1 teacher=$2 out=$3
shift 3

rank=${RANK:-$SLURM_PROCID}
run=(
    common.user_dir="'$root/mixkd_plugin'" task.data="'$data'" task.teacher_path="'$teacher'" hydra.run.dir="'$out'"
    # All that fairseq would infer, told to it: it takes world size 1, the default where it sees one GPU or none, for
    # no other process, and on a CPU its inference divides by zero GPUs.
    distributed_training.distributed_init_method=env:// # MASTER_ADDR and MASTER_PORT
    distributed_training.distributed_no_spawn=true
    distributed_training.distributed_world_size="${WORLD_SIZE:-$SLURM_NTASKS}"
    distributed_training.distributed_rank="$rank"
    distributed_training.device_id="${LOCAL_RANK:-$SLURM_LOCALID}"
)
if [ "$rank" != 0 ]; then run+=(hydra.output_subdir=null); fi # the first process alone writes .hydra
if [ -n "${DRY_RUN:-}" ]; then run+=("+dry_run=$DRY_RUN"); fi
# fairseq-hydra-train, but the plugin is imported before the processes meet: they wait for each other for
# task.rendezvous_timeout seconds, and not for torch's half an hour.
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
exec python -c 'import mixkd_plugin; from fairseq_cli.hydra_train import cli_main; cli_main()' --config-dir "$root/examples/hydra" --config-name distil_roberta_large "${run[@]}" "$@"
