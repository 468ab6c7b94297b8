"""Reads the pointer, sizes and type of any array that speaks DLPack, without taking it over or waiting for its stream."""

import ctypes
from dataclasses import dataclass

from . import _library as lib

CPU, CUDA, CUDA_HOST, CUDA_MANAGED = 1, 2, 3, 13
_DEVICE_NAMES = {CPU: "CPU", CUDA_HOST: "pinned host"}
_NO_SYNCHRONISATION = -1  # DLPack's value for "the consumer orders the streams itself"

# (code, bits) of DLPack -> type of the C interface; uint8 has none and is used for workspaces.
_TYPES = {
    (0, 8): lib.TYPE_I8,
    (0, 32): lib.TYPE_I32,
    (2, 32): lib.TYPE_F32,
    (4, 16): lib.TYPE_BF16,
    (2, 16): lib.TYPE_F16,
    (1, 8): None,
}
_KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat"}


class _Device(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int32), ("index", ctypes.c_int32)]


class _Type(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _Type),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype = ctypes.c_void_p
_capsule_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


@dataclass(frozen=True)
class Array:
    """What the C interface needs of an array. It does not keep the array alive: hold on to the array itself."""

    name: str
    pointer: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in elements
    type: int | None  # of the C interface
    type_name: str
    device: int
    item_bytes: int

    @property
    def size(self) -> int:
        total = 1
        for length in self.shape:
            total *= length
        return total

    def row_stride(self) -> int:
        """Of a matrix whose rows are dense."""
        if len(self.shape) != 2:
            raise ValueError(f"{self.name}: shape {self.shape}, expected a matrix")
        if self.shape[1] > 1 and self.strides[1] != 1:
            raise ValueError(f"{self.name}: strides {self.strides}, expected dense rows (last stride 1)")
        return self.strides[0] if self.shape[0] > 1 else max(self.shape[1], 1)

    def dense(self, shape: tuple[int, ...]) -> int:
        """The pointer, if the array has this many elements, one after another."""
        expected = 1
        for length in shape:
            expected *= length
        stride = 1
        for length, found in zip(reversed(self.shape), reversed(self.strides)):
            if length != 1 and found != stride:
                raise ValueError(f"{self.name}: strides {self.strides}, expected a dense array")
            stride *= length
        if self.size != expected:
            raise ValueError(f"{self.name}: shape {self.shape}, expected {expected} elements")
        return self.pointer

    def of_type(self, *types: int) -> "Array":
        if self.type not in types:
            raise ValueError(f"{self.name}: {self.type_name}, expected another type")
        return self


def view(array, name: str) -> Array:
    """ValueError if it is not an array on a CUDA device of a known type."""
    if not hasattr(array, "__dlpack__") or not hasattr(array, "__dlpack_device__"):
        raise ValueError(f"{name}: {type(array).__name__}, expected an array that supports DLPack")
    kind, _ = array.__dlpack_device__()
    if int(kind) not in (CUDA, CUDA_MANAGED):
        where = _DEVICE_NAMES.get(int(kind), f"DLPack device type {int(kind)}")
        raise ValueError(f"{name}: in {where} memory, expected memory of a CUDA device")
    return read(array.__dlpack__(stream=_NO_SYNCHRONISATION), name)


def read(capsule, name: str) -> Array:
    """The capsule is only looked at: it frees its own export when it dies."""
    tensor = _Tensor.from_address(_capsule_pointer(capsule, b"dltensor"))
    code, bits, lanes = tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes
    type_name = f"{_KINDS.get(code, f'type{code}_')}{bits}"
    if lanes != 1 or (code, bits) not in _TYPES:
        raise ValueError(f"{name}: {type_name} x {lanes}, expected int8, int32, uint8, bfloat16, float16 or float32")
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    if tensor.strides:
        strides = tuple(tensor.strides[i] for i in range(tensor.ndim))
    else:
        strides = _dense_strides(shape)
    return Array(
        name=name,
        pointer=(tensor.data or 0) + tensor.byte_offset,
        shape=shape,
        strides=strides,
        type=_TYPES[(code, bits)],
        type_name=type_name,
        device=tensor.device.index,
        item_bytes=bits // 8,
    )


def _dense_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, stride = [], 1
    for length in reversed(shape):
        strides.append(stride)
        stride *= length
    return tuple(reversed(strides))
