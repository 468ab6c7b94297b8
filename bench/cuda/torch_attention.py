#!/usr/bin/env python3
"""Times PyTorch's attention kernels (cuDNN, FlashAttention-2) at the shapes of check_attention, on the same card.

usage: torch_attention.py [FILE]   writes JSON to FILE; needs PyTorch with CUDA.
"""

import json
import statistics
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

HEADS, HEAD_DIM = 18, 256
ROUNDS, LAUNCHES = 15, 4
KERNELS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash_attention_2": SDPBackend.FLASH_ATTENTION}


def times_ms(run):
    for _ in range(5):
        run()
    times = []
    for _ in range(ROUNDS):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(LAUNCHES):
            run()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / LAUNCHES)
    return times


def main():
    results = []
    for tokens in (4096, 4608, 6144):
        q, k, v = (torch.randn(1, HEADS, tokens, HEAD_DIM, device="cuda", dtype=torch.bfloat16) for _ in range(3))
        for name, backend in KERNELS.items():
            with sdpa_kernel(backend):
                times = times_ms(lambda: F.scaled_dot_product_attention(q, k, v))
            median = statistics.median(times)
            rate = 4e-9 * tokens * tokens * HEADS * HEAD_DIM / median
            results.append({"shape": f"{HEADS}x{HEAD_DIM}", "m": tokens, "candidate": name, "median_ms": median, "min_ms": min(times), "max_ms": max(times), "tops": rate})
            print(f"{tokens} {name} {median:.4f} ms {rate:.1f} TFLOP/s", flush=True)
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w") as file:
            json.dump({"torch": torch.__version__, "card": torch.cuda.get_device_name(), "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
