"""Tables of processors."""

from tables.results import all_results, cpu_results, ms, read, Table


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
