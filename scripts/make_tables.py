#!/usr/bin/env python3
"""Rewrites the tables of every page from bench/results/*.json.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`, on one page only. Nothing between them is typed by hand. The first columns of a
table are its rows' key: two rows with the same key are refused, as nobody could tell which of them holds. `--check` fails if a page would change.
"""

import argparse
import glob
import json
import math
import re
import sys
from dataclasses import dataclass


@dataclass
class Table:
    head: list
    rows: list
    key: int = 1  # columns that name a row

    def text(self, name):
        seen = set()
        for row in self.rows:
            if len(row) != len(self.head):
                sys.exit(f"table {name}: {len(row)} cells under {len(self.head)} heads: {row}")
            key = tuple(row[: self.key])
            if key in seen:
                sys.exit(f"table {name}: two rows are {' / '.join(key)}; keep the newer result, or tell them apart in the key")
            seen.add(key)
        line = lambda cells: "| " + " | ".join(cells) + " |"
        return "\n".join([line(self.head), line(["---"] * len(self.head)), *map(line, self.rows)])


def read(name):
    with open(f"bench/results/{name}.json") as file:
        return json.load(file)


def all_results(pattern):
    for path in sorted(glob.glob(f"bench/results/{pattern}.json")):
        with open(path) as file:
            yield path.split("/")[-1], json.load(file)


def cpu_results(part):
    """(machine's name, that part of its result) of every CPU."""
    for name, result in all_results("cpu_*"):
        if part in result and not name.startswith("cpu_check_"):
            m = result["machine"]
            yield f"{m['cpu']}, {m['threads']} threads, {m['isa']}", result[part]


def spread(r, unit="ms", digits=1):
    values = [r[f"{what}_{unit}"] for what in ("median", "min", "max")]
    return "{} ({} to {})".format(*(f"{v:.{digits}f}" for v in values))


def ms(r, digits=1):
    return "{} ms ({} to {})".format(*(f"{r[f'{what}_ms']:.{digits}f}" for what in ("median", "min", "max")))


# ---------------------------------------------------------------- CPU


def picture_table():
    rows = []
    for machine, picture in cpu_results("picture"):
        for precision, r in picture["results"].items():
            time = f"{r['seconds_median']:.2f} s ({r['seconds_min']:.2f} to {r['seconds_max']:.2f})"
            rows.append([machine, precision, time, f"{r['phase_ms']['denoise'] / 1000:.2f} s", f"{r['peak_bytes'] / 2**20:.0f} MiB"])
    return Table(["machine", "precision", "whole process, cold", "of it sampling", "peak memory"], rows, key=2)


def block_table():
    rows = []
    for machine, block in cpu_results("block"):
        base = next(r for r in block["results"] if r["precision"] == "int8")["median_ms"]
        for r in block["results"]:
            parts = r["parts_ms"]
            total = sum(parts.values())
            other = total - parts["linear"] - parts["attention"]
            shares = [f"{100 * part / total:.0f}%" for part in (parts["linear"], parts["attention"], other)]
            rows.append([machine, r["precision"], ms(r, 0), f"{r['median_ms'] / base:.2f}x", *shares])
    return Table(["machine", "precision", "median (min to max)", "int8 is faster by", "linears", "attention", "other"], rows, key=2)


kAgainstOneDnn = ["Intaglio int8, quantization included", "oneDNN s8s8s32, static scales", "oneDNN bf16", "int8 against oneDNN int8", "against oneDNN bf16"]


def linear_table():
    rows = []
    for machine, shapes in cpu_results("linear"):
        for shape in shapes:
            speed = {i["name"]: i["gop_per_s"] for i in shape["implementations"]}
            own, s8, bf16 = speed["linear int8"], speed["onednn s8s8s32"], speed["onednn bf16"]
            size = f"{shape['m']} x {shape['n']} x {shape['k']}"
            rows.append([machine, size, f"{own:.0f} GOP/s", f"{s8:.0f}", f"{bf16:.0f}", f"{own / s8:.2f}x", f"{own / bf16:.2f}x"])
    return Table(["machine", "M x N x K", *kAgainstOneDnn], rows, key=2)


def amx_table():
    rows = []
    for shape in read("amx_s8_gemm")["shapes"]:
        v = {x["variant"]: x for x in shape["variants"]}
        own, s8, bf16 = v["own bf16 -> bf16"], v["onednn s8 -> bf16"], v["onednn bf16 -> bf16"]
        ratios = [f"{own['speedup_over_onednn_s8']:.2f}x", f"{own['speedup_over_onednn_bf16']:.2f}x"]
        rows.append([f"{shape['m']} x {shape['n']} x {shape['k']}", f"{own['gops']:.0f} GOP/s", f"{s8['gops']:.0f}", f"{bf16['gops']:.0f}", *ratios])
    return Table(["M x N x K", *kAgainstOneDnn], rows)


def cpu_levels_table():
    """Of scripts/cpu_check.sh: a step and the decoder at every level of a processor."""
    least_to_most = lambda r: f"{r['median_ms']:.0f} ms ({r['least_ms']:.0f} to {r['most_ms']:.0f})"
    rows = []
    for _, result in all_results("cpu_check_*"):
        for size, levels in result["timed"].items():
            for level, phases in levels.items():
                rows.append([result["machine"]["name"], str(result["timed_threads"]), size, level, least_to_most(phases["denoise"]), least_to_most(phases["decode"])])
    return Table(["processor", "threads", "pixels", "level", "a step", "decoder"], rows, key=4)


