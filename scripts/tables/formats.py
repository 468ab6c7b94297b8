"""Tables of loading checkpoints."""

from tables.results import read, Table


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
