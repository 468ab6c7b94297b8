#!/bin/bash
# The whole run: run_all.sh RUN_DIR. Stages already finished are skipped; an interrupted stage resumes.
# PIECES=N: the transformers' training takes N calls of this command, DIT_MINUTES each; call it N times.
# CARRY=DIR: go on from DIR, a copy of RUN_DIR/back of an earlier call (on another machine, say), where
#   RUN_DIR holds no state of its own.
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
if [ -n "${CARRY:-}" ] && [ ! -f "$run/dit_state.pt" ]; then
  mkdir -p "$run/carried"
  cat "$CARRY"/part_a? | tar x -C "$run/carried"
  cp "$CARRY/progress.json" "$run/"
  INIT="$run/carried" VAE_FROM="$run/carried"
fi
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
  "$python" "$here/train_dit.py" --out "$run" --minutes "${DIT_MINUTES:-16}" --pieces "${PIECES:-1}" \
    ${INIT:+--init "$INIT"} ${EXTRA:-} ${EXTRA_DIT:-}
  if [ ! -f "$run/dit.done" ]; then
    say "a piece is done: $(cat "$run/progress.json"). Call again for the next; $run/back is what a CARRY takes"
    (cd "$run" && tar cf back/extras.tar ./*.jsonl sheet_*.png)
    exit 0
  fi
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
