"""Tables of the other kernels of a GPU."""

from tables.results import all_results, read, spread, Table


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
