#!/bin/bash
# Several processes, one training, under torchrun, on every machine: HEAD=machine-0 NODES=2 examples/cluster/torchrun.sh CONFIG RUN_FOLDER
set -euo pipefail
exec torchrun --no-python --nnodes "$NODES" --nproc-per-node "${GPUS:-8}" --max-restarts 3 \
  --rdzv-backend c10d --rdzv-endpoint "$HEAD:29500" \
  dit-moe-trainer train "$1" --out "$2" --resume