def cpu_sizes_table():
    """Of the same: every size through the whole pipeline at every level."""
    rows = []
    for _, result in all_results("cpu_check_*"):
        for size, pictures in result["pictures"].items():
            made = [(level, pictures[level]) for level in reversed(result["levels"]) if level in pictures]
            cells = [f"{level} {p['total_s']:.1f} s" + (f", {p['psnr_db']:.1f} dB" if "psnr_db" in p else "") for level, p in made]
            rows.append([result["machine"]["name"], str(result["threads"]), size, str(max(p["steps"] for _, p in made)), "; ".join(cells)])
    return Table(["processor", "threads", "pixels and precision", "steps", "whole process; nearness to the highest level's picture"], rows, key=3)


# ---------------------------------------------------------------- int8 products on a GPU


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


# ---------------------------------------------------------------- other kernels of a GPU


def quantizers_table():
    data = read("h100_quantize_rows")
    head = ["variant", "type", "rows x columns", "us (least to greatest)", "GB/s", f"share of a copy's {data['copy_1gib']['gb_s']:.0f} GB/s"]
    rows = [
        [r["variant"], r["type"], f"{r['rows']} x {r['cols']}", spread(r, "us"), f"{r['gb_s']:.0f}", f"{r['share_of_copy']:.2f}"]
        for r in data["runs"]
        if r["chosen"]
    ]
    return Table(head, rows, key=3)


def quantize_speed_table():
    head = ["machine", "scheme", "instructions", "s", "MB/s of source", "MB a CPU second", "`cat`, MB/s", "`write`, MB/s", "share"]
    rows = []
    for _, data in all_results("quantize_file_*"):
        machine = f"{data['cpu']}, {data['threads']} threads, load of others {data['load']}"
        for r in data["runs"]:
            rates = [f"{r['mb_s']:.0f}", f"{r['mb_cpu_s']:.0f}", f"{data['cat_mb_s']:.0f}", f"{data['write_mb_s']:.0f}"]
            rows.append([machine, r["scheme"], r["isa"], f"{r['seconds']:.2f}", *rates, f"{r['share']:.2f}"])
    return Table(head, rows, key=3)


def row_ops_table():
    data = read("h100_row_ops")
    head = ["pass", "size", "us (least to greatest)", "GB/s", f"share of a copy's {data['copy_gb_s']:.0f} GB/s"]
    return Table(head, [[r["pass"], r["size"], spread(r, "us"), f"{r['gb_s']:.0f}", f"{r['share_of_copy']:.2f}"] for r in data["runs"]], key=2)


def conv_table():
    rows = [
        [r["shape"], f"{r['median_ms']:.3f}", f"{r['tops']:.0f}", r["candidate"].split("/")[-1].removeprefix("sm80_")]
        for r in read("h100_conv2d")["results"]
        if r["candidate"].startswith("sm80_conv2d/")
    ]
    return Table(["convolution", "ms", "TFLOP/s", "tile"], rows)


def attention_rows(name, wanted):
    """(tokens, candidate) -> its entry, of the shape with 18 heads x 256 and no mask."""
    return {(r["m"], r["candidate"]): r for r in read(name)["results"] if r["shape"].replace("18/18 x ", "18x") == "18x256" and r["m"] in wanted}


def attention_table():
    tokens = (4096, 4608, 6144)
    torch, own, mma = (attention_rows(n, tokens) for n in ("h100_torch_attention", "h100_attention", "h100_sm80_attention"))
    best = lambda rows, m, start: max(r["tops"] for (t, c), r in rows.items() if t == m and c.startswith(start))
    rows = []
    for m in tokens:
        cudnn, flash = torch[m, "cudnn"]["tops"], torch[m, "flash_attention_2"]["tops"]
        bf16, s8 = best(own, m, "bf16_"), best(own, m, "s8_")
        mma_bf16, mma_s8 = best(mma, m, "sm80_bf16"), best(mma, m, "sm80_s8")
        ours = [f"**{bf16:.0f}**", f"{bf16 / cudnn:.2f}x", f"**{s8:.0f}**", f"{s8 / cudnn:.2f}x"]
        rows.append([f"{m}", f"{cudnn:.0f}", f"{flash:.0f}", *ours, f"{mma_bf16:.0f}", f"**{mma_s8:.0f}**", f"{mma_s8 / flash:.2f}x"])
    return Table(
        ["tokens", "cuDNN bf16", "FlashAttention-2 bf16", "wgmma bf16", "against cuDNN", "wgmma, int8 scores", "against cuDNN", "mma.sync bf16", "mma.sync, int8 scores", "against FlashAttention-2"],
        rows,
    )


# ---------------------------------------------------------------- passes and pictures on a GPU


