"""Tables of passes and whole pictures on a GPU."""

import math

from tables.results import cpu_results, ms, read, spread, Table


def newest_passes():
    """(pixels, precision, kernels) -> (run, {"conditional": result, "unconditional": result}): of several runs the newest."""
    passes = {}
    for run in sorted(read("h100_step")["runs"], key=lambda run: run["machine"]["date"]):
        mine = {}
        for r in run["results"]:
            precision, kind = r["pass"].rsplit(" ", 1)
            precision = precision.replace("/float-scores", ", bf16 scores").replace("/int8-scores", ", int8 scores").replace("/int8-values", ", int8 values")
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


def products_floor_ms(operations, precision, peak):
    """What a pass's products would take at the card's peak rates: half of attention's are scores, int8 or bf16, the others bf16."""
    scores = peak["int8"] if precision == "int8" else peak["bf16"]
    return (operations["linear"] / peak[precision] + operations["attention"] / 2 * (1 / scores + 1 / peak["bf16"])) * 1e-9


def operations_of(profile):
    return {part: sum(op["operations"] for op in profile["ops"] if op["op"].startswith(part)) for part in ("linear", "attention")}


def z_image_table():
    """One pass of Z-Image beside what its products would take at the card's peak rates, and Turbo's picture of 8 steps."""
    data = read("h200_z_image")
    rows = []
    for result, profile, run in zip(data["step"]["results"], data["step"]["profiles"], data["images"]):
        precision = profile["precision"]
        floor = products_floor_ms(operations_of(profile), precision, data["peak_tops"])
        image = run["results"][0]
        total = image["phases"]["total"]["median_ms"]
        sampling = image["phases"]["sample"]["median_ms"]
        rows.append([precision, f"**{result['median_ms']:.1f} ms** ({result['min_ms']:.1f} to {result['max_ms']:.1f})", f"{floor:.1f} ms", f"{result['median_ms'] / floor:.2f}x",
                     f"{sampling / 1000:.2f} s", f"**{total / 1000:.2f} s**", f"{image['taken_bytes'] / 2**30:.1f} GiB"])
    return Table(["precision", "one pass, median (min to max)", "its products at the peak rate", "times that", "8 steps", "whole picture, 8 steps", "device memory, all resident"], rows)


def models_on_card_table():
    """A pass and a whole picture of each model that came after Z-Image, by precision, and what int8 gains on its own bf16."""
    data = read("h200_models")
    rows = []
    for model in data["models"]:
        # The operations of a pass are the same at every precision.
        operations = operations_of(model["step"]["profiles"][0])
        passes = {r["pass"].split()[0]: r for r in model["step"]["results"]}
        images = {run["precision"]: run["results"][0] for run in model["images"]}
        for precision in ("int8", "bf16", "fp8"):
            one, image = passes.get(precision), images.get(precision)
            floor = products_floor_ms(operations, precision, data["peak_tops"])
            phases = image and {name: value["median_ms"] for name, value in image["phases"].items()}
            sampling = phases and f"{phases['sample'] / 1000:.2f} s, {phases['sample'] / model['passes'] / floor:.2f}x"
            gain = f"{images['bf16']['phases']['sample']['median_ms'] / phases['sample']:.2f}x" if phases and "bf16" in images and precision != "bf16" else ""
            rows.append([model["title"], precision, ms(one) if one else "", f"{floor:.1f} ms", sampling or "", gain,
                         f"**{phases['total'] / 1000:.2f} s**" if phases else "", f"{image['taken_bytes'] / 2**30:.1f} GiB" if image else ""])
    return Table(["model", "precision", "one pass, median (min to max)", "its products at the peak rate", "sampling, times its products", "times bf16", "whole picture", "device memory, all resident"], rows, key=2)


def models_streamed_table():
    """A pass of the largest of them with and without layers that stream from host memory."""
    rows = []
    for run in read("h200_models")["streamed"]:
        for r in run["results"]:
            alone = [f"{r[key]:.1f} ms" if key in r else "" for key in ("compute_ms", "copy_ms")]
            ratio = f"{r['median_ms'] / r['least_ms']:.2f}x" if "least_ms" in r else ""
            rows.append([run["model"].removeprefix("synthetic:"), f"{run['vram_budget_bytes'] / 2**30:.0f} GiB", f"{r['streamed_layers']} of {run['layers']}", ms(r), *alone, ratio])
    return Table(["model, int8", "memory of the card", "layers that stream", "one pass, median (min to max)", "computing alone", "copies alone", "times the longer"], rows, key=2)


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
