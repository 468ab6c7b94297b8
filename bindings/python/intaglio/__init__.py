"""Intaglio's INT8 linear for any CUDA arrays that support DLPack. For PyTorch modules see intaglio.torch.

The caller brings every buffer, the output and the workspace included, and the stream; the arrays' device must be current.
"""

from . import _library as _lib
from ._dlpack import view as _view
from ._library import (
    DeviceError,
    IntaglioError,
    InvalidArgumentError,
    LibraryNotFoundError,
    UnsupportedError,
)

__all__ = [
    "DeviceError",
    "IntaglioError",
    "InvalidArgumentError",
    "LibraryNotFoundError",
    "UnsupportedError",
    "device_check",
    "int8_linear",
    "int8_linear_workspace",
    "quantize_rows",
    "version",
]


def version() -> str:
    """Of the loaded library."""
    return ".".join(map(str, _lib.library().version))


def device_check(device: int = 0) -> None:
    """UnsupportedError, with the reason, if the library has no kernels for this CUDA device."""
    _lib.library().device_check(device)


def quantize_rows(x, q, scale, *, stream=0) -> None:
    """x: bf16, fp16 or fp32 [rows, cols] -> q: int8 [rows, cols], scale: fp32 [rows]. The row stride of q is a multiple of 16."""
    x, q, scale = _view(x, "x"), _view(q, "q").of_type(_lib.TYPE_I8), _view(scale, "scale").of_type(_lib.TYPE_F32)
    if x.shape != q.shape:
        raise ValueError(f"q: shape {q.shape}, expected {x.shape} as x")
    args = _lib.QuantizeRowsArgs(
        rows=x.shape[0],
        cols=x.shape[1],
        ldx=x.row_stride(),
        ldq=q.row_stride(),
        x=x.pointer,
        q=q.pointer,
        scale=scale.dense(x.shape[:1]),
        x_type=x.type or 0,
        stream=_stream_handle(stream),
    )
    _lib.library().quantize_rows(args)


def int8_linear_workspace(a, w, out, *, swiglu: bool = False) -> int:
    """Bytes of workspace that int8_linear needs for these arrays."""
    return _lib.library().linear_workspace(_desc(_view(a, "a"), _view(w, "w"), _view(out, "out"), swiglu))


def int8_linear(a, w, out, *, a_scale=None, w_scale=None, bias=None, swiglu=False, workspace=None, stream=0) -> None:
    """out = a @ w.T with scales, bias and SwiGLU as intaglio.h says.

    a: [m, k] int8 with a_scale fp32 [m], or a float type, which is quantized into the workspace. w: int8 [n, k]; w_scale, bias: fp32 [n].
    out: [m, n], with SwiGLU [m, n / 2]. workspace: uint8 array. stream: a handle, or an object with `__cuda_stream__` or `cuda_stream`.
    """
    a, w, out = _view(a, "a"), _view(w, "w").of_type(_lib.TYPE_I8), _view(out, "out")
    desc = _desc(a, w, out, swiglu)
    scratch = _view(workspace, "workspace") if workspace is not None else None
    args = _lib.LinearArgs(
        a=a.pointer,
        a_scale=_floats(a_scale, "a_scale", desc.m),
        w=w.pointer,
        w_scale=_floats(w_scale, "w_scale", desc.n),
        bias=_floats(bias, "bias", desc.n),
        out=out.pointer,
        workspace=scratch.dense(scratch.shape) if scratch else None,
        workspace_bytes=scratch.size * scratch.item_bytes if scratch else 0,
        stream=_stream_handle(stream),
    )
    _lib.library().linear(desc, args)


def _desc(a, w, out, swiglu):
    lda, ldw, ldo = a.row_stride(), w.row_stride(), out.row_stride()
    (m, k), n = a.shape, w.shape[0]
    if w.shape[1] != k:
        raise ValueError(f"w: shape {w.shape}, expected ({n}, {k}) for a of shape {a.shape}")
    expected = (m, n // 2 if swiglu else n)
    if out.shape != expected:
        raise ValueError(f"out: shape {out.shape}, expected {expected}")
    fusion = _lib.FUSION_SWIGLU if swiglu else _lib.FUSION_NONE
    return _lib.LinearDesc(
        m=m, n=n, k=k, lda=lda, ldw=ldw, ldo=ldo, a_type=a.type or 0, out_type=out.type or 0, fusion=fusion
    )


def _floats(array, name, length):
    return None if array is None else _view(array, name).of_type(_lib.TYPE_F32).dense((length,))


def _stream_handle(stream) -> int:
    if isinstance(stream, int):
        return stream
    if hasattr(stream, "__cuda_stream__"):
        return stream.__cuda_stream__()[1]
    if hasattr(stream, "cuda_stream"):
        return stream.cuda_stream
    raise ValueError(f"stream: {type(stream).__name__}, expected a handle or an object with __cuda_stream__")
