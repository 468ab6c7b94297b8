#!/usr/bin/env python3
"""Rewrites the tables of README.md, docs/kernels.md, models/mini/README.md and bindings/python/README.md from bench/results/*.json.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`. Nothing between them is typed by hand. `--check` fails if a file would change.
"""

import argparse
import glob
import json
import math
import re
import sys


def machine_name(result):
    m = result["machine"]
    return f"{m['cpu']}, {m['threads']} threads, {m['isa']}"


def load():
    results = []
    for path in sorted(glob.glob("bench/results/cpu_*.json")):
        with open(path) as file:
            results.append(json.load(file))
    return results


def having(results, part):
    return [result for result in results if part in result]


def picture_table(results):
    rows = ["| machine | precision | whole process, cold | of it sampling | peak memory |", "| --- | --- | --- | --- | --- |"]
    for result in having(results, "picture"):
        for precision, r in result["picture"]["results"].items():
            rows.append(
                f"| {machine_name(result)} | {precision} | {r['seconds_median']:.2f} s ({r['seconds_min']:.2f} to {r['seconds_max']:.2f}) "
                f"| {r['phase_ms']['denoise'] / 1000:.2f} s | {r['peak_bytes'] / 2**20:.0f} MiB |"
            )
    return rows


def block_table(results):
    rows = ["| machine | precision | median (min to max) | int8 is faster by | linears | attention | other |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for result in having(results, "block"):
        base = next(r for r in result["block"]["results"] if r["precision"] == "int8")["median_ms"]
        for r in result["block"]["results"]:
            parts = r["parts_ms"]
            total = sum(parts.values())
            other = total - parts["linear"] - parts["attention"]
            rows.append(
                f"| {machine_name(result)} | {r['precision']} | {r['median_ms']:.0f} ms ({r['min_ms']:.0f} to {r['max_ms']:.0f}) | {r['median_ms'] / base:.2f}x "
                f"| {100 * parts['linear'] / total:.0f}% | {100 * parts['attention'] / total:.0f}% | {100 * other / total:.0f}% |"
            )
    return rows


def linear_table(results):
    rows = ["| machine | M x N x K | Intaglio int8, quantization included | oneDNN s8s8s32, static scales | oneDNN bf16 | int8 against oneDNN int8 | against oneDNN bf16 |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for result in having(results, "linear"):
        for shape in result["linear"]:
            speed = {i["name"]: i["gop_per_s"] for i in shape["implementations"]}
            own, s8, bf16 = speed["linear int8"], speed["onednn s8s8s32"], speed["onednn bf16"]
            rows.append(
                f"| {machine_name(result)} | {shape['m']} x {shape['n']} x {shape['k']} | {own:.0f} GOP/s | {s8:.0f} | {bf16:.0f} | {own / s8:.2f}x | {own / bf16:.2f}x |"
            )
    return rows


def read(name):
    with open(f"bench/results/{name}.json") as file:
        return json.load(file)


def by_shape(results):
    """(shape, m, n, k) -> its entries, in the order of the file."""
    shapes = {}
    for r in results:
        shapes.setdefault((r["shape"], r["m"], r["n"], r["k"]), []).append(r)
    return shapes


kMainRows = (4096, 4608, 16384)


def own_best(tops):
    own = {c: t for c, t in tops.items() if c.startswith("sm90a") and "swiglu" not in c}
    return max(own.items(), key=lambda item: item[1])


def wgmma_table(_):
    rows = [
        "| linear, M x N x K | int8, scales + bias -> bf16 | tile | cuBLASLt int8 -> int32, no scales | bf16 | FP8, row x column scales | FP8, one scale | SwiGLU fused | product, then SwiGLU |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (name, m, n, k), entries in by_shape(read("h100_sm90a_s8_gemm")["results"]).items():
        if m not in kMainRows:
            continue
        tops = {e["candidate"]: e["tops"] for e in entries}
        best, rate = own_best(tops)
        lt = lambda kind: f"{tops['cublaslt_' + kind]:.0f} ({rate / tops['cublaslt_' + kind]:.2f}x)"
        fused = max(t for c, t in tops.items() if c.endswith(" swiglu"))
        apart = next(t for c, t in tops.items() if c.endswith("swiglu pass"))
        rows.append(
            f"| {name}, {m} x {n} x {k} | **{rate:.0f}** | {best.split()[1]} | {lt('s8_s32')} | {lt('bf16')} | {lt('fp8_rowwise')} | {lt('fp8_tensorwise')} | {fused:.0f} | {apart:.0f} |"
        )
    return rows


def rows_table(_):
    """Rows that are no multiple of a tile beside the whole tiles below and above: geometric means over the four linears."""
    means = {}
    for (_, m, _, _), entries in by_shape(read("h100_sm90a_s8_gemm")["results"]).items():
        means.setdefault(m, []).append(own_best({e["candidate"]: e["tops"] for e in entries})[1])
    means = {m: math.exp(sum(map(math.log, t)) / len(t)) for m, t in means.items()}
    table = ["| rows | TOP/s | whole tiles below | whole tiles above |", "| --- | --- | --- | --- |"]
    for m in (2304, 2560, 4100, 4609, 5000):
        near = [(m - 1) // 256 * 256, (m // 256 + 1) * 256]
        table.append(f"| {m} | {means[m]:.0f} | " + " | ".join(f"{r}: {means[r]:.0f} ({means[m] / means[r]:.2f}x)" for r in near) + " |")
    return table


def mma_table(_):
    rows = ["| linear, M x N x K | int8 by mma.sync, best | tile | TOP/s (least to greatest) |", "| --- | --- | --- | --- |"]
    for (name, m, n, k), entries in by_shape(read("h100_sm80_s8_gemm")["results"]).items():
        if m < 1024:
            continue
        best = min(entries, key=lambda e: e["median_ms"])
        work = 2e-9 * m * n * k
        rows.append(
            f"| {name}, {m} x {n} x {k} | {best['median_ms']:.3f} ms | {best['candidate'].split('/')[0]} | {best['tops']:.0f} ({work / best['max_ms']:.0f} to {work / best['min_ms']:.0f}) |"
        )
    return rows


def quantizer_table(_):
    data = read("h100_quantize_rows")
    rows = [
        f"| variant | type | rows x columns | us (least to greatest) | GB/s | share of a copy's {data['copy_1gib']['gb_s']:.0f} GB/s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for r in data["runs"]:
        if r["chosen"]:
            rows.append(
                f"| {r['variant']} | {r['type']} | {r['rows']} x {r['cols']} | {r['median_us']:.1f} ({r['min_us']:.1f} to {r['max_us']:.1f}) | {r['gb_s']:.0f} | {r['share_of_copy']:.2f} |"
            )
    return rows


def gpu_linear_table(_):
    data = read("h100_linear_ideogram4")
    names = [i["name"] for i in data["shapes"][0]["implementations"]]
    rows = ["| linear, M x N x K | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    for shape in data["shapes"]:
        ms = {i["name"]: i["median_ms"] for i in shape["implementations"]}
        own = ms["gemm int8"]
        cells = [f"{ms[name]:.3f} ms" + ("" if name == "gemm int8" else f" ({ms[name] / own:.2f}x)") if name in ms else "" for name in names]
        rows.append(f"| {shape['name']}, {shape['m']} x {shape['n']} x {shape['k']} | " + " | ".join(cells) + " |")
    return rows


def torch_table(_):
    blocks = read("h100_torch")["bench"]["blocks"]
    rows = [f"| {blocks['layers']} blocks, {blocks['tokens']} tokens, torch.compile | ms (least to greatest) | faster than bf16 by | weights |", "| --- | --- | --- | --- |"]
    for name, v in blocks["variants"].items():
        rows.append(f"| {name} | {v['median_ms']:.2f} ({v['min_ms']:.2f} to {v['max_ms']:.2f}) | {v['speedup_over_bf16']:.2f}x | {v['weights_mib']:.0f} MiB |")
    return rows


def amx_table(_):
    data = read("amx_s8_gemm")
    rows = ["| M x N x K | Intaglio int8, quantization included | oneDNN s8s8s32, static scales | oneDNN bf16 | int8 against oneDNN int8 | against oneDNN bf16 |", "| --- | --- | --- | --- | --- | --- |"]
    for shape in data["shapes"]:
        v = {x["variant"]: x for x in shape["variants"]}
        own, s8, bf16 = v["own bf16 -> bf16"], v["onednn s8 -> bf16"], v["onednn bf16 -> bf16"]
        rows.append(
            f"| {shape['m']} x {shape['n']} x {shape['k']} | {own['gops']:.0f} GOP/s | {s8['gops']:.0f} | {bf16['gops']:.0f} | {own['speedup_over_onednn_s8']:.2f}x | {own['speedup_over_onednn_bf16']:.2f}x |"
        )
    return rows


def quality_table(_):
    rows = ["| what | goal | measured |", "| --- | --- | --- |"]
    for r in read("mini_quality")["rows"]:
        wrong = "".join(f", `{word}`" for word in r.get("wrong_at_first_reading", []))
        rows.append(f"| {r['what']} | {r['goal']} | {r['measured']}{'; not ' + wrong[2:] if wrong else ''} |")
    return rows


def soak_table(_):
    data = read("h100_soak_s8_gemm")
    while_running = {s["when"].removeprefix("while ").removesuffix(" runs"): [] for s in data["machine"]["samples"]}
    for sample in data["machine"]["samples"]:
        while_running[sample["when"].removeprefix("while ").removesuffix(" runs")].append(sample)
    rows = ["| linear, M x N x K | candidate, alone for 1.5 s | TOP/s | MHz | W | operations a clock and multiprocessor |", "| --- | --- | --- | --- | --- | --- |"]
    seen = {}
    for r in data["results"]:
        name = r["candidate"].removeprefix("soak ")
        turn = seen[name] = seen.get(name, -1) + 1
        sample = while_running[name][turn]
        each = r["tops"] * 1e12 / (sample["sm_mhz"] * 1e6 * data["machine"]["sms"])
        rows.append(f"| {r['shape']}, {r['m']} x {r['n']} x {r['k']} | {name} | {r['tops']:.0f} | {sample['sm_mhz']} | {sample['power_w']:.0f} | {each:.0f} |")
    return rows


def attention_rows(name, wanted):
    """(tokens, candidate) -> its entry, of the shape with 18 heads x 256 and no mask."""
    return {(r["m"], r["candidate"]): r for r in read(name)["results"] if r["shape"].replace("18/18 x ", "18x") == "18x256" and r["m"] in wanted}


def attention_table(_):
    tokens = (4096, 4608, 6144)
    torch, own, mma = (attention_rows(n, tokens) for n in ("h100_torch_attention", "h100_attention", "h100_sm80_attention"))
    best = lambda rows, m, start: max(r["tops"] for (t, c), r in rows.items() if t == m and c.startswith(start))
    rows = [
        "| tokens | cuDNN bf16 | FlashAttention-2 bf16 | wgmma bf16 | against cuDNN | wgmma, int8 scores | against cuDNN | mma.sync bf16 | mma.sync, int8 scores | against FlashAttention-2 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for m in tokens:
        cudnn, flash = torch[m, "cudnn"]["tops"], torch[m, "flash_attention_2"]["tops"]
        bf16, s8 = best(own, m, "bf16_"), best(own, m, "s8_")
        mma_bf16, mma_s8 = best(mma, m, "sm80_bf16"), best(mma, m, "sm80_s8")
        rows.append(
            f"| {m} | {cudnn:.0f} | {flash:.0f} | **{bf16:.0f}** | {bf16 / cudnn:.2f}x | **{s8:.0f}** | {s8 / cudnn:.2f}x | {mma_bf16:.0f} | **{mma_s8:.0f}** | {mma_s8 / flash:.2f}x |"
        )
    return rows


def step_table(_):
    rows = ["| pixels | precision | with 512 text tokens | without text | kernels |", "| --- | --- | --- | --- | --- |"]
    for entry in read("h100_step")["runs"]:
        passes = {}
        for r in entry["results"]:
            precision, kind = r["pass"].rsplit(" ", 1)
            precision = precision.replace("/float-scores", ", bf16 scores").replace("/int8-scores", ", int8 scores")
            passes.setdefault(precision, {})[kind] = r
        for precision, kinds in passes.items():
            times = [f"{kinds[k]['median_ms']:.1f} ms ({kinds[k]['min_ms']:.1f} to {kinds[k]['max_ms']:.1f})" for k in ("conditional", "unconditional")]
            rows.append(f"| {entry['size']} | {precision} | {times[0]} | {times[1]} | {entry['kernels']} |")
    return rows


def step_ops_table(_):
    first = read("h100_step")["runs"][0]["profiles"][0]
    total = first["time_ms"]
    rows = ["| op | calls | ms | share | rate |", "| --- | --- | --- | --- | --- |"]
    for op in first["ops"]:
        rate = f"{op['operations'] / op['time_ms'] * 1e-9:.0f} TOP/s" if op["operations"] else f"{op['bytes'] / op['time_ms'] * 1e-6:.0f} GB/s" if op["bytes"] else ""
        rows.append(f"| {op['op']} | {op['calls']} | {op['time_ms']:.2f} | {100 * op['time_ms'] / total:.1f}% | {rate} |")
    return rows


def streaming_table(_):
    rows = ["| memory of the card | pass | layers that stream | copied a pass | time (least to greatest) | compute alone | copies alone | copies at | of the larger |", "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for run in read("h100_streaming")["runs"]:
        for r in run["results"]:
            rows.append(
                f"| {run['vram_budget_bytes'] / 2**30:.0f} GiB | {r['pass'].split()[-1]} | {r['streamed_layers']} of {run['layers']} | {r['streamed_bytes'] / 2**30:.1f} GiB | {r['median_ms']:.1f} ms ({r['min_ms']:.1f} to {r['max_ms']:.1f}) "
                f"| {r['compute_ms']:.1f} ms | {r['copy_ms']:.1f} ms | {run['host_to_device_bytes_per_second'] / 1e9:.0f} GB/s | {r['median_ms'] / r['least_ms']:.2f}x |"
            )
    return rows


def same_picture_table(_):
    data = read("h100_mini_pictures")["psnr_db"]["cuda_against_cpu"]
    return ["| precision | PSNR |", "| --- | --- |", *(f"| {precision} | {decibels:.1f} dB |" for precision, decibels in data.items())]


def image_table(_):
    rows = ["| pixels | steps | text tokens | text encoder | once a picture | sampling | VAE | PNG | whole picture | device memory, all resident |", "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for run in read("h100_image")["runs"]:
        for r in run["results"]:
            p = {name: value["median_ms"] for name, value in r["phases"].items()}
            rows.append(
                f"| {r['width']}x{r['height']} | {r['steps']} | {r['text_tokens']} | {p['text']:.1f} ms | {p['prepare']:.1f} ms | {p['sample'] / 1000:.2f} s | {p['decode']:.1f} ms "
                f"| {p['png']:.0f} ms | **{p['total'] / 1000:.2f} s** | {r['taken_bytes'] / 2**30:.1f} GiB |"
            )
    return rows


def gaps_table(_):
    rows = ["| pass, recorded | passes | kernels and copies | idle, share (least to greatest) |", "| --- | --- | --- | --- |"]
    runs = read("h100_gaps")["runs"]
    # The first pass of each kind runs as it is, the second is the first replay; the last one is profiled.
    for name, works in (("with text", 414), ("without text", 413)):
        shares = [100 * r["idle_ms"] / r["ms"] for r in runs[5:-1] if r["works"] == works]
        rows.append(f"| {name} | {len(shares)} | {works} | {min(shares):.3f}% to {max(shares):.3f}% |")
    return rows


def two_streams_table(_):
    rows = ["| pixels | how | one stream, a step | two streams | |", "| --- | --- | --- | --- | --- |"]
    for r in read("h100_two_streams")["runs"]:
        rows.append(f"| {r['size']} | {r['how']} | {r['one_ms']:.2f} ms | {r['two_ms']:.2f} ms | {r['one_ms'] / r['two_ms']:.2f}x |")
    return rows


def row_ops_table(_):
    data = read("h100_row_ops")
    rows = [f"| pass | size | us (least to greatest) | GB/s | share of a copy's {data['copy_gb_s']:.0f} GB/s |", "| --- | --- | --- | --- | --- |"]
    for r in data["runs"]:
        rows.append(f"| {r['pass']} | {r['size']} | {r['median_us']:.1f} ({r['min_us']:.1f} to {r['max_us']:.1f}) | {r['gb_s']:.0f} | {r['share_of_copy']:.2f} |")
    return rows


def conv_table(_):
    rows = ["| convolution | ms | TFLOP/s | tile |", "| --- | --- | --- | --- |"]
    for r in read("h100_conv2d")["results"]:
        if r["candidate"].startswith("sm80_conv2d/"):
            rows.append(f"| {r['shape']} | {r['median_ms']:.3f} | {r['tops']:.0f} | {r['candidate'].split('/')[-1].removeprefix('sm80_')} |")
    return rows


kTables = {
    "attention": attention_table,
    "step": step_table,
    "step_ops": step_ops_table,
    "image": image_table,
    "gaps": gaps_table,
    "two_streams": two_streams_table,
    "same_picture": same_picture_table,
    "streaming": streaming_table,
    "row_ops": row_ops_table,
    "conv": conv_table,
    "soak": soak_table,
    "picture": picture_table,
    "block": block_table,
    "linear": linear_table,
    "wgmma": wgmma_table,
    "rows": rows_table,
    "gpu_linear": gpu_linear_table,
    "torch": torch_table,
    "amx": amx_table,
    "mma": mma_table,
    "quantizers": quantizer_table,
    "quality": quality_table,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    results = load()
    stale = []
    for path in ("README.md", "docs/kernels.md", "models/mini/README.md", "bindings/python/README.md"):
        with open(path) as file:
            text = file.read()

        def fill(match):
            return f"<!-- table: {match[1]} -->\n" + "\n".join(kTables[match[1]](results)) + "\n<!-- end -->"

        fresh = re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", fill, text, flags=re.S)
        if fresh != text:
            stale.append(path)
            if not args.check:
                with open(path, "w") as file:
                    file.write(fresh)
    if args.check and stale:
        sys.exit(f"tables are out of date in {', '.join(stale)}; run make tables")


if __name__ == "__main__":
    main()
