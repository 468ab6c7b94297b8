#!/bin/bash
# train_short.sh RUN_DIR SECONDS INIT: a training of SECONDS in all, set-up included, on the GPUS of the two roles. See train_short.py.
set -eu
here="$(cd "$(dirname "$0")" && pwd)"
mkdir -p "$1"
python="${PYTHON:-python3}"
export PYTHONUNBUFFERED=1 OMP_NUM_THREADS=4
scenes="${SCENES:-/dev/shm/scenes}"
rm -rf "$scenes" "$1/alone.pt"
read -r joint alone <<< "${GPUS:-0 1}"
end=$(($(date +%s) + $2))
CUDA_VISIBLE_DEVICES=$alone "$python" "$here/train_short.py" --role alone --out "$1" --init "$3" --until $((end - 5)) --scenes "$scenes" ${EXTRA:-} > "$1/alone.log" 2>&1 &
CUDA_VISIBLE_DEVICES=$joint "$python" "$here/train_short.py" --role joint --out "$1" --init "$3" --until $end --scenes "$scenes" ${EXTRA:-} > "$1/joint.log" 2>&1 || true
wait || true
tail -n 4 "$1/joint.log" "$1/alone.log"
