"""intaglio.torch on a GPU: bit for bit against torch._int_mm and the formulas, in graphs, on streams, compiled, and Ideogram 4's blocks.

    python3 bindings/python/tests/test_torch_gpu.py --library build/lib/libintaglio.so --json result.json
    pytest bindings/python/tests/test_torch_gpu.py                              # INTAGLIO_LIBRARY set

The first form needs no pytest, runs every test, then times the blocks compiled in bf16 and in INT8 in the same process.
"""

import argparse
import json
import os
import random
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

try:
    import pytest
except ImportError:
    pytest = None
try:
    import torch

    reason = "" if torch.cuda.is_available() and hasattr(torch.library, "custom_op") else "needs PyTorch 2.4 and a GPU"
except ImportError:
    reason = "needs PyTorch"
if reason:
    if pytest is None or __name__ == "__main__":
        sys.exit(f"test_torch_gpu.py: {reason}")
    pytest.skip(reason, allow_module_level=True)

import intaglio
import intaglio.torch as it
from intaglio import _library as lib
from intaglio.torch import reference

FLOATS = (torch.bfloat16, torch.float16, torch.float32)
# (m, n, k) where tiles, pieces of 16 bytes and small kernels end; then random ones.
EDGES = [(1, 1, 1), (1, 32, 16), (17, 8, 8), (63, 96, 33), (64, 4608, 4608), (65, 33, 4607), (129, 257, 255), (300, 512, 4608)]


def shapes(count, seed):
    rng = random.Random(seed)
    return EDGES + [(rng.randint(1, 700), rng.randint(1, 700), rng.randint(1, 2000)) for _ in range(count)]


def generator(seed):
    return torch.Generator("cuda").manual_seed(seed)


def randn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=generator(seed), device="cuda").to(dtype)


def int8(*shape, seed=0):
    return torch.randint(-128, 128, shape, generator=generator(seed), device="cuda", dtype=torch.int8)


def case(m, n, k, seed):
    """int8 a with scales, int8 weight with scales, bias."""
    a_scale = randn(m, seed=seed + 2).abs() * 0.01
    return int8(m, k, seed=seed), a_scale, int8(n, k, seed=seed + 1), randn(n, 1, seed=seed + 3).abs() * 0.01, randn(n, seed=seed + 4)


def relative(found, expected):
    return float((found.double() - expected.double()).norm() / expected.double().norm().clamp_min(1e-300))


def same(found, expected, what):
    different = int((found != expected).sum())
    assert different == 0, f"{what}: {different} of {expected.numel()} differ"


def fails(error, message, call):
    try:
        call()
    except error as found:
        assert message in str(found), f"found {found!s}, expected {message!r} in it"
        return
    raise AssertionError(f"nothing was raised, expected {error.__name__}: {message}")


# ---- numbers


def test_quantize_rows_has_the_reference_bits():
    for index, (m, _, k) in enumerate(shapes(24, seed=1)):
        for dtype in FLOATS:
            wide = randn(m, k + 3, seed=index, dtype=dtype)
            x = wide[:, 1 : k + 1] if index % 2 else wide[:, :k].contiguous()
            if m > 4:
                x[0], x[1, 0], x[2, k - 1], x[3] = 0, float("nan"), float("-inf"), 1e-37 if dtype == torch.float32 else 0
            values, scale = it.quantize_rows(x)
            expected, expected_scale = reference.quantize_rows(x)
            same(values, expected, f"values of {dtype} {m} x {k}")
            assert torch.equal(scale.nan_to_num(-1), expected_scale.nan_to_num(-1)), f"scales of {dtype} {m} x {k}"


def test_sums_are_exact():
    for index, (m, n, k) in enumerate(shapes(40, seed=2)):
        a, w = int8(m, k, seed=index), int8(n, k, seed=index + 1000)
        found = it.int8_linear(a, None, w, None, None, torch.int32, False)
        same(found, reference.sums(a, w), f"sums of {m} x {n} x {k}")


