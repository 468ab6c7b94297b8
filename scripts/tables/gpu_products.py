"""Tables of int8 products on a GPU."""

import math

from tables.results import read, Table


def by_shape(results):
    """(shape, m, n, k) -> its entries, in the order of the file."""
    shapes = {}
    for r in results:
        shapes.setdefault((r["shape"], r["m"], r["n"], r["k"]), []).append(r)
    return shapes


def shape_name(name, m, n, k):
    return f"{name}, {m} x {n} x {k}"


kMainRows = (4096, 4608, 16384)


def own_best(tops):
    own = {c: t for c, t in tops.items() if c.startswith("sm90a") and "swiglu" not in c}
    return max(own.items(), key=lambda item: item[1])


def wgmma_table():
    head = ["linear, M x N x K", "int8, scales + bias -> bf16", "tile", "cuBLASLt int8 -> int32, no scales", "bf16", "FP8, row x column scales", "FP8, one scale", "SwiGLU fused", "product, then SwiGLU"]
    rows = []
    for shape, entries in by_shape(read("h100_sm90a_s8_gemm")["results"]).items():
        if shape[1] not in kMainRows:
            continue
        tops = {e["candidate"]: e["tops"] for e in entries}
        best, rate = own_best(tops)
        beside = [tops[f"cublaslt_{kind}"] for kind in ("s8_s32", "bf16", "fp8_rowwise", "fp8_tensorwise")]
        fused = max(t for c, t in tops.items() if c.endswith(" swiglu"))
        apart = next(t for c, t in tops.items() if c.endswith("swiglu pass"))
        rows.append([shape_name(*shape), f"**{rate:.0f}**", best.split()[1], *(f"{t:.0f} ({rate / t:.2f}x)" for t in beside), f"{fused:.0f}", f"{apart:.0f}"])
    return Table(head, rows)


def rows_table():
    """Rows that are no multiple of a tile beside the whole tiles below and above: geometric means over the four linears."""
    means = {}
    for (_, m, _, _), entries in by_shape(read("h100_sm90a_s8_gemm")["results"]).items():
        means.setdefault(m, []).append(own_best({e["candidate"]: e["tops"] for e in entries})[1])
    means = {m: math.exp(sum(map(math.log, t)) / len(t)) for m, t in means.items()}
    rows = []
    for m in (2304, 2560, 4100, 4609, 5000):
        near = [(m - 1) // 256 * 256, (m // 256 + 1) * 256]
        rows.append([f"{m}", f"{means[m]:.0f}", *(f"{r}: {means[r]:.0f} ({means[m] / means[r]:.2f}x)" for r in near)])
    return Table(["rows", "TOP/s", "whole tiles below", "whole tiles above"], rows)


def mma_table():
    rows = []
    for shape, entries in by_shape(read("h100_sm80_s8_gemm")["results"]).items():
        if shape[1] < 1024:
            continue
        best = min(entries, key=lambda e: e["median_ms"])
        work = 2e-9 * shape[1] * shape[2] * shape[3]
        rate = f"{best['tops']:.0f} ({work / best['max_ms']:.0f} to {work / best['min_ms']:.0f})"
        rows.append([shape_name(*shape), f"{best['median_ms']:.3f} ms", best["candidate"].split("/")[0], rate])
    return Table(["linear, M x N x K", "int8 by mma.sync, best", "tile", "TOP/s (least to greatest)"], rows)


def soak_table():
    data = read("h100_soak_s8_gemm")
    while_running = {}
    for sample in data["machine"]["samples"]:
        while_running.setdefault(sample["when"].removeprefix("while ").removesuffix(" runs"), []).append(sample)
    rows = []
    seen = {}
    for r in data["results"]:
        name = r["candidate"].removeprefix("soak ")
        turn = seen[name] = seen.get(name, -1) + 1
        sample = while_running[name][turn]
        each = r["tops"] * 1e12 / (sample["sm_mhz"] * 1e6 * data["machine"]["sms"])
        rows.append([shape_name(r["shape"], r["m"], r["n"], r["k"]), name, f"{r['tops']:.0f}", f"{sample['sm_mhz']}", f"{sample['power_w']:.0f}", f"{each:.0f}"])
    return Table(["linear, M x N x K", "candidate, alone for 1.5 s", "TOP/s", "MHz", "W", "operations a clock and multiprocessor"], rows, key=2)


def gpu_linear_table():
    data = read("h100_linear_ideogram4")
    names = [i["name"] for i in data["shapes"][0]["implementations"]]
    rows = []
    for shape in data["shapes"]:
        times = {i["name"]: i["median_ms"] for i in shape["implementations"]}
        own = times["gemm int8"]
        cells = [f"{times[name]:.3f} ms" + ("" if name == "gemm int8" else f" ({times[name] / own:.2f}x)") if name in times else "" for name in names]
        rows.append([shape_name(shape["name"], shape["m"], shape["n"], shape["k"]), *cells])
    return Table(["linear, M x N x K", *names], rows)
