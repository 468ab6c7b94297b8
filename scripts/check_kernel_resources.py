#!/usr/bin/env python3
"""Lists registers, spills and shared memory of every CUDA kernel from the compiler's report, and fails on spills that are not allowed.

check_kernel_resources.py LOG: what nvcc printed with -Xptxas=-v. The list goes to stdout, a line a kernel and architecture.
"""

import re
import subprocess
import sys

# (part of the name, pattern of the architecture, bytes): known, looked at and outside the main loop. Anything else must not spill.
kAllowedSpills = [
    ("sm80_s8_gemm", "sm_(80|86|90a|100|120)", 96),  # 192-row tiles: the epilogue's addresses, a side branch's too; the main loop has none
    ("small_m_s8_gemm", "sm_120", 16),  # 32 rows
    ("sm75_s8_gemm", "sm_75", 36),  # a side branch's epilogue, element by element
]


def demangle(names):
    done = subprocess.run(["c++filt", "-p"], input="\n".join(names), capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def parse(text):
    """-> list of dicts: name, arch, registers, spill (bytes stored and loaded), shared (static bytes)."""
    kernels, current = [], None
    for line in text.splitlines():
        if m := re.search(r"Compiling entry function '(\S+)' for '(\S+)'", line):
            current = {"name": m[1], "arch": m[2], "spill": 0, "registers": 0, "shared": 0}
            kernels.append(current)
        elif current and (m := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line)):
            current["spill"] = max(int(m[1]), int(m[2]))
        elif current and (m := re.search(r"Used (\d+) registers", line)):
            current["registers"] = int(m[1])
            if s := re.search(r"(\d+) bytes smem", line):
                current["shared"] = int(s[1])
            current = None
    return kernels


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: check_kernel_resources.py LOG")
    with open(sys.argv[1], encoding="utf-8", errors="replace") as file:
        kernels = parse(file.read())
    if not kernels:
        sys.exit(f"{sys.argv[1]}: no kernel in it; was it compiled with -Xptxas=-v?")
    wrong = []
    for kernel, name in zip(kernels, demangle([k["name"] for k in kernels])):
        print(f"{kernel['arch']:8} {kernel['registers']:4} registers {kernel['spill']:4} bytes spilled {kernel['shared']:6} bytes static shared  {name}")
        allowed = max(
            [bytes_ for part, arch, bytes_ in kAllowedSpills if part in name and re.fullmatch(arch, kernel["arch"])],
            default=0,
        )
        if kernel["spill"] > allowed:
            wrong.append(f"{name} spills {kernel['spill']} bytes on {kernel['arch']}, {allowed} allowed")
    print(f"{len(kernels)} kernels")
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