def test_sums_match_int_mm():
    rng = random.Random(3)
    sizes = [(17 + rng.randrange(800), 8 * rng.randint(1, 120), 8 * rng.randint(1, 300)) for _ in range(24)]
    for index, (m, n, k) in enumerate(sizes + [(4096, 4608, 4608), (1024, 12288, 4608), (1024, 4608, 12288)]):
        a, w = int8(m, k, seed=index), int8(n, k, seed=index + 500)
        found = it.int8_linear(a, None, w, None, None, torch.int32, False)
        same(found, torch._int_mm(a, w.t()), f"sums of {m} x {n} x {k}")


def test_extremes_do_not_overflow():
    a, w = torch.full((40, 130000), -128, dtype=torch.int8, device="cuda"), torch.full((64, 130000), -128, dtype=torch.int8, device="cuda")
    found = it.int8_linear(a, None, w, None, None, torch.int32, False)
    assert found.eq(128 * 128 * 130000).all()


def test_outputs_have_the_bits_of_the_formula():
    for index, (m, n, k) in enumerate(shapes(24, seed=4)):
        a, a_scale, w, w_scale, bias = case(m, n, k, seed=10 * index)
        for with_bias in (None, bias):
            expected = reference.epilogue(reference.sums(a, w), a_scale, w_scale, with_bias, False)
            for dtype in FLOATS:
                found = it.int8_linear(a, a_scale, w, w_scale, with_bias, dtype, False)
                same(found, expected.to(dtype), f"{dtype} {m} x {n} x {k}, bias {with_bias is not None}")


