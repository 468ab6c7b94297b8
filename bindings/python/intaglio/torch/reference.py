"""The two ops by their formulas, in plain PyTorch: what runs on a CPU, and what the tests compare with. Exact sums, float32 steps."""

import torch

SWIGLU_GROUP = 16  # rows of gate, then of up, that take turns in a weight of Int8SwiGLU
_MIN_SCALE = 1e-30
_MIN_ABSMAX = 1e-36  # below it 127 / absmax would overflow


def quantize_rows(x):
    """[..., k] float -> int8 [..., k], float32 [...]."""
    x = x.float()
    absmax = x.abs().amax(dim=-1)
    finite = torch.isfinite(x).all(dim=-1)
    usable = finite & (absmax >= _MIN_ABSMAX)
    # A division by or of a Python number becomes a product with a rounded reciprocal, and other bits; one of two tensors does not.
    limit = torch.full_like(absmax, 127.0)
    inverse = torch.where(usable, limit / absmax, torch.zeros_like(absmax))
    steps = torch.where(usable.unsqueeze(-1), x * inverse.unsqueeze(-1), torch.zeros_like(x))
    values = torch.round(steps).clamp(-127, 127).to(torch.int8)
    scale = (absmax / limit).clamp_min(_MIN_SCALE)
    return values, torch.where(finite, scale, torch.full_like(scale, float("nan")))


def sums(a, weight):
    """Exact int32 [m, n] of int8 [m, k] and [n, k]: float64 holds every partial sum."""
    return (a.double() @ weight.double().t()).to(torch.int32)


def epilogue(accumulated, a_scale, weight_scale, bias, swiglu):
    """float32 [m, n], or [m, n / 2] with SwiGLU."""
    y = accumulated.float() * (a_scale.reshape(-1, 1) * weight_scale.reshape(1, -1))
    if bias is not None:
        y = y + bias
    if not swiglu:
        return y
    pairs = y.reshape(y.shape[0], -1, 2, SWIGLU_GROUP)
    gate, up = pairs[:, :, 0], pairs[:, :, 1]
    return (gate / (1.0 + torch.exp(-gate)) * up).reshape(y.shape[0], -1)


def int8_linear(a, a_scale, weight, weight_scale, bias, out_dtype, swiglu):
    leading = a.shape[:-1]
    if a.dtype != torch.int8:
        a, a_scale = quantize_rows(a)
    accumulated = sums(a.reshape(-1, a.shape[-1]), weight)
    if out_dtype == torch.int32:
        return accumulated.reshape(*leading, -1)
    y = epilogue(accumulated, a_scale, weight_scale, bias, swiglu)
    return y.to(out_dtype).reshape(*leading, -1)