def newest_passes():
    """(pixels, precision, kernels) -> (run, {"conditional": result, "unconditional": result}): of several runs the newest."""
    passes = {}
    for run in sorted(read("h100_step")["runs"], key=lambda run: run["machine"]["date"]):
        mine = {}
        for r in run["results"]:
            precision, kind = r["pass"].rsplit(" ", 1)
            precision = precision.replace("/float-scores", ", bf16 scores").replace("/int8-scores", ", int8 scores")
            mine.setdefault((run["size"], precision, run["kernels"]), {})[kind] = r
        passes |= {key: (run, kinds) for key, kinds in mine.items()}
    return passes


def measured_at(run):
    return f"{run['machine']['date'][5:16].replace('T', ' ')}, {run['commit'].removeprefix('working tree after ')}{'+' if ' ' in run['commit'] else ''}"


def step_table():
    passes = newest_passes()
    order = lambda key: (key[2] != "wgmma", [int(side) for side in key[0].split("x")], passes[key][1]["conditional"]["median_ms"])
    rows = []
    for pixels, precision, kernels in sorted(passes, key=order):
        run, kinds = passes[pixels, precision, kernels]
        rows.append([pixels, precision, kernels, *(ms(kinds[k]) for k in ("conditional", "unconditional")), measured_at(run)])
    return Table(["pixels", "precision", "kernels", "with 512 text tokens", "without text", "run: date, commit"], rows, key=3)


def step_ops_table():
    first = newest_passes()["1024x1024", "int8", "wgmma"][0]["profiles"][0]
    total = first["time_ms"]
    rows = []
    for op in first["ops"]:
        rate = f"{op['operations'] / op['time_ms'] * 1e-9:.0f} TOP/s" if op["operations"] else f"{op['bytes'] / op['time_ms'] * 1e-6:.0f} GB/s" if op["bytes"] else ""
        rows.append([op["op"], f"{op['calls']}", f"{op['time_ms']:.2f}", f"{100 * op['time_ms'] / total:.1f}%", rate])
    return Table(["op", "calls", "ms", "share", "rate"], rows)


def streaming_table():
    head = ["memory of the card", "pass", "layers that stream", "copied a pass", "time (least to greatest)", "compute alone", "copies alone", "copies at", "of the larger"]
    rows = []
    for run in read("h100_streaming")["runs"]:
        for r in run["results"]:
            layers = [f"{r['streamed_layers']} of {run['layers']}", f"{r['streamed_bytes'] / 2**30:.1f} GiB"]
            alone = [f"{r['compute_ms']:.1f} ms", f"{r['copy_ms']:.1f} ms", f"{run['host_to_device_bytes_per_second'] / 1e9:.0f} GB/s"]
            rows.append([f"{run['vram_budget_bytes'] / 2**30:.0f} GiB", r["pass"].split()[-1], *layers, ms(r), *alone, f"{r['median_ms'] / r['least_ms']:.2f}x"])
    return Table(head, rows, key=2)


def image_table():
    head = ["pixels", "steps", "text tokens", "text encoder", "once a picture", "sampling", "VAE", "PNG", "whole picture", "device memory, all resident"]
    rows = []
    for run in read("h100_image")["runs"]:
        for r in run["results"]:
            p = {name: value["median_ms"] for name, value in r["phases"].items()}
            phases = [f"{p['text']:.1f} ms", f"{p['prepare']:.1f} ms", f"{p['sample'] / 1000:.2f} s", f"{p['decode']:.1f} ms", f"{p['png']:.0f} ms"]
            rows.append([f"{r['width']}x{r['height']}", f"{r['steps']}", f"{r['text_tokens']}", *phases, f"**{p['total'] / 1000:.2f} s**", f"{r['taken_bytes'] / 2**30:.1f} GiB"])
    return Table(head, rows, key=3)


def z_image_table():
    """One pass of Z-Image beside what its products would take at the card's peak rates, and Turbo's picture of 8 steps."""
    data = read("h200_z_image")
    peak = data["peak_tops"]
    rows = []
    for result, profile, run in zip(data["step"]["results"], data["step"]["profiles"], data["images"]):
        precision = profile["precision"]
        operations = {part: sum(op["operations"] for op in profile["ops"] if op["op"].startswith(part)) for part in ("linear", "attention")}
        scores = peak["int8"] if precision == "int8" else peak["bf16"]
        floor = (operations["linear"] / peak[precision] + operations["attention"] / 2 * (1 / scores + 1 / peak["bf16"])) * 1e-9
        image = run["results"][0]
        total = image["phases"]["total"]["median_ms"]
        sampling = image["phases"]["sample"]["median_ms"]
        rows.append([precision, f"**{result['median_ms']:.1f} ms** ({result['min_ms']:.1f} to {result['max_ms']:.1f})", f"{floor:.1f} ms", f"{result['median_ms'] / floor:.2f}x",
                     f"{sampling / 1000:.2f} s", f"**{total / 1000:.2f} s**", f"{image['taken_bytes'] / 2**30:.1f} GiB"])
    return Table(["precision", "one pass, median (min to max)", "its products at the peak rate", "times that", "8 steps", "whole picture, 8 steps", "device memory, all resident"], rows)


