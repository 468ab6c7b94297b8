#!/usr/bin/env bash
# Checks and times everything CUDA on this machine's GPU: gpu_check.sh BUILD_DIR OUT_DIR [--quick] [STEP...]
# BUILD_DIR: built with -DINTAGLIO_CUDA=ON -DINTAGLIO_BUILD_BENCH=ON (it may come from another machine). Each step writes OUT_DIR/<step>.log, those that measure a .json too.
# STEP: lists, sm90a_s8_gemm, sm80_s8_gemm, quantize_rows, attention, row_ops, conv2d, verify, cancel, devices, pictures, step, map, gaps, image, bench_linear, tune, torch, sanitizer; without one, all run, whatever fails. The exit code is the number of steps that failed.
set -uo pipefail
usage="usage: gpu_check.sh BUILD_DIR OUT_DIR [--quick] [STEP...]"
build=$(cd "${1:?$usage}" && pwd)
mkdir -p "${2:?$usage}"
out=$(cd "$2" && pwd)
shift 2
quick=
if [ "${1:-}" = --quick ]; then
  quick=--quick
  shift
fi
chosen=" $* "
cd "$(dirname "$0")/.."
failed=0
wanted() { [ "$chosen" = "  " ] || [[ $chosen == *" $1 "* ]]; }
step() {
  local name=$1 limit=$2
  shift 2
  local begin=$SECONDS
  if timeout "$limit" "$@" >"$out/$name.log" 2>&1; then echo "ok      $name ($((SECONDS - begin)) s)"; else
    echo "FAILED  $name (exit $?, $((SECONDS - begin)) s): $(tail -n 1 "$out/$name.log")"
    failed=$((failed + 1))
  fi
}
nvidia-smi --query-gpu=name,driver_version,power.limit,clocks.max.sm --format=csv >"$out/card.csv"
# The ops whose tests walk their lists on every device (INTAGLIO_LIST_TESTS in CMakeLists.txt), against the reference.
wanted lists && [ -x "$build/bin/intaglio_gpu_tests" ] && step lists 300 env INTAGLIO_SOURCE_DIR="$PWD" "$build/bin/intaglio_gpu_tests"
wanted sm90a_s8_gemm && step sm90a_s8_gemm 240 "$build/bin/check_sm90a_s8_gemm" $quick --json "$out/sm90a_s8_gemm.json"
wanted sm80_s8_gemm && step sm80_s8_gemm 120 "$build/bin/check_sm80_s8_gemm" --json "$out/sm80_s8_gemm.json"
wanted quantize_rows && step quantize_rows 90 "$build/bin/check_quantize_rows" --json "$out/quantize_rows.json"
if wanted attention; then
  step attention 200 "$build/bin/check_attention" $quick --json "$out/attention.json"
  step sm80_attention 200 "$build/bin/check_sm80_attention" $quick --json "$out/sm80_attention.json"
  if python3 -c 'import torch' 2>/dev/null; then step torch_attention 60 python3 bench/cuda/torch_attention.py "$out/torch_attention.json"; fi
fi
wanted row_ops && step row_ops 100 "$build/bin/check_row_ops" --json "$out/row_ops.json"
wanted conv2d && step conv2d 150 "$build/bin/check_conv2d" --json "$out/conv2d.json"
intaglio=$build/bin/intaglio
if wanted verify && [ -x "$intaglio" ]; then
  for precision in fp32 bf16 int8 int8-dequant fp8 nf4; do
    step "verify_$precision" 60 "$intaglio" verify tests/reference/data --device cuda --precision $precision
    for model in z_image flux2_klein krea2 qwen_image; do
      step "verify_${model}_$precision" 60 "$intaglio" verify "tests/reference/$model" --device cuda --precision $precision
    done
    # Models of other shapes, against the float32 oracle.
    step "oracle_$precision" 60 tests/e2e/oracle_test.sh "$intaglio" . cuda $precision
  done
fi
wanted pictures && [ -x "$intaglio" ] && step pictures 200 scripts/check_pictures.py "$intaglio" --json "$out/pictures.json"
if wanted cancel && [ -x "$build/bin/check_cancel" ]; then
  step cancel 200 "$build/bin/check_cancel" 2048 2048 int8 --json "$out/cancel.json"
fi
if wanted devices && [ -x "$build/bin/check_devices" ] && [ "$(nvidia-smi -L | wc -l)" -gt 1 ]; then
  step devices 200 "$build/bin/check_devices" models/mini --json "$out/devices.json"
