"""The custom ops intaglio::quantize_rows and intaglio::int8_linear.

Each has a CUDA kernel (the library, on the current stream, with outputs and workspace from PyTorch's caching allocator), a fake kernel for
torch.compile, and the reference for CPU tensors. Neither synchronises; both can be captured in a CUDA graph.
"""

import contextlib
import math
from typing import Optional, Tuple

import torch
from torch import Tensor

from .. import _library as lib
from . import reference

_FLOATS = {torch.float32: lib.TYPE_F32, torch.bfloat16: lib.TYPE_BF16, torch.float16: lib.TYPE_F16}
_OUTPUTS = {**_FLOATS, torch.int32: lib.TYPE_I32}
_STRIDE = 16  # elements that the library writes a row of int8 in


# ---- quantize_rows


@torch.library.custom_op("intaglio::quantize_rows", mutates_args=(), device_types="cuda")
def quantize_rows(x: Tensor) -> Tuple[Tensor, Tensor]:
    """[..., k] of a float type -> int8 [..., k], float32 [...]: scale = max(absmax / 127, 1e-30), rounded half to even."""
    _check_rows(x)
    values, scale = _rows_like(x)
    rows = _as_matrix(x)
    if rows.shape[0] == 0:
        return values, scale
    args = lib.QuantizeRowsArgs(
        rows=rows.shape[0],
        cols=rows.shape[1],
        ldx=_row_stride(rows),
        ldq=_round_up(rows.shape[1]),
        x=rows.data_ptr(),
        q=values.data_ptr(),
        scale=scale.data_ptr(),
        x_type=_FLOATS[x.dtype],
        flags=lib.TRUST_POINTERS,
        stream=_current_stream(x.device),
    )
    with _current_device(x.device):
        lib.library().quantize_rows(args)
    return values, scale


@quantize_rows.register_fake
def _(x):
    _check_rows(x)
    return _rows_like(x)


@quantize_rows.register_kernel("cpu")
def _(x):
    _check_rows(x)
    values, scale = _rows_like(x)
    exact, exact_scale = reference.quantize_rows(x)
    return values.copy_(exact), scale.copy_(exact_scale)


def _check_rows(x):
    if x.dtype not in _FLOATS:
        raise ValueError(f"x: {x.dtype}, expected bfloat16, float16 or float32")
    if x.dim() < 1 or x.shape[-1] < 1:
        raise ValueError(f"x: shape {tuple(x.shape)}, expected [..., k] with k >= 1")


def _rows_like(x):
    """Outputs of quantize_rows. Rows are a multiple of 16 bytes apart, as the kernels want them."""
    cols = x.shape[-1]
    padded = _round_up(cols)
    values = x.new_empty((*x.shape[:-1], padded), dtype=torch.int8)
    if padded != cols:
        values = values[..., :cols]
    return values, x.new_empty(x.shape[:-1], dtype=torch.float32)


# ---- int8_linear


@torch.library.custom_op("intaglio::int8_linear", mutates_args=(), device_types="cuda")
def int8_linear(
    a: Tensor,
    a_scale: Optional[Tensor],
    weight: Tensor,
    weight_scale: Optional[Tensor],
    bias: Optional[Tensor],
    out_dtype: torch.dtype,
    swiglu: bool,
) -> Tensor:
    """a [..., k] int8 with a_scale [...], or a float type that is quantized by row; weight int8 [n, k]; weight_scale n float32 values.

    Gives [..., n] of out_dtype; with swiglu [..., n / 2], and then weight's rows are interleaved (Int8SwiGLU). out_dtype int32 gives the sums
    themselves, without scales.
    """
    _check_linear(a, a_scale, weight, weight_scale, bias, out_dtype, swiglu)
    out = _linear_out(a, weight, out_dtype, swiglu)
    rows, weight_rows = _as_matrix(a), _as_matrix(weight)
    if rows.shape[0] == 0:
        return out
    desc = lib.LinearDesc(
        m=rows.shape[0],
        n=weight.shape[0],
        k=rows.shape[1],
        lda=_row_stride(rows),
        ldw=_row_stride(weight_rows),
        a_type=lib.TYPE_I8 if a.dtype == torch.int8 else _FLOATS[a.dtype],
        out_type=_OUTPUTS[out_dtype],
        fusion=lib.FUSION_SWIGLU if swiglu else lib.FUSION_NONE,
        flags=lib.TRUST_POINTERS,
    )
    a_scale, weight_scale, bias = _dense(a_scale), _dense(weight_scale), _dense(bias)
    with _current_device(a.device):
        library = lib.library()
        bytes_needed = library.linear_workspace(desc)
        workspace = torch.empty(bytes_needed, dtype=torch.uint8, device=a.device) if bytes_needed else None
        args = lib.LinearArgs(
            a=rows.data_ptr(),
            a_scale=_pointer(a_scale),
            w=weight_rows.data_ptr(),
            w_scale=_pointer(weight_scale),
            bias=_pointer(bias),
            out=out.data_ptr(),
            workspace=_pointer(workspace),
            workspace_bytes=bytes_needed,
            stream=_current_stream(a.device),
        )
        library.linear(desc, args)
    return out