def test_swiglu_is_near_float64():
    for index, (m, n, k) in enumerate(shapes(16, seed=5)):
        n = max(32, n // 32 * 32)
        a, a_scale, w, w_scale, bias = case(m, n, k, seed=10 * index)
        w_scale = w_scale * 0.01  # so that silu bends
        y = reference.sums(a, w).double() * (a_scale.double()[:, None] * w_scale.double().t()) + bias.double()
        pairs = y.reshape(m, -1, 2, 16)
        expected = (torch.nn.functional.silu(pairs[:, :, 0]) * pairs[:, :, 1]).reshape(m, -1)
        for dtype, limit in zip(FLOATS, (4e-3, 1e-3, 1e-5)):
            found = it.int8_linear(a, a_scale, w, w_scale, bias, dtype, True)
            assert relative(found, expected) < limit, f"{dtype} {m} x {n} x {k}: {relative(found, expected)}"


def test_float_input_is_quantized_as_quantize_rows_does():
    for index, (m, n, k) in enumerate(shapes(16, seed=6)):
        for dtype in FLOATS:
            x = randn(2, m, k, seed=index, dtype=dtype)
            w, w_scale = it.quantize_weight(randn(n, k, seed=index + 1))
            values, scale = it.quantize_rows(x)
            at_once = it.int8_linear(x, None, w, w_scale, None, dtype, False)
            apart = it.int8_linear(values, scale, w, w_scale, None, dtype, False)
            same(at_once, apart, f"{dtype} {m} x {n} x {k}")


def test_int8_is_near_the_float_product():
    for m, n, k in [(256, 512, 1024), (1000, 4608, 4608)]:
        x, weight = randn(m, k, seed=7), randn(n, k, seed=8) * k**-0.5
        module = it.Int8Linear(k, n, bias=False, device="cuda")
        module.weight, module.weight_scale = it.quantize_weight(weight)
        expected = x.double() @ weight.double().t()
        for dtype in FLOATS:
            assert relative(module(x.to(dtype)), expected) < 0.02


# ---- the contract


def test_the_same_bits_each_run():
    for m, n, k in [(5, 4608, 12288), (300, 1000, 3000), (1024, 4608, 4608)]:
        a, a_scale, w, w_scale, bias = case(m, n, k, seed=11)
        first = it.int8_linear(a, a_scale, w, w_scale, bias, torch.bfloat16, False)
        for _ in range(10):
            same(it.int8_linear(a, a_scale, w, w_scale, bias, torch.bfloat16, False), first, f"{m} x {n} x {k}")


def test_runs_in_a_cuda_graph():
    module = it.Int8Linear.from_linear(torch.nn.Linear(512, 256, device="cuda", dtype=torch.bfloat16))
    x = randn(100, 512, seed=12, dtype=torch.bfloat16)
    module(x)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = module(x)
    for seed in range(3):
        x.copy_(randn(100, 512, seed=seed, dtype=torch.bfloat16))
        graph.replay()
        same(out, module(x), "replayed output")


def test_runs_on_the_current_stream():
    module = it.Int8Linear.from_linear(torch.nn.Linear(512, 256, device="cuda", dtype=torch.bfloat16))
    expected = module(torch.ones(64, 512, device="cuda", dtype=torch.bfloat16))
    x = torch.zeros(64, 512, device="cuda", dtype=torch.bfloat16)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        torch.cuda._sleep(50_000_000)
        x.fill_(1)
        out = module(x)  # on another stream it would read the zeros
    torch.cuda.current_stream().wait_stream(side)
    same(out, expected, "output on a side stream")


def test_calls_do_not_synchronise_or_leak():
    module = it.Int8Linear.from_linear(torch.nn.Linear(512, 256, device="cuda", dtype=torch.bfloat16))
    x = randn(64, 512, dtype=torch.bfloat16)
    module(x)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.set_sync_debug_mode("error")
    try:
        torch.cuda._sleep(200_000_000)
        start = time.perf_counter()
        for _ in range(10):
            module(x)
        seconds = time.perf_counter() - start
        waiting = not torch.cuda.current_stream().query()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert waiting, f"ten calls waited for the GPU ({seconds:.3f} s)"
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() == before


def test_empty_inputs_give_empty_outputs():
    module = it.Int8Linear(64, 32, device="cuda")
    assert module(randn(0, 64)).shape == (0, 32)
    assert it.quantize_rows(randn(2, 0, 64))[0].shape == (2, 0, 64)


def test_errors_name_the_argument():
    x, w = randn(4, 64), int8(32, 64)
    scale = torch.ones(32, device="cuda")
    fails(ValueError, "weight: on cpu, expected cuda:0", lambda: it.int8_linear(x, None, w.cpu(), scale, None, torch.float32, False))
    fails(ValueError, "bias: torch.bfloat16", lambda: it.int8_linear(x, None, w, scale, scale.bfloat16(), torch.float32, False))
    fails(ValueError, "w: in CPU memory", lambda: intaglio.int8_linear(x, w.cpu(), x))
    out, workspace = torch.empty(4, 32, device="cuda"), torch.empty(1 << 20, dtype=torch.uint8, device="cuda")
    host = torch.zeros(4, 64).pin_memory()
    desc = lib.LinearDesc(m=4, n=32, k=64, a_type=lib.TYPE_F32, out_type=lib.TYPE_F32)
    pointers = dict(a=x.data_ptr(), w=w.data_ptr(), w_scale=scale.data_ptr(), out=out.data_ptr(), workspace=workspace.data_ptr())
    library, bytes_needed = lib.library(), lib.library().linear_workspace(desc)

    def call(**change):
        library.linear(desc, lib.LinearArgs(**{**pointers, "workspace_bytes": bytes_needed, **change}))

    call()
    for name, wrong, message in [
        ("a", host.data_ptr(), "is host memory, expected memory of CUDA device 0"),
        ("a", x.data_ptr() + 2, "expected a multiple of 4 bytes"),
        ("w", torch.zeros(32, 64, dtype=torch.int8).data_ptr(), "is host memory"),
        ("out", None, "null, expected a device pointer"),
        ("workspace", workspace.data_ptr() + 16, "expected a multiple of 256 bytes"),
        ("workspace_bytes", bytes_needed - 1, f"expected at least {bytes_needed}"),
    ]:
        fails(intaglio.InvalidArgumentError, f"args.{name}: ", lambda: call(**{name: wrong}))
        fails(intaglio.InvalidArgumentError, message, lambda: call(**{name: wrong}))
    fails(intaglio.UnsupportedError, "99", lambda: intaglio.device_check(99))


def test_arrays_of_any_framework_give_the_same_bits():
    a, a_scale, w, w_scale, bias = case(48, 96, 64, seed=13)
    for x, x_scale in ((a, a_scale), (randn(48, 64, dtype=torch.bfloat16), None)):
        out = torch.empty(48, 96, device="cuda", dtype=torch.bfloat16)
        workspace = torch.empty(intaglio.int8_linear_workspace(x, w, out), dtype=torch.uint8, device="cuda")
        intaglio.int8_linear(
            x, w, out, a_scale=x_scale, w_scale=w_scale, bias=bias, workspace=workspace, stream=torch.cuda.current_stream()
        )
        same(out, it.int8_linear(x, x_scale, w, w_scale, bias, torch.bfloat16, False), "output by DLPack")


def test_ops_pass_pytorchs_own_checks():
    a, a_scale, w, w_scale, bias = case(48, 96, 40, seed=14)
    torch.library.opcheck(it.quantize_rows, (randn(3, 16, 40, dtype=torch.bfloat16),))
    torch.library.opcheck(it.int8_linear, (a, a_scale, w, w_scale, bias, torch.bfloat16, True))
    torch.library.opcheck(it.int8_linear, (a, None, w, None, None, torch.int32, False))
    torch.library.opcheck(it.int8_linear, (randn(2, 5, 40), None, w, w_scale, None, torch.float16, False))


def test_compiles_for_changing_sizes_and_into_graphs():
    module = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.SiLU(), torch.nn.Linear(512, 256)).to("cuda", torch.bfloat16)
    it.replace_linears(module)
    for options in ({"dynamic": True}, {"mode": "reduce-overhead"}):
        torch._dynamo.reset()
        compiled = torch.compile(module, fullgraph=True, **options)
        for m in (7, 64, 129) if "dynamic" in options else (64, 64, 64, 64):
            x = randn(2, m, 256, seed=m, dtype=torch.bfloat16)
            with torch.no_grad():
                found, expected = compiled(x).clone(), module(x)
            assert relative(found, expected) < 0.01, f"{options} m {m}: {relative(found, expected)}"


