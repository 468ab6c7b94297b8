"""Modules over the custom ops: Int8Linear, Int8SwiGLU, and an activation that is quantized once for several of them."""

import json

import torch
from torch import nn

from . import ops, reference

_CHUNK_ROWS = 1024  # of a weight, so that its float32 copy stays small


def quantize_weight(weight):
    """[n, k] float -> int8 [n, k], float32 [n, 1]: symmetric, one scale a row."""
    values = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
    scale = torch.empty((weight.shape[0], 1), dtype=torch.float32, device=weight.device)
    for first in range(0, weight.shape[0], _CHUNK_ROWS):
        rows = slice(first, first + _CHUNK_ROWS)
        values[rows], scale[rows, 0] = reference.quantize_rows(weight[rows])
    if not torch.isfinite(scale).all():
        raise ValueError("weight: has a NaN or an infinity, expected finite values")
    return values, scale


class QuantizedActivation:
    """An activation quantized once, for linears that read the same input (q, k and v; w1 and w3).

    It answers what code asks of its input's shape; anything else fails with an error rather than computing on int8 values.
    """

    def __init__(self, values, scale, dtype):
        self.values = values  # int8 [..., k]
        self.scale = scale  # float32 [...]
        self.dtype = dtype  # of the activation, and so of the linears' outputs

    @staticmethod
    def quantize(x):
        values, scale = ops.quantize_rows(x)
        return QuantizedActivation(values, scale, x.dtype)

    @property
    def shape(self):
        return self.values.shape

    @property
    def ndim(self):
        return self.values.dim()

    @property
    def device(self):
        return self.values.device

    def size(self, dim=None):
        return self.values.shape if dim is None else self.values.shape[dim]

    def dequantize(self):
        return (self.values.float() * self.scale.unsqueeze(-1)).to(self.dtype)


class _Int8Weight(nn.Module):
    """What Int8Linear and Int8SwiGLU share: `weight` int8 [n, k], `weight_scale` float32 [n, 1], `bias` float32 [n] or None.

    The names, shapes and types are those of ComfyUI's row-wise int8_tensorwise layout. They are buffers: nothing here trains.
    """

    swiglu = False

    def __init__(self, rows, in_features, bias, device=None):
        super().__init__()
        self.in_features = in_features
        self.register_buffer("weight", torch.zeros((rows, in_features), dtype=torch.int8, device=device))
        self.register_buffer("weight_scale", torch.ones((rows, 1), dtype=torch.float32, device=device))
        self.register_buffer("bias", torch.zeros(rows, dtype=torch.float32, device=device) if bias else None)

    def forward(self, x):
        if isinstance(x, QuantizedActivation):
            return ops.int8_linear(
                x.values, x.scale, self.weight, self.weight_scale, self.bias, x.dtype, self.swiglu
            )
        return ops.int8_linear(x, None, self.weight, self.weight_scale, self.bias, x.dtype, self.swiglu)

    def _apply(self, fn, *args, **kwargs):
        # module.to(torch.bfloat16) must not round scales and bias: they follow to another device, never to another type.
        before = {name: self._buffers[name] for name in ("weight_scale", "bias")}
        super()._apply(fn, *args, **kwargs)
        for name, buffer in before.items():
            after = self._buffers[name]
            if after is not None and after.dtype != torch.float32:
                self._buffers[name] = buffer.to(after.device)
        return self

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing, unexpected, errors):
        """Takes what ComfyUI files hold: scales of one value or without their last axis, 16-bit biases, a descriptor."""
        descriptor = state_dict.pop(prefix + "comfy_quant", None)
        if descriptor is not None and _is_rotated(descriptor):
            errors.append(f"{prefix}comfy_quant: the weight is rotated (convrot), expected an unrotated one")
        state_dict.pop(prefix + "input_scale", None)  # activations are quantized dynamically
        scale = state_dict.get(prefix + "weight_scale")
        if scale is not None:
            rows = self.weight.shape[0]
            if scale.numel() == 1:
                scale = scale.reshape(1, 1).expand(rows, 1)
            if scale.numel() == rows:
                state_dict[prefix + "weight_scale"] = scale.reshape(rows, 1).float().contiguous()
        bias = state_dict.get(prefix + "bias")
        if bias is not None:
            state_dict[prefix + "bias"] = bias.float()
        weight = state_dict.get(prefix + "weight")
        if weight is not None and weight.dtype != torch.int8:
            errors.append(f"{prefix}weight: {weight.dtype}, expected int8")
            return
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, unexpected, errors)


class Int8Linear(_Int8Weight):
    """nn.Linear with an int8 weight; the input is quantized by row when it arrives. The output has the input's type."""

    def __init__(self, in_features, out_features, bias=True, device=None):
        super().__init__(out_features, in_features, bias, device)
        self.out_features = out_features

    @classmethod
    def from_linear(cls, linear):
        """Quantizes a float nn.Linear's weight, where it is."""
        weight = linear.weight.detach()
        if not weight.is_floating_point():
            raise ValueError(f"linear.weight: {weight.dtype}, expected a float type")
        module = cls(1, 1, bias=False)
        module.in_features, module.out_features = linear.in_features, linear.out_features
        module.weight, module.weight_scale = quantize_weight(weight)
        if linear.bias is not None:
            module.bias = linear.bias.detach().float()
        return module.train(linear.training)

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Int8SwiGLU(_Int8Weight):
    """silu(gate(x)) * up(x) of two linears as one product. Rows of gate and up take turns in groups of 16 (interleave)."""

    swiglu = True

    def __init__(self, in_features, out_features, bias=True, device=None):
        super().__init__(2 * out_features, in_features, bias, device)
        self.out_features = out_features

    @classmethod
    def from_linears(cls, gate, up):
        """Of two float nn.Linear, e.g. w1 and w3 of a SwiGLU feed-forward."""
        if gate.weight.shape != up.weight.shape or (gate.bias is None) != (up.bias is None):
            raise ValueError(f"up: {up}, expected the same sizes as gate: {gate}")
        module = cls(1, reference.SWIGLU_GROUP, bias=False)
        module.in_features, module.out_features = gate.in_features, gate.out_features
        module.weight, module.weight_scale = quantize_weight(interleave(gate.weight.detach(), up.weight.detach()))
        if gate.bias is not None:
            module.bias = interleave(gate.bias.detach(), up.bias.detach()).float()
        return module.train(gate.training)

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def interleave(gate, up):
    """Rows [32 g, 32 g + 16) of the result are gate's rows 16 g.., rows [32 g + 16, 32 g + 32) are up's."""
    group = reference.SWIGLU_GROUP
    if gate.shape[0] % group != 0:
        raise ValueError(f"gate: {gate.shape[0]} rows, expected a multiple of {group}")
    pairs = torch.stack([t.reshape(-1, group, *t.shape[1:]) for t in (gate, up)], dim=1)
    return pairs.reshape(2 * gate.shape[0], *gate.shape[1:])


def _is_rotated(descriptor):
    """ComfyUI keeps a module's format as the bytes of a JSON object, some converters one level down."""
    fields = json.loads(bytes(descriptor.to(torch.uint8).cpu().tolist()).decode("utf-8"))
    return bool(fields.get("convrot") or fields.get("params", {}).get("convrot"))
