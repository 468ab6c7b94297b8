#!/bin/bash
# The whole run: run_all.sh RUN_DIR. Stages already finished are skipped; an interrupted stage resumes.
# VAE_MINUTES, DIT_MINUTES: wall time of the two trainings, set-up and compilation included.
# EXTRA_VAE, EXTRA_DIT, EXTRA: further options (EXTRA goes to every script; "--tiny 1" tries the code).
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
mkdir -p "$1/back"
run="$(cd "$1" && pwd)"
export PYTHONUNBUFFERED=1 TORCHINDUCTOR_CACHE_DIR="$run/inductor" OMP_NUM_THREADS=4
python="${PYTHON:-python3}"
say() { echo "[$(date +%T)] $*"; }
if [ ! -f "$run/vae.pt" ]; then
  say "autoencoder"
  "$python" "$here/train_vae.py" --out "$run" --minutes "${VAE_MINUTES:-7.5}" ${EXTRA:-} ${EXTRA_VAE:-}
fi
if [ ! -f "$run/dit.done" ]; then
  say "transformers and text encoder"
  "$python" "$here/train_dit.py" --out "$run" --minutes "${DIT_MINUTES:-16}" ${EXTRA:-} ${EXTRA_DIT:-}
  touch "$run/dit.done"
fi
say "export"
"$python" "$here/export.py" --run "$run" --out "$run/model" --parts "$run/back" ${EXTRA:-}
say "judged prompts"
"$python" "$here/sample_sets.py" --run "$run" --out "$run/sets" ${EXTRA:-} ${EXTRA_SETS:-}
for kind in words objects; do
  (cd "$run/sets" && tar cf "$run/back/sets_$kind.tar" ${kind}_*.png)
done
(cd "$run" && tar cf "$run/back/extras.tar" *.jsonl sheet_100.png vae_sheet.png)
touch "$run/all.done"
say "done"
ls -l "$run/back"
