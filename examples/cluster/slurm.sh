#!/bin/bash
# Several processes, one training, under Slurm: sbatch examples/cluster/slurm.sh CONFIG RUN_FOLDER
#SBATCH --job-name=dit-moe
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
# Two minutes before its time is up every rank gets SIGUSR1: all save after the same step and end with code 75.
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail

# All GPUs of a machine stay visible to each of its ranks, which takes one by its local rank: no --gpus-per-task and no --gpu-bind.
# A rank that fails ends the step; --resume starts at step 0 where nothing is saved yet.
srun --kill-on-bad-exit=1 dit-moe-trainer train "$1" --out "$2" --resume
code=$?
# Interrupted and saved (75), or a machine is gone (9): go on in the next allocation. Everything else is for people to look at.
if [ "$code" -eq 75 ] || [ "$code" -eq 9 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
