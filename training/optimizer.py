"""Muon and AdamW over one flat buffer, with every number that changes kept on the device.

All parameters become views of one vector, equal shapes side by side, so that a step is a few dozen
kernels, needs no list of tensors, never waits for the device and can be recorded in a CUDA graph.
"""

import math

import torch

kAlign = 64  # floats between the starts of parameters: kernels may assume aligned weights


def orthogonal(x, steps=5):
    """Newton-Schulz: [n, a, b] -> nearly orthogonal matrices with the same singular vectors."""
    tall = x.shape[-2] > x.shape[-1]
    x = x.transpose(-1, -2) if tall else x
    x = x / (x.square().sum((-2, -1), keepdim=True).sqrt() + 1e-12)
    if x.is_cuda:
        x = x.bfloat16()
    for _ in range(steps):
        square = x @ x.transpose(-1, -2)
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * (square @ square)) @ x
    return (x.transpose(-1, -2) if tall else x).float()


class FlatOptimizer:
    """named: (name, parameter) pairs; `hidden(name, parameter)` says which ones Muon takes.

    `values` is the weights, `average` their exponential average, `lr` the rate (a device scalar).
    """

    def __init__(self, named, hidden, ema, clip=1.0, momentum=0.95, betas=(0.9, 0.99), decay=(0.05, 0.01)):
        named = list(named)
        device = named[0][1].device
        muon = sorted((tuple(p.shape), i) for i, (n, p) in enumerate(named) if hidden(n, p))
        taken = {i for _, i in muon}
        order = [i for _, i in muon] + [i for i in range(len(named)) if i not in taken]
        self.names, self.places, self.blocks, at = [], [], [], 0
        for i in order:
            p = named[i][1]
            shape = tuple(p.shape)
            if i in taken and self.blocks and self.blocks[-1][1] == shape and p.numel() % kAlign == 0:
                self.blocks[-1][2] += 1
            elif i in taken:
                self.blocks.append([at, shape, 1])
            self.names.append(named[i][0])
            self.places.append((at, p.numel()))
            at += -(-p.numel() // kAlign) * kAlign
            if i == (muon[-1][1] if muon else -1):
                self.split = at
        if not muon:
            self.split = 0
        make = lambda n: torch.zeros(n, device=device)
        self.values, self.grads = make(at), make(at)
        self.average, self.first = make(at), make(at)
        self.second, self.shrink = make(at - self.split), make(at - self.split)
        self.parameters = [named[i][1] for i in order]
        for p, (a, n) in zip(self.parameters, self.places):
            self.values[a : a + n].copy_(p.detach().flatten())
            p.data = self.values[a : a + n].view(p.shape)
            p.grad = self.grads[a : a + n].view(p.shape)
            if a >= self.split and p.dim() >= 2:
                self.shrink[a - self.split : a - self.split + n] = decay[1]
        self.average.copy_(self.values)
        self.ema, self.clip, self.momentum, self.betas = ema, clip, momentum, betas
        self.muon_decay = decay[0]
        self.lr = torch.zeros((), device=device)  # AdamW's rate
        self.muon_lr = torch.zeros((), device=device)
        self.count = torch.zeros((), device=device)

    def zero_grad(self):
        self.grads.zero_()

    @torch.no_grad()
    def step(self):
        """One update from the gradients; returns their norm before clipping (device scalar)."""
        self.count += 1
        norm = self.grads.square().sum().sqrt()
        # A step with a gradient that is not finite changes nothing instead of spoiling the run.
        ok = torch.isfinite(norm)
        self.grads.mul_(torch.where(ok, (self.clip / (norm + 1e-6)).clamp(max=1.0), torch.zeros_like(norm)))
        self.grads.nan_to_num_(0.0, 0.0, 0.0)
        s = self.split
        if s:
            m, g = self.first[:s], self.grads[:s]
            m.lerp_(g, 1 - self.momentum)
            u = torch.lerp(g, m, self.momentum)
            for at, shape, n in self.blocks:
                size = n * shape[0] * shape[1]
                x = orthogonal(u[at : at + size].view(n, *shape))
                # Root mean square 0.2 per entry, like AdamW's, so that one rate suits both.
                x = x * (0.2 * math.sqrt(max(shape)))
                w = self.values[at : at + size].view(n, *shape)
                w.sub_(self.muon_lr * (x + self.muon_decay * w))
        b1, b2 = self.betas
        m, v, g, w = self.first[s:], self.second, self.grads[s:], self.values[s:]
        m.lerp_(g, 1 - b1)
        v.mul_(b2).addcmul_(g, g, value=1 - b2)
        # Powers by exp, kernels only: nothing may be copied from the host inside a recorded step.
        c1, c2 = (1 - torch.exp(self.count * math.log(b)) for b in (b1, b2))
        u = (m / c1) / ((v / c2).sqrt() + 1e-8)
        w.sub_(self.lr * (u + self.shrink * w))
        # The quick start of the average: (1 + n) / (10 + n) until that passes the decay.
        d = ((1 + self.count) / (10 + self.count)).clamp(max=self.ema)
        self.average.add_((self.values - self.average) * (1 - d))
        return norm

    def forget(self):
        """Back to before the first step (weights stay): after warm-up calls at rate zero."""
        for x in (self.first, self.second, self.grads, self.count):
            x.zero_()
        self.average.copy_(self.values)

    def state(self):
        keys = ("values", "average", "first", "second", "count")
        return {"names": self.names, **{k: getattr(self, k).cpu() for k in keys}}

    def restore(self, state):
        if state["names"] != self.names or len(state["second"]) != len(self.second):
            raise ValueError("the saved optimizer belongs to other weights or another --optimizer")
        for k in ("values", "average", "first", "second", "count"):
            getattr(self, k).copy_(state[k])

    def averages(self):
        """name -> averaged value, shaped."""
        return {
            name: self.average[a : a + n].view(p.shape).clone()
            for name, p, (a, n) in zip(self.names, self.parameters, self.places)
        }
