#!/bin/bash
# The whole run: run_all.sh RUN_DIR. Stages already finished are skipped; an interrupted stage resumes.
# VAE_MINUTES, DIT_MINUTES, DECODER_MINUTES: wall time of each training, set-up and compilation included.
#   DECODER_MINUTES (default 0: not done) is a last training of the decoder alone.
# VAE_FROM=DIR: take over the autoencoder of a checkpoint folder instead of training one.
# INIT=DIR: begin text encoder and transformers with that checkpoint's weights.
# SETS=0 leaves out the judged prompts.
# EXTRA_VAE, EXTRA_DIT, EXTRA: further options (EXTRA goes to every script; "--tiny 1" tries the code).
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
mkdir -p "$1/back"
run="$(cd "$1" && pwd)"
export PYTHONUNBUFFERED=1 TORCHINDUCTOR_CACHE_DIR="$run/inductor" OMP_NUM_THREADS=4
python="${PYTHON:-python3}"
say() { echo "[$(date +%T)] $*"; }
if [ ! -f "$run/vae.pt" ]; then
  if [ -n "${VAE_FROM:-}" ]; then
    say "autoencoder taken over from $VAE_FROM"
    "$python" "$here/train_vae.py" --out "$run" --init "$VAE_FROM" --copy 1 ${EXTRA:-}
  else
    say "autoencoder"
    "$python" "$here/train_vae.py" --out "$run" --minutes "${VAE_MINUTES:-7.5}" ${EXTRA:-} ${EXTRA_VAE:-}
  fi
fi
if [ ! -f "$run/dit.done" ]; then
  say "transformers and text encoder"
  "$python" "$here/train_dit.py" --out "$run" --minutes "${DIT_MINUTES:-16}" ${INIT:+--init "$INIT"} \
    ${EXTRA:-} ${EXTRA_DIT:-}
  touch "$run/dit.done"
fi
say "export"
"$python" "$here/export.py" --run "$run" --out "$run/model" --parts "$run/back" ${EXTRA:-}
if [ "${DECODER_MINUTES:-0}" != 0 ] && [ ! -f "$run/decoder.done" ]; then
  say "decoder alone"
  "$python" "$here/train_vae.py" --out "$run" --init "$run/model" --decoder-only 1 --peak 2e-4 \
    --minutes "$DECODER_MINUTES" ${EXTRA:-} ${EXTRA_VAE:-}
  touch "$run/decoder.done"
  "$python" "$here/export.py" --run "$run" --out "$run/model" --parts "$run/back" ${EXTRA:-}
fi
if [ "${SETS:-1}" != 0 ]; then
  say "judged prompts"
  "$python" "$here/sample_sets.py" --run "$run" --out "$run/sets" ${EXTRA:-} ${EXTRA_SETS:-}
  for kind in words objects; do
    (cd "$run/sets" && tar cf "$run/back/sets_$kind.tar" ${kind}_*.png)
  done
fi
(cd "$run" && tar cf "$run/back/extras.tar" *.jsonl sheet_100.png $(ls vae_sheet.png 2>/dev/null))
touch "$run/all.done"
say "done"
ls -l "$run/back"