@int8_linear.register_fake
def _(a, a_scale, weight, weight_scale, bias, out_dtype, swiglu):
    _check_linear(a, a_scale, weight, weight_scale, bias, out_dtype, swiglu)
    return _linear_out(a, weight, out_dtype, swiglu)


@int8_linear.register_kernel("cpu")
def _(a, a_scale, weight, weight_scale, bias, out_dtype, swiglu):
    _check_linear(a, a_scale, weight, weight_scale, bias, out_dtype, swiglu)
    out = _linear_out(a, weight, out_dtype, swiglu)
    return out.copy_(reference.int8_linear(a, a_scale, weight, weight_scale, bias, out_dtype, swiglu))


def _check_linear(a, a_scale, weight, weight_scale, bias, out_dtype, swiglu):
    if a.dtype != torch.int8 and a.dtype not in _FLOATS:
        raise ValueError(f"a: {a.dtype}, expected int8, bfloat16, float16 or float32")
    if weight.dtype != torch.int8 or weight.dim() != 2:
        raise ValueError(f"weight: {weight.dtype} {tuple(weight.shape)}, expected int8 [n, k]")
    if a.dim() < 1 or a.shape[-1] != weight.shape[1]:
        raise ValueError(f"a: shape {tuple(a.shape)}, expected [..., {weight.shape[1]}] for this weight")
    if out_dtype not in _OUTPUTS:
        raise ValueError(f"out_dtype: {out_dtype}, expected bfloat16, float16, float32 or int32")
    raw = out_dtype == torch.int32
    if raw and (a.dtype != torch.int8 or swiglu or bias is not None):
        raise ValueError("out_dtype: int32 is for int8 a, without bias and swiglu")
    if swiglu and weight.shape[0] % (2 * reference.SWIGLU_GROUP) != 0:
        raise ValueError(f"weight: {weight.shape[0]} rows, expected a multiple of 32 with swiglu")
    if a.dtype != torch.int8 and a_scale is not None:
        raise ValueError(f"a_scale: given, expected None with a of type {a.dtype}")
    rows = math.prod(a.shape[:-1])
    _check_floats("a_scale", a_scale, rows, required=a.dtype == torch.int8 and not raw)
    _check_floats("weight_scale", weight_scale, weight.shape[0], required=not raw)
    _check_floats("bias", bias, weight.shape[0], required=False)
    for name, tensor in (("a_scale", a_scale), ("weight", weight), ("weight_scale", weight_scale), ("bias", bias)):
        if tensor is not None and tensor.device != a.device:
            raise ValueError(f"{name}: on {tensor.device}, expected {a.device} as a")


def _check_floats(name, tensor, length, required):
    if tensor is None:
        if required:
            raise ValueError(f"{name}: None, expected {length} float32 values")
    elif tensor.dtype != torch.float32 or tensor.numel() != length:
        raise ValueError(f"{name}: {tensor.dtype} {tuple(tensor.shape)}, expected {length} float32 values")


def _linear_out(a, weight, out_dtype, swiglu):
    columns = weight.shape[0] // 2 if swiglu else weight.shape[0]
    return a.new_empty((*a.shape[:-1], columns), dtype=out_dtype)


# ---- PyTorch to C


def _round_up(cols):
    return (cols + _STRIDE - 1) // _STRIDE * _STRIDE


def _as_matrix(tensor):
    """[..., k] as [rows, k] with dense rows: a view where strides allow it, else a copy."""
    matrix = tensor.reshape(-1, tensor.shape[-1])
    dense_rows = matrix.shape[1] == 1 or matrix.stride(1) == 1
    ordered = matrix.shape[0] <= 1 or matrix.stride(0) >= matrix.shape[1]  # not expanded
    return matrix if dense_rows and ordered else matrix.contiguous()


def _row_stride(matrix):
    return matrix.stride(0) if matrix.shape[0] > 1 else matrix.shape[1]


def _dense(tensor):
    return None if tensor is None else tensor.contiguous()


def _pointer(tensor):
    return None if tensor is None else tensor.data_ptr()


def _current_stream(device):
    return torch.cuda.current_stream(device).cuda_stream


def _current_device(device):
    """The library works on the current device. Switching costs time, so only where it must."""
    if torch.cuda.current_device() == device.index:
        return contextlib.nullcontext()
    return torch.cuda.device(device)
