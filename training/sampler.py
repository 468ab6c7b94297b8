"""The published schedule and sampling loop, float64 schedule and float32 everything else."""

import math
from statistics import NormalDist

import numpy as np
import torch


def schedule(height, width, steps, mu=0.0, std=1.5, shift=1.0):
    """Noise levels [steps + 1] float32, the last one 0."""
    mu = mu + 0.5 * math.log(height * width / 512**2)
    u = np.linspace(0.0, 1.0, steps + 1)
    low, high = 1 / (1 + math.exp(9.0)), 1 / (1 + math.exp(-7.5))
    t = []
    for value in u:
        if value <= 0:
            z = -math.inf
        elif value >= 1:
            z = math.inf
        else:
            z = NormalDist().inv_cdf(value)
        y = mu + std * z
        sigmoid = 1.0 if y == math.inf else 0.0 if y == -math.inf else 1 / (1 + math.exp(-y))
        t.append(min(max(1 - sigmoid, low), high))
    sigma = (1 - np.array(t))[::-1][:-1]
    sigma = np.append(shift * sigma / (1 + (shift - 1) * sigma), 0.0)
    return sigma.astype(np.float32)


def sample(transformer, unconditional, features, mask, noise, grid, sigmas, guidance):
    """noise [B, Li, C] -> list of latents after each step. guidance: one number or one per step."""
    steps = len(sigmas) - 1
    g = guidance if isinstance(guidance, (list, tuple)) else [guidance] * steps
    x, out = noise, []
    for i in range(steps):
        t = torch.full((x.shape[0],), 1.0 - float(sigmas[i]), device=x.device)
        v = transformer(x, t, grid, features, mask).float()
        if g[i] != 1.0:
            v = g[i] * v + (1 - g[i]) * unconditional(x, t, grid).float()
        x = x + float(sigmas[i + 1] - sigmas[i]) * -v
        out.append(x)
    return out