def convrot_table():
    """A pass of int8 rows, plain and turned, beside the same pass in bf16; the runs of each model."""
    rows, turn = [], {}
    for run in read("h200_convrot")["runs"]:
        turn[run["model"]] = turn.get(run["model"], 0) + 1
        passes = {r["pass"]: r for r in run["results"]}
        quantizing = sum(op["time_ms"] for op in run["int8_ops"]["ops"] if op["op"].startswith(("quantize", "norm")))
        for text, name in (("with text", "conditional"), ("without", "unconditional")):
            int8, bf16 = passes[f"int8 {name}"], passes[f"bf16 {name}"]
            rows.append(["turned in groups of 256" if "convrot" in run["model"] else "plain", text, f"{turn[run['model']]}",
                         f"**{int8['median_ms']:.1f} ms** ({int8['min_ms']:.1f} to {int8['max_ms']:.1f})", f"{bf16['median_ms']:.1f} ms",
                         f"{bf16['median_ms'] / int8['median_ms']:.2f}x", f"{quantizing:.2f} ms" if name == "conditional" else ""])
    return Table(["int8 rows", "pass", "run", "int8, median (min to max)", "bf16", "times bf16", "norms and quantizing"], rows, key=3)


def adapters_table():
    """A pass with adapters beside all linears, what they add to the pass without, and op by op where."""
    runs = read("h200_adapters")["runs"]
    plain = {r["pass"]: r["median_ms"] for r in runs[0]["results"]}
    rows = []
    for run in runs:
        names = run.get("what") or ", ".join(f"rank {name.split(':')[1]}" for name in run.get("lora", [])) or "none"
        cells = [f"{r['median_ms']:.1f} ms" + (f" (+{100 * (r['median_ms'] / plain[r['pass']] - 1):.1f} %)" if run.get("lora") else "") for r in run["results"]]
        ops = run["profiles"][0]["ops"]
        sums = [sum(op["time_ms"] for op in ops if op["op"].startswith(begin)) for begin in ("linear", ("norm", "quantize"))]
        rows.append([names, *cells, *(f"{ms:.1f} ms" for ms in sums)])
    return Table(["adapters", "with text", "without", "with text, op by op: linears and branches", "norms and quantizing"], rows, key=1)


def loads_table():
    """`bench load` of one file: from the system's cache, from disk, and with prepared weights kept."""
    rows = []
    for run in read("h200_load")["runs"]:
        first, later, reading = (f"{run[key] / 1e3:.2f} s" for key in ("first_load_ms", "load_ms", "read_ms"))
        rows.append([run["what"], f"{run['file_bytes'] / 1e9:.1f} GB", reading, first, later, f"{run['load_over_read']:.2f}", f"{run['host_bytes_beside_weights'] / 2**30:.1f} GiB"])
    return Table(["start", "file", "reading it, one thread", "first load", "later ones, median", "times reading", "host memory beside the weights"], rows, key=1)


def convrot_protocol_table():
    """Our linear of turned int8 rows against bf16's product alone: geometric mean over model shapes (`bench linear --protocol`)."""
    data = read("h200_convrot_protocol")
    ratios = {}
    for s in data["runs"][0]["shapes"]:
        ms = {i["name"]: i.get("median_ms") for i in s["implementations"]}
        if ms.get("linear int8 convrot256") and ms.get("cublaslt bf16"):
            ratios.setdefault("4096 rows and more" if s["m"] >= 4096 else "512 rows", []).append(ms["cublaslt bf16"] / ms["linear int8 convrot256"])
    ratios["all"] = [r for some in ratios.values() for r in some]
    return Table(["rows", "shapes", "times as fast, geometric mean", "least", "most"],
                 [[rows, str(len(r)), f"**{math.exp(sum(map(math.log, r)) / len(r)):.2f}x**", f"{min(r):.2f}x", f"{max(r):.2f}x"] for rows, r in ratios.items()], key=1)


