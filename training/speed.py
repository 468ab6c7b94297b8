"""Recording whole training steps as CUDA graphs, and choosing the attention kernel by trial."""

import os
import sys
import time

import torch
import torch.nn.functional as F


class Recorder:
    """Runs functions without arguments (their inputs are fixed tensors), recorded when possible."""

    def __init__(self, device, enabled):
        self.enabled = enabled and device.type == "cuda"
        if self.enabled:
            self.stream = torch.cuda.Stream()
            self.pool = torch.cuda.graph_pool_handle()

    def warm(self, function, times=3):
        """Compiles and allocates. On the stream of the later recording, as graphs ask for."""
        if not self.enabled:
            for _ in range(times):
                function()
            return
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            for _ in range(times):
                function()
        torch.cuda.current_stream().wait_stream(self.stream)
        torch.cuda.synchronize()

    def record(self, function):
        """-> a callable that replays `function`, or `function` itself. Raises if recording fails."""
        if not self.enabled:
            return function
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        # Nothing leaves a graph but through fixed tensors, so all may share one pool of memory.
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
            function()
        torch.cuda.synchronize()
        return graph.replay


def start_again(options, deadline):
    """Replaces this process by one with further options: a failed recording leaves the device unsure."""
    minutes = max((deadline - time.time()) / 60, 0.1)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.argv, *options, "--minutes", f"{minutes:.3f}"])


def use_attention(name):
    """"cudnn" or "efficient" for attention with a mask; without a mask flash attention serves anyway."""
    if hasattr(torch.backends.cuda, "enable_cudnn_sdp"):
        torch.backends.cuda.enable_cudnn_sdp(name == "cudnn")
        torch.backends.cuda.enable_mem_efficient_sdp(name != "cudnn")


def pick_attention(device, batch, heads, tokens, log):
    """Times masked attention forward and backward with both kernels; wrong or failing ones are out."""
    if device.type != "cuda" or not hasattr(torch.backends.cuda, "enable_cudnn_sdp"):
        return "efficient"

    def run(q, k, v, mask):
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return [y, *torch.autograd.grad(y.square().sum(), (q, k, v))]

    x = torch.randn(3, batch, tokens, heads, 64, device=device, dtype=torch.bfloat16)
    q, k, v = (t.transpose(1, 2).detach().requires_grad_() for t in x)
    mask = torch.zeros(batch, 1, 1, tokens, device=device, dtype=torch.bfloat16)
    mask[:, :, :, 20:30] = -1e4
    few = [t[:2].detach().float().requires_grad_() for t in (q, k, v)]
    y = ((few[0] @ few[1].transpose(-1, -2)) / 8 + mask[:2].float()).softmax(-1) @ few[2]
    right = [y, *torch.autograd.grad(y.square().sum(), few)]
    found = {}
    for name in ("efficient", "cudnn"):
        use_attention(name)
        try:
            got = run(q, k, v, mask)
            worst = max(
                float((a[:2].float() - b).abs().max() / b.abs().max()) for a, b in zip(got, right)
            )
            if not worst < 0.05:
                log(event="attention refused", kernel=name, error=round(worst, 4))
                continue
            torch.cuda.synchronize()
            begin = time.time()
            for _ in range(10):
                run(q, k, v, mask)
            torch.cuda.synchronize()
            found[name] = (time.time() - begin) * 100
        except Exception as error:
            log(event="attention refused", kernel=name, why=str(error)[:200])
    best = "efficient"
    if "cudnn" in found and found["cudnn"] < 0.92 * found.get("efficient", 1e9):
        best = "cudnn"
    use_attention(best)
    log(event="attention", chosen=best, ms={k: round(v, 2) for k, v in found.items()})
    return best