def test_ideogram4_blocks():
    from gpu_benchmark import check_blocks

    layers = int(os.environ.get("INTAGLIO_TEST_LAYERS", "2"))
    check_blocks(layers, text_tokens=64, grid=(16, 16))


TESTS = [value for name, value in list(globals().items()) if name.startswith("test_")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", help="path of libintaglio.so (else INTAGLIO_LIBRARY)")
    parser.add_argument("--json", help="where to write the results; printed as well")
    parser.add_argument("--layers", type=int, default=4, help="blocks in the timing, up to 34 (default 4)")
    parser.add_argument("--text-tokens", type=int, default=256)
    parser.add_argument("--grid", type=int, nargs=2, default=(64, 64), help="image tokens, rows and columns")
    parser.add_argument("--compile-mode", default="default", help="mode of torch.compile for every variant")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", choices=("tests", "bench"), help="leave the other half out")
    options = parser.parse_args()
    if options.library:
        os.environ["INTAGLIO_LIBRARY"] = str(Path(options.library).resolve())

    from gpu_benchmark import environment, run_benchmarks

    results = {"environment": environment(), "tests": []}
    failed = 0
    for test in TESTS if options.only != "bench" else []:
        start = time.perf_counter()
        result = {"name": test.__name__, "passed": True}
        try:
            test()
            torch.cuda.synchronize()
        except Exception as error:
            failed += 1
            result.update(passed=False, error=f"{type(error).__name__}: {error}"[:2000])
            traceback.print_exc()
        result["seconds"] = round(time.perf_counter() - start, 2)
        results["tests"].append(result)
        print(f"{'passed' if result['passed'] else 'FAILED'} {test.__name__} ({result['seconds']} s)", file=sys.stderr, flush=True)
    if options.only != "tests":
        try:
            results["bench"] = run_benchmarks(options)
        except Exception as error:
            failed += 1
            results["bench"] = {"error": f"{type(error).__name__}: {error}"[:2000]}
            traceback.print_exc()
    text = json.dumps(results, indent=2)
    print(text)
    if options.json:
        Path(options.json).write_text(text + "\n")
    passed = sum(result["passed"] for result in results["tests"])
    print(f"{passed} passed, {failed} failed", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