fi
if wanted step && [ -x "$intaglio" ]; then
  step step 300 "$intaglio" bench step --precision int8,bf16,fp8,int8-dequant,nf4 --json "$out/step.json" --profile "$out/trace.json"
  step step_sm80 100 env INTAGLIO_GPU_ISA=sm80 "$intaglio" bench step --precision int8 --json "$out/step_sm80.json"
fi
if wanted map && [ -x "$intaglio" ]; then
  step map 400 "$intaglio" map --json "$out/map.json"
  step map_mma 200 env INTAGLIO_GPU_ISA=sm80 "$intaglio" map --precision int8,bf16 --json "$out/map_mma.json"
fi
if wanted gaps && [ -x "$intaglio" ]; then
  cuda=$(dirname "$(dirname "$(readlink -f "$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)")")")
  if g++ -O2 -std=c++20 -fPIC -shared -I"$cuda/include" -o "$out/libkernel_gaps.so" bench/cuda/kernel_gaps.cpp -L"$cuda/lib64" -lcupti -Wl,-rpath,"$cuda/lib64"; then
    step gaps 120 env CUDA_INJECTION64_PATH="$out/libkernel_gaps.so" INTAGLIO_GAPS_JSON="$out/gaps.json" "$intaglio" bench step --precision int8
  fi
fi
if wanted image && [ -x "$intaglio" ]; then
  step image 200 "$intaglio" bench image --size 768x768,1024x1024,2048x2048 --count 1 --json "$out/image.json"
  step image_text 100 "$intaglio" bench image --text-tokens 64,2000 --count 1 --json "$out/image_text.json"
  step image_steps 100 "$intaglio" bench image --steps 4,12,24 --count 2 --json "$out/image_steps.json"
fi
if wanted bench_linear && [ -x "$build/bin/intaglio" ]; then
  step bench_linear 240 "$build/bin/intaglio" bench linear --device cuda --shapes bench/shapes/ideogram4.txt --json "$out/linear.json"
fi
if wanted tune && [ -x "$build/bin/intaglio" ]; then
  step tune 240 env XDG_CACHE_HOME="$out/cache" "$build/bin/intaglio" tune --shapes bench/shapes/ideogram4.txt --export "$out/tuned.json"
fi
if wanted torch && [ -e "$build/lib/libintaglio.so" ] && python3 -c 'import torch' 2>/dev/null; then
  step torch 240 python3 bindings/python/tests/test_torch_gpu.py --library "$build/lib/libintaglio.so" --json "$out/torch.json"
fi
if wanted sanitizer && command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck synccheck; do
    step "sanitizer_${tool}_sm80" 240 compute-sanitizer --tool $tool --error-exitcode 9 "$build/bin/check_sm80_s8_gemm" --quick --check-only
    step "sanitizer_${tool}_quantize" 240 compute-sanitizer --tool $tool --error-exitcode 9 "$build/bin/check_quantize_rows" --check-only
    step "sanitizer_${tool}_row_ops" 240 compute-sanitizer --tool $tool --error-exitcode 9 "$build/bin/check_row_ops" --check-only
    # The row ops of the lists; the other ops have their checks.
    step "sanitizer_${tool}_lists" 600 env INTAGLIO_SOURCE_DIR="$PWD" compute-sanitizer --tool $tool --error-exitcode 9 "$build/bin/intaglio_gpu_tests" \
      --gtest_filter='Norm.*:GatedResidual.*:QkNormRope.*:group_norm.*:SoftmaxRows.*:ActivateInPlace.*:EpilogueRows.*:PlaceTile.*'
    step "sanitizer_${tool}_attention" 240 compute-sanitizer --tool $tool --error-exitcode 9 "$build/bin/check_attention" --quick --check-only
    step "sanitizer_${tool}_sm80_attention" 240 compute-sanitizer --tool $tool --error-exitcode 9 "$build/bin/check_sm80_attention" --quick --check-only
    step "sanitizer_${tool}_sm90a" 240 compute-sanitizer --tool $tool --error-exitcode 9 "$build/bin/check_sm90a_s8_gemm" --quick --check-only
  done
  step sanitizer_memcheck_picture 240 compute-sanitizer --tool memcheck --error-exitcode 9 "$build/bin/intaglio" generate --model models/mini --device cuda --prompt "a red circle" --steps 2 --seed 1 --output "$out/memcheck.png"
  step sanitizer_memcheck_linear 240 compute-sanitizer --tool memcheck --error-exitcode 9 "$build/bin/intaglio" bench linear --device cuda --m 300 --n 512 --k 512 --rounds 1
fi
exit $failed