def quantize_fp8_table():
    """An FP8 file on a machine of 16 threads."""
    r = read("h200_host_quantize_fp8")
    median = sorted(r["quantize_s"])[len(r["quantize_s"]) // 2]
    return Table(["machine", "source", "convrot", "reading it by `cat`", "writing as much as the result, with fsync", "share"],
                 [[f"{r['cpu']}, {r['threads']} threads, {r['isa']}", f"FP8, {r['file_mb'] / 1e3:.1f} GB", f"{median:.2f} s", f"{sorted(r['cat_s'])[1]:.2f} s", f"{sorted(r['write_s'])[1]:.2f} s", f"{r['share']:.2f}"]], key=1)


def same_picture_table():
    data = read("h100_mini_pictures")["psnr_db"]["cuda_against_cpu"]
    return Table(["precision", "PSNR"], [[precision, f"{decibels:.1f} dB"] for precision, decibels in data.items()])


def gaps_table():
    rows = []
    runs = read("h100_gaps")["runs"]
    # The first pass of each kind runs as it is, the second is the first replay; the last one is profiled.
    for name, works in (("with text", 414), ("without text", 413)):
        shares = [100 * r["idle_ms"] / r["ms"] for r in runs[5:-1] if r["works"] == works]
        rows.append([name, f"{len(shares)}", f"{works}", f"{min(shares):.3f}% to {max(shares):.3f}%"])
    return Table(["pass, recorded", "passes", "kernels and copies", "idle, share (least to greatest)"], rows)


def two_streams_table():
    rows = [[r["size"], r["how"], f"{r['one_ms']:.2f} ms", f"{r['two_ms']:.2f} ms", f"{r['one_ms'] / r['two_ms']:.2f}x"] for r in read("h100_two_streams")["runs"]]
    return Table(["pixels", "how", "one stream, a step", "two streams", ""], rows, key=2)


def stops_table():
    data = read("h100_cancel")
    rows = [[m["moment"], f"{1000 * m['returned_s']:.1f} ms", f"{1000 * m['drained_s']:.1f} ms"] for m in data["moments"]]
    return Table([f"{data['width']}x{data['height']}, {data['precision']}, stopped while or in", "returns after", "the card is idle after"], rows)


def verified_table():
    """Cases passed of each set at each precision, and the largest error as a share of its tolerance."""
    sets, precisions = {}, []
    for r in read("h100_verify")["sets"]:
        share = max(s["largest_error"] / s["tolerance"] for s in r["stages"].values() if s["tolerance"] > 0)
        sets.setdefault(r["set"], {})[r["precision"]] = f"{r['passed']} of {r['passed'] + r['failed']} ({share:.2f})"
        precisions += [r["precision"]] if r["precision"] not in precisions else []
    return Table(["set", *precisions], [[f"`{name}`", *(cells.get(p, "") for p in precisions)] for name, cells in sets.items()])


def mutants_table():
    """Planted faults by layer, and how many a test caught."""
    layers = {}
    for r in read("mutants")["results"]:
        counts = layers.setdefault(r["layer"], [0, 0, 0])
        counts[0] += 1
        counts[1] += r["caught"]
        counts[2] += r.get("stage") == "own"
    layers["all"] = [sum(c) for c in zip(*layers.values())]
    return Table(["layer", "planted", "caught", "by the tests named beside the fault"], [[layer, *map(str, counts)] for layer, counts in layers.items()])


def torch_table():
    blocks = read("h100_torch")["bench"]["blocks"]
    rows = [[name, spread(v, digits=2), f"{v['speedup_over_bf16']:.2f}x", f"{v['weights_mib']:.0f} MiB"] for name, v in blocks["variants"].items()]
    return Table([f"{blocks['layers']} blocks, {blocks['tokens']} tokens, torch.compile", "ms (least to greatest)", "faster than bf16 by", "weights"], rows)


# ---------------------------------------------------------------- what results lack


def walk(value):
    """Every object inside a result."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(item)


def lacks(data, of_gpu):
    """What a reader needs to repeat a result, or to trust it, and does not find in its file."""
    objects = list(walk(data))
    has = lambda *names: any(name in o for o in objects for name in names)
    missing = [] if has("card", "gpu", "device", "name", "cpu") else ["card or CPU"]
    if of_gpu and not has("driver"):
        missing.append("driver")
    if not has("date"):
        missing.append("date")
    if not has("command", "psnr_command"):
        missing.append("command")
    commits = [o[name] for o in objects for name in ("commit", "weights_commit") if name in o]
    if not commits:
        missing.append("commit")
    elif any(" " in commit for commit in commits):
        missing.append("exact commit: a working tree after " + ", ".join(sorted({c.split()[-1] for c in commits if " " in c})))
    timed = [o for o in objects if any(name.startswith(("min_", "max_", "least_")) or name.endswith(("_min", "_max")) for name in o)]
    alone = [o for o in timed if "min_ms" in o and o["min_ms"] == o.get("max_ms")]
    is_timed = any(re.search(r"(_ms|_us|_s|_seconds|tops)$", name) for o in objects for name in o)
    if is_timed and not timed:
        missing.append("spread")
    elif alone:
        missing.append(f"spread of {len(alone)} of {len(timed)} times, each taken once")
    return missing


def lacking_table():
    rows = []
    for name, result in all_results("*"):
        missing = lacks(result, of_gpu=name.startswith(("h100", "h200", "map_h")))
        if missing:
            rows.append([f"`{name}`", "; ".join(missing)])
    return Table(["result", "does not say"], rows)


# ---------------------------------------------------------------- the bundled model, README


def quality_table():
    rows = []
    for r in read("mini_quality")["rows"]:
        wrong = "".join(f", `{word}`" for word in r.get("wrong_at_first_reading", []))
        rows.append([r["what"], r["goal"], f"{r['measured']}{'; not ' + wrong[2:] if wrong else ''}"])
    return Table(["what", "goal", "measured"], rows)


def mini_model_table():
    """What the bundled model is and how it was made: training/describe.py."""
    r = read("mini_model")
    s = r["sizes"]
    network = lambda c: f"{c['width']} wide, {c['heads']} x {c['head']} heads, {c['layers']} layers, FFN {c['ffn']}, AdaLN {c['adaln']}"
    slashed = lambda values: "/".join(map(str, values))
    text, vae = s["text_encoder"], s["vae"]
    parts = (f"conditional transformer ({network(s['conditional'])}), unconditional transformer ({network(s['unconditional'])}), text encoder of Qwen3 type ({text['width']} wide, "
             f"{text['layers']} layers, all tapped), FLUX.2-type VAE ({vae['latent_channels']} latent channels, encoder {slashed(vae['encoder'])}, decoder {slashed(vae['decoder'])}), "
             f"own byte-level BPE of {text['tokens']:,} tokens")
    made = "; ".join(f"{m['what']}: {m['minutes']:g} minutes on {m['device']}" + (f", {m['steps']:,} steps of {m['batch']}" if m["steps"] else "") for m in r["made"])
    rows = [["parts", parts], ["size", f"{s['weight_bytes']:,} bytes of bf16 safetensors"], ["objects", str(s["objects"])],
            ["defaults", f"{s['size'][0]} x {s['size'][1]}, {s['steps']} steps, guidance {s['guidance']:g}"], ["made by", f"`training/`: {made}"]]
    return Table(["what", "is"], rows)


kJudgedSets = {"words": ("a word alone, exact, Tesseract", 90), "objects": ("one object, nearest of all drawings of its style", 95),
               "beside": ("a word and an object, both right", 80), "colors": ("an object in a colour", None), "places": ("an object at a place", None),
               "counts": ("two to four of one kind", None)}


def judged_table():
    """Of training/judge.py: prompts in phrasings that the training never saw."""
    rows = []
    for name, one in read("mini_judged")["sets"].items():
        what, goal = kJudgedSets[name]
        percent = lambda key: f"{100 * one[key]:.1f}"
        rows.append([what, f"{goal} %" if goal else "", f"{percent('share')} % ({percent('low')} to {percent('high')})", str(one["of"])])
    return Table(["free phrasing", "goal", "right", "prompts"], rows)


kLinearErrorGoal = 0.009


def schemes_table():
    """Errors of the bundled model's int8 linears, by scheme of `intaglio quantize`."""
    rows = []
    for r in read("mini_schemes")["results"]:
        worst = " + ".join(r["worst_linear"])
        rows.append([r["part"], f"`{r['scheme']}`", f"{r['mean']:.4f}", "yes" if r["mean"] <= kLinearErrorGoal else "no", f"{r['worst']:.4f} ({worst})", f"{r['velocity_error']:.4f}"])
    return Table(["part", "scheme", "mean error", f"at most {kLinearErrorGoal}", "worst", "expected of the velocity"], rows, key=2)


def mini_evals():
    """(machine, result) of scripts/eval_mini.py."""
    for name, r in all_results("mini_eval_*"):
        yield name.removeprefix("mini_eval_").removesuffix(".json").upper(), r


def mean_of(interval, digits, scale=1):
    if not interval:
        return ""
    return "{:.{d}f} ({:.{d}f} to {:.{d}f})".format(*(interval[key] * scale for key in ("mean", "low", "high")), d=digits)


def eval_pictures_table():
    """What the bundled model's arithmetic and files cost, against fp32's pictures."""
    rows = []
    for machine, r in mini_evals():
        for c in r["candidates"]:
            if is_masked(c):
                continue
            size = f"{c['about']['file_bytes'] / 1e6:.0f} MB"
            rows.append([machine, f"`{c['name']}`", str(c["pictures"]), size, mean_of(c.get("speedup"), 2), mean_of(c.get("velocity"), 3), mean_of(c["latents"], 3), mean_of(c["psnr"], 1),
                         mean_of(c["ssim"], 4), mean_of(c["ms_ssim"], 4)])
    return Table(["on", "variant", "pictures", "files", "times as fast", "velocity error", "latents' error", "PSNR, dB", "SSIM", "MS-SSIM"], rows, key=2)


def is_masked(candidate):
    return "cache" in candidate["about"]


def masked_pictures_table():
    """Step masks of the bundled model, and fewer steps of as many passes."""
    rows, held = [], any("baseline" in c for _, r in mini_evals() for c in r["candidates"])
    for machine, r in mini_evals():
        steps = {c["about"]["steps"] for c in r["candidates"]}
        if not any(map(is_masked, r["candidates"])):
            continue
        for c in r["candidates"]:
            if not is_masked(c) and c["about"]["steps"] == max(steps) and c["name"] not in ("bf16", "row"):
                continue
            judged = [mean_of(c["judged"][judge]["right_difference"], 1, 100) if judge in c.get("judged", {}) else "" for judge in ("tesseract", "ppocr", "objects")]
            less = [mean_of(c.get("baseline", {}).get("psnr"), 1)] if held else []
            rows.append([machine, f"`{c['name']}`", str(c["pictures"]), mean_of(c.get("speedup"), 2), mean_of(c["latents"], 3), mean_of(c["psnr"], 1), *less, mean_of(c["ssim"], 4), *judged])
    return Table(["on", "variant", "pictures", "times as fast as fp32", "latents' error", "PSNR, dB", *(["less plain steps'"] if held else []), "SSIM",
                  "words, Tesseract, against fp32, points", "words, PP-OCRv4", "objects"], rows, key=2)


def modelled_masks():
    """Seconds of the steps on an RTX 3090 by mask: the table that tests/unit/ops/cuda/modelled_3090_test.cpp makes."""
    with open("docs/modelled-3090.md") as file:
        table = file.read().split("| mask | passes with text |", 1)[1].split("\n\n", 1)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {mask: seconds for mask, _, _, seconds in rows}


def progressive_pictures_table():
    """First steps of the bundled model at half size, and fewer steps at full size."""
    rows = []
    for name, r in all_results("mini_progressive_*"):
        machine = name.removeprefix("mini_progressive_").removesuffix(".json").upper()
        for c in r["candidates"]:
            half = int(c["about"].get("progressive", 0))
            cost = c["about"]["steps"] - half * (1 - r["half_step_share"])
            judged = [mean_of(c["judged"][judge]["right_difference"], 1, 100) if judge in c.get("judged", {}) else "" for judge in ("tesseract", "objects")]
            rows.append([machine, f"{half} of {c['about']['steps']}", f"{cost:.1f}", str(c["pictures"]), mean_of(c["latents"], 3), mean_of(c["psnr"], 1), mean_of(c["ssim"], 4), *judged])
    head = ["on", "steps at half size", "time, in full-size steps", "pictures", "latents' error", "PSNR, dB", "SSIM", "words, Tesseract, against all steps, points", "objects"]
    return Table(head, rows, key=2)


def masked_times_table():
    rows, modelled = [], modelled_masks()
    for _, r in all_results("*_step_masks"):
        for one in r["masks"]:
            rows.append([r["card"], one["mask"], f"{one['share']:.0%}", f"{one['denoise_s']['median']:.2f} s", f"{one['picture_s']['median']:.2f} s", modelled[one["mask"]]])
    return Table(["card", "mask", "passes", "steps", "picture", "steps on an RTX 3090, modelled"], rows, key=2)


def eval_judges_table():
    """What judges read and saw in the same pictures."""
    rows = []
    for machine, r in mini_evals():
        for c in [r["source"], *r["candidates"]]:
            if "judged" not in c or c is not r["source"] and is_masked(c):
                continue
            cells = []
            for judge in ("tesseract", "ppocr", "objects"):
                j = c.get("judged", {}).get(judge)
                cells.append(mean_of(j["right"], 1, 100) if j else "")
                cells.append("" if not j or c is r["source"] else mean_of(j["right_difference"], 1, 100))
            rows.append([machine, f"`{c['name']}`", *cells])
    return Table(["on", "variant", "words, Tesseract, %", "against fp32", "words, PP-OCRv4, %", "against fp32", "objects, %", "against fp32"], rows, key=2)


def server_cost_table():
    """What a server and its previews add to a picture."""
    rows = []
    for _, r in all_results("server_cost"):
        percent = lambda interval: "{:+.1f} % ({:+.1f} to {:+.1f})".format(*(100 * (interval[key] - 1) for key in ("median", "low", "high")))
        rows.append([f"{r['size'].replace('x', ' x ')}, {r['rounds']} rounds of {r['pictures_each']}", f"{1000 * r['command_s']['median']:.0f} ms", percent(r["job_to_command"]),
                     f"{r['previews']}: {percent(r['previews_to_none'])}", percent(r["previews_to_none_sampling"])])
    return Table(["pictures", "by `generate`", "by a job", "previews a picture", "of its sampling"], rows)


def server_load_table():
    rows = []
    for _, r in [*all_results("server_kills_*"), *all_results("server_faults_*"), *all_results("server_load")]:
        machines = f", {r['servers']} servers, {r['workers']} workers" if r["queue"].startswith("Redis") else ""
        kinds = [(r["kills"], "{} kills"), (r["redis_dropped"], "Redis lost {} times"), (r.get("clock_jumps"), "{} jumps of clocks"), (r.get("disk_full"), "disk full {} times")]
        faults = ", ".join(text.format(count) for count, text in kinds if count) or "none"
        ended = ", ".join(f"{n} {state}" for state, n in sorted(r["ended"].items()))
        health = f"{r['healthz_ms']['p99']:.1f} ms" if "healthz_ms" in r else ""
        rows.append([r["queue"] + machines, f"{r['clients']} clients, {r['seconds']:.0f} s", faults, str(r["accepted"]), ended, str(len(r["problems"])),
                     f"{r['restart_s']['median']:.2f} s" if "median" in r["restart_s"] else "", f"{r['restart_s']['most']:.2f} s", health])
    return Table(["kept in", "load", "faults", "accepted", "ended as", "lost, doubled, broken", "start, median", "slowest start", "`/healthz`, 99 of 100"], rows, key=3)


def loaders_table():
    """Of scripts/check_loaders.py: what other programs load of files of `intaglio quantize`."""
    rows = []
    for r in read("loaders")["files"]:
        same = "yes" if r["same"] and not r["complaints"] else "no"
        verified = f"{r['verify_passed']} of {r['verify_passed'] + r['verify_failed']}"
        rows.append([r["loader"], r["model"], r["scheme"], str(r["linears"]), same, f"{r['weight']:.0e}", f"{r['product']:.0e}", f"{r['adapter']:.4f}" if "adapter" in r else "", verified])
    return Table(["loader", "model", "scheme", "int8 linears", "all the same", "weights differ by", "int8 products by", "merged adapter off by", "`verify`"], rows, key=3)


def checkouts_table():
    """What that was run with."""
    result = read("loaders")
    rows = [[c["name"], c["version"], c["commit"][:12]] for c in result["checkouts"]]
    return Table(["program", "version", "commit"], [*rows, ["PyTorch", result["torch"] + (", with stand-ins" if result["stand_ins"] else ""), ""]])


def vocabulary_table():
    """What the bundled model can draw, for its card."""
    with open("models/mini/vocabulary.json") as file:
        sections = json.load(file)["sections"]
    text = lambda values: ("; " if any("," in value for value in values) else ", ").join(values)
    return Table(["what", "words"], [[s["title"], text(s["values"])] for s in sections if not s["title"].startswith("examples")])


def headline_table():
    """The one table of README: int8 beside what people run today. A ratio is of times of one run."""
    beside = lambda int8, other, digits=0: f"{other:.{digits}f} ms ({other / int8:.2f}x)"
    passes = newest_passes()

    def step(precision):
        run, kinds = passes["1024x1024", precision, "wgmma"]
        int8 = next(r["median_ms"] for r in run["results"] if r["pass"] == "int8 conditional")
        return beside(int8, kinds["conditional"]["median_ms"])

    int8 = passes["1024x1024", "int8", "wgmma"][1]["conditional"]["median_ms"]
    rows = [["H100: one pass of the 9.3 G transformer, 1024x1024, 512 text tokens", f"**{int8:.0f} ms**", step("bf16"), step("int8-dequant")]]
    blocks = read("h100_torch")["bench"]["blocks"]
    own, torch = (blocks["variants"][v]["median_ms"] for v in ("int8_shared_swiglu", "bf16"))
    rows.append([f"H100: {blocks['layers']} of its 34 blocks in PyTorch, `torch.compile`, {blocks['tokens']} tokens", f"**{own:.1f} ms**", beside(own, torch, 1), ""])
    image = next(r for run in read("h100_image")["runs"] for r in run["results"] if (r["width"], r["steps"], r["text_tokens"]) == (1024, 48, 512))
    rows.append(["H100: a picture, 1024x1024, 48 steps, prompt to PNG", f"**{image['phases']['total']['median_ms'] / 1000:.1f} s**", "", ""])
    for machine, block in cpu_results("block"):
        times = {r["precision"]: r["median_ms"] for r in block["results"]}
        rows.append([f"{machine}: one block, 1024 tokens", f"**{times['int8']:.0f} ms**", *(beside(times["int8"], times[p]) for p in ("bf16", "int8-dequant"))])
    return Table(["", "Intaglio int8", "bf16", "int8 weights widened to bf16"], rows)


def server_abuse_table():
    """What was thrown at the server, and what it cost others."""
    if not glob.glob("bench/results/server_abuse.json"):
        return Table(["", "sent", "answered", "crashes, reports, leaks"], [])
    r = read("server_abuse")
    fuzz, idle, slow = r["fuzz"], r["connections"]["idle"], r["connections"]["slow"]
    answers = ", ".join(f"{count:,} {name}" for name, count in fuzz["answers"].items())
    bad = lambda part: str(part["crashes"] + part["sanitizer_reports"])
    rows = [[f"garbled HTTP, {fuzz['seconds']:.0f} s, ASan and UBSan", f"{fuzz['requests']:,} requests on {fuzz['connections']:,} connections", answers, bad(fuzz)]]
    for t in r["targets"]:
        rows.append([f"`fuzz_{t['target']}`, {t['seconds']} s, ASan and UBSan", f"{t['inputs']:,} inputs", f"{t['edges']:,} edges", str(t["crashes"])])
    for t in r.get("thread_sanitizer", []):
        rows.append([f"{t['what']}, ThreadSanitizer", t["sent"], t["answered"], str(t["reports"])])
    health = lambda part: f"/healthz p50 {part['healthz']['p50_ms']:.1f} ms, p99 {part['healthz']['p99_ms']:.1f} ms"
    alone = health({"healthz": r["connections"]["alone"]})
    rows.append(["nothing beside", "", alone, ""])
    rows.append([f"{idle['connections']:,} idle connections", f"{idle['bytes_a_connection'] / 1000:.0f} kB each", health(idle), "0"])
    rows.append([f"{slow['connections']:,} that trickle headers", f"all closed after {slow['all_closed_s']:.0f} s", health(slow), "0"])
    return Table(["", "sent, held", "answered", "crashes, reports"], rows)


kPages = ("README.md", "docs/**/*.md", "models/*/README.md", "bindings/*/README.md")
kTables = {name.removesuffix("_table"): make for name, make in list(globals().items()) if name.endswith("_table")}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    pages = sorted(path for pattern in kPages for path in glob.glob(pattern, recursive=True))
    stale, home = [], {}
    for path in pages:
        with open(path) as file:
            text = file.read()

        def fill(match):
            name = match[1]
            if name not in kTables:
                sys.exit(f"{path}: there is no table {name}")
            if name in home:
                sys.exit(f"table {name} stands in {home[name]} and in {path}; link to one of them")
            home[name] = path
            return f"<!-- table: {name} -->\n{kTables[name]().text(name)}\n<!-- end -->"

        fresh = re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", fill, text, flags=re.S)
        if fresh != text:
            stale.append(path)
            if not args.check:
                with open(path, "w") as file:
                    file.write(fresh)
    # A table of results that nobody stored yet needs no page.
    if unused := sorted(name for name in kTables.keys() - home.keys() if kTables[name]().rows):
        sys.exit(f"no page shows {', '.join(unused)}")
    if args.check and stale:
        sys.exit(f"tables are out of date in {', '.join(stale)}; run make tables")


if __name__ == "__main__":
    main()
