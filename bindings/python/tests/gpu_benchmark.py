"""Times Ideogram 4's blocks and linears: bf16 against INT8, both compiled, interleaved in one process. Used by test_torch_gpu.py."""

import statistics
import subprocess

import torch
from torch.nn import functional as F

import ideogram4_block as model
import intaglio
import intaglio.torch as it


def environment():
    properties = torch.cuda.get_device_properties(0)
    return {
        "device": properties.name,
        "multiprocessors": properties.multi_processor_count,
        "driver": _smi("driver_version"),
        "sm_clock_mhz": _smi("clocks.sm"),
        "max_sm_clock_mhz": _smi("clocks.max.sm"),
        "power_limit_w": _smi("power.limit"),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "library": intaglio._lib.library().path,
        "library_version": intaglio.version(),
    }


def _smi(field):
    try:
        command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits", "--id=0"]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _relative(found, expected):
    return float((found.double() - expected.double()).norm() / expected.double().norm())


@torch.no_grad()
def check_blocks(layers, text_tokens, grid):
    """The replaced blocks compile to one graph and stay near the bf16 ones; sharing and fusing change what they may and no more."""
    inputs = model.random_inputs(text_tokens, grid)
    expected = model.random_stack(layers)(*inputs)
    outputs = {}
    for name, arguments in VARIANTS.items():
        stack = model.random_stack(layers)
        report = model.to_int8(stack, **arguments)
        assert len(report.skipped) == layers, f"{name}: {report}"
        assert len(report.replaced) == layers * (5 if arguments["fuse"] else 7), f"{name}: {report}"
        eager = stack(*inputs)
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        found = torch.compile(stack, fullgraph=True)(*inputs)
        breaks = dict(torch._dynamo.utils.counters["graph_break"])
        assert not breaks, f"{name}: graph breaks {breaks}"
        # The compiler rounds norms and rope at other places, so activations fall on other int8 steps: two draws of the same error. Each is as far from bf16
        # as the other, and they differ by less than that (independent draws would differ by 1.4 times that).
        error, compiled_error, apart = _relative(eager, expected), _relative(found, expected), _relative(found, eager)
        assert apart < error, f"{name}: compiled against eager {apart}, eager against bf16 {error}"
        assert abs(compiled_error / error - 1) < 0.1, f"{name}: compiled against bf16 {compiled_error}, eager {error}"
        assert _relative(found, expected) < 0.1, f"{name}: int8 against bf16 {_relative(found, expected)}"
        outputs[name] = eager
    assert torch.equal(outputs["int8"], outputs["int8_shared"]), "sharing an input changes its readers' bits"


# How the linears are replaced: one by one; inputs of q, k, v and of w1, w3 quantized once; w1, w3 and SwiGLU in one product besides.
VARIANTS = {
    "int8": {"share": False, "fuse": False},
    "int8_shared": {"share": True, "fuse": False},
    "int8_shared_swiglu": {"share": True, "fuse": True},
}


_FLUSH_BYTES = 256 << 20  # several times an L2 cache
_HEAD_START_CYCLES = 10_000_000  # about 5 ms


def _events_ms(call, flush):
    """GPU time of one call with a cold L2. The GPU first spins, so that Python is ahead of it when the clock starts."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    flush.zero_()
    torch.cuda._sleep(_HEAD_START_CYCLES)
    start.record()
    call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def interleaved_ms(calls, rounds, warm_up=5):
    """name -> median, min and max of `rounds` times; each round runs every call once, so that clocks drift for all alike."""
    for call in calls.values():
        for _ in range(warm_up):
            call()
    flush = torch.empty(_FLUSH_BYTES, dtype=torch.uint8, device="cuda")
    torch.cuda.synchronize()
    times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(_events_ms(call, flush))
    return {
        name: {
            "median_ms": round(statistics.median(values), 4),
            "min_ms": round(min(values), 4),
            "max_ms": round(max(values), 4),
        }
        for name, values in times.items()
    }


@torch.no_grad()
def bench_blocks(options):
    inputs = model.random_inputs(options.text_tokens, tuple(options.grid))
    torch._dynamo.reset()
    calls, outputs, memory = {}, {}, {}
    mode = {} if options.compile_mode == "default" else {"mode": options.compile_mode}
    for name in ("bf16", *VARIANTS):
        before = torch.cuda.memory_allocated()
        stack = model.random_stack(options.layers)
        if name != "bf16":
            model.to_int8(stack, **VARIANTS[name])
        memory[name] = torch.cuda.memory_allocated() - before
        compiled = torch.compile(stack, fullgraph=True, **mode)
        # Graph modes reuse their output's memory: keep a copy.
        outputs[name] = compiled(*inputs).clone()
        calls[name] = lambda compiled=compiled: compiled(*inputs)
    times = interleaved_ms(calls, options.rounds)
    for name, result in times.items():
        result["weights_mib"] = round(memory[name] / 2**20, 1)
        result["speedup_over_bf16"] = round(times["bf16"]["median_ms"] / result["median_ms"], 3)
        if name != "bf16":
            result["relative_error_to_bf16"] = _relative(outputs[name], outputs["bf16"])
    return {
        "layers": options.layers,
        "tokens": inputs[0].shape[1],
        "compile_mode": options.compile_mode,
        "rounds": options.rounds,
        "variants": times,
    }


@torch.no_grad()
def bench_linears(options):
    """One linear at a time, each call in a CUDA graph so that Python's own time stays out."""
    tokens = options.text_tokens + options.grid[0] * options.grid[1]
    results = []
    for n, k in ((model.WIDTH, model.WIDTH), (model.HIDDEN, model.WIDTH), (model.WIDTH, model.HIDDEN)):
        x = torch.randn(tokens, k, device="cuda").bfloat16()
        weight = (torch.randn(n, k, device="cuda") * k**-0.5).bfloat16()
        w, w_scale = it.quantize_weight(weight)
        shared = it.quantize_rows(x)
        graphs = {
            "bf16": _graph(lambda: F.linear(x, weight)),
            "int8_quantization_included": _graph(lambda: it.int8_linear(x, None, w, w_scale, None, x.dtype, False)),
            "int8_input_shared": _graph(lambda: it.int8_linear(*shared, w, w_scale, None, x.dtype, False)),
            "quantize_rows": _graph(lambda: it.quantize_rows(x)),
        }
        if tokens > 16:
            graphs["torch_int_mm_int32"] = _graph(lambda: torch._int_mm(shared[0], w.t()))
        times = interleaved_ms({name: graph.replay for name, graph in graphs.items()}, options.rounds)
        for name, result in times.items():
            if name != "quantize_rows":
                result["tops"] = round(2.0 * tokens * n * k / result["median_ms"] / 1e9, 1)
        results.append({"m": tokens, "n": n, "k": k, "times": times})
    return results


def _graph(call):
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph


def run_benchmarks(options):
    linears = bench_linears(options)
    torch.cuda.empty_cache()
    return {"linears": linears, "blocks": bench_blocks(options), "sm_clock_after_mhz": _smi("clocks.sm")}
