"""Finds and loads libintaglio.so and mirrors its C interface (include/intaglio/intaglio.h) with ctypes."""

import ctypes
import os
import threading
from pathlib import Path

OK, INVALID_ARGUMENT, UNSUPPORTED, OUT_OF_MEMORY, DEVICE_ERROR, INTERNAL = range(6)
TYPE_I8, TYPE_I32, TYPE_F32, TYPE_BF16, TYPE_F16 = range(1, 6)
FUSION_NONE, FUSION_SWIGLU = range(2)
TRUST_POINTERS = 1

ENVIRONMENT = "INTAGLIO_LIBRARY"
FILE_NAMES = ("libintaglio.so.0", "libintaglio.so")
MAJOR_VERSION = 0


class IntaglioError(RuntimeError):
    """A call that failed: `status` is its code, `status_name` its name, the text says which argument was wrong."""

    def __init__(self, status: int, status_name: str, message: str):
        super().__init__(message)
        self.status = status
        self.status_name = status_name


class InvalidArgumentError(IntaglioError, ValueError):
    pass


class UnsupportedError(IntaglioError):
    pass


class DeviceError(IntaglioError):
    pass


class LibraryNotFoundError(OSError):
    pass


class LinearDesc(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_uint64),
        ("m", ctypes.c_int64),
        ("n", ctypes.c_int64),
        ("k", ctypes.c_int64),
        ("lda", ctypes.c_int64),
        ("ldw", ctypes.c_int64),
        ("ldo", ctypes.c_int64),
        ("a_type", ctypes.c_int32),
        ("out_type", ctypes.c_int32),
        ("fusion", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
    ]

    def __init__(self, **fields):
        super().__init__(struct_size=ctypes.sizeof(LinearDesc), **fields)


class LinearArgs(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_uint64),
        ("a", ctypes.c_void_p),
        ("a_scale", ctypes.c_void_p),
        ("w", ctypes.c_void_p),
        ("w_scale", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("workspace", ctypes.c_void_p),
        ("workspace_bytes", ctypes.c_uint64),
        ("stream", ctypes.c_void_p),
    ]

    def __init__(self, **fields):
        super().__init__(struct_size=ctypes.sizeof(LinearArgs), **fields)


class QuantizeRowsArgs(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_uint64),
        ("rows", ctypes.c_int64),
        ("cols", ctypes.c_int64),
        ("ldx", ctypes.c_int64),
        ("ldq", ctypes.c_int64),
        ("x", ctypes.c_void_p),
        ("q", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("stream", ctypes.c_void_p),
        ("x_type", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
    ]

    def __init__(self, **fields):
        super().__init__(struct_size=ctypes.sizeof(QuantizeRowsArgs), **fields)


_ERRORS = {
    INVALID_ARGUMENT: InvalidArgumentError,
    UNSUPPORTED: UnsupportedError,
    DEVICE_ERROR: DeviceError,
}


class Library:
    """The loaded library. Methods raise IntaglioError for every status but OK."""

    def __init__(self, handle: ctypes.CDLL, path: str):
        self.path = path
        self._version = _function(handle, path, "intaglio_version", ctypes.c_int32)
        self._name = _function(handle, path, "intaglio_status_name", ctypes.c_char_p, ctypes.c_int32)
        self._last_error = _function(handle, path, "intaglio_last_error", ctypes.c_char_p)
        self._device_check = _function(handle, path, "intaglio_device_check", ctypes.c_int32, ctypes.c_int32)
        self._quantize_rows = _function(
            handle, path, "intaglio_int8_quantize_rows", ctypes.c_int32, ctypes.POINTER(QuantizeRowsArgs)
        )
        self._workspace = _function(
            handle,
            path,
            "intaglio_int8_linear_workspace",
            ctypes.c_int32,
            ctypes.POINTER(LinearDesc),
            ctypes.POINTER(ctypes.c_uint64),
        )
        self._linear = _function(
            handle,
            path,
            "intaglio_int8_linear",
            ctypes.c_int32,
            ctypes.POINTER(LinearDesc),
            ctypes.POINTER(LinearArgs),
        )
        if self.version[0] != MAJOR_VERSION:
            found = ".".join(map(str, self.version))
            raise LibraryNotFoundError(f"{path} is version {found}, this package needs {MAJOR_VERSION}.x")

    @property
    def version(self) -> tuple[int, int, int]:
        number = self._version()
        return number // 10000, number // 100 % 100, number % 100

    def device_check(self, device: int) -> None:
        self._check(self._device_check(device))

    def quantize_rows(self, args: QuantizeRowsArgs) -> None:
        self._check(self._quantize_rows(ctypes.byref(args)))

    def linear_workspace(self, desc: LinearDesc) -> int:
        size = ctypes.c_uint64()
        self._check(self._workspace(ctypes.byref(desc), ctypes.byref(size)))
        return size.value

    def linear(self, desc: LinearDesc, args: LinearArgs) -> None:
        self._check(self._linear(ctypes.byref(desc), ctypes.byref(args)))

    def _check(self, status: int) -> None:
        if status == OK:
            return
        message = self._last_error().decode("utf-8", "replace")
        name = self._name(status).decode()
        raise _ERRORS.get(status, IntaglioError)(status, name, message)


def _function(handle, path, name, result, *arguments):
    try:
        function = getattr(handle, name)
    except AttributeError:
        raise LibraryNotFoundError(f"{path} has no function {name}: it is not libintaglio, or an old one") from None
    function.restype = result
    function.argtypes = arguments
    return function


def _candidates() -> list[str]:
    """Where the library may be: INTAGLIO_LIBRARY alone if it is set, else next to the package, else where the loader looks."""
    from_environment = os.environ.get(ENVIRONMENT)
    if from_environment:
        return [from_environment]
    folder = Path(__file__).resolve().parent
    return [str(folder / name) for name in FILE_NAMES if (folder / name).exists()] + list(FILE_NAMES)


def load(path: str | None = None) -> Library:
    """Loads the library from `path`, or from the first place that has it."""
    failures = []
    for candidate in [path] if path else _candidates():
        try:
            return Library(ctypes.CDLL(candidate), candidate)
        except LibraryNotFoundError:
            raise
        except OSError as error:
            failures.append(f"  {candidate}: {error}")
    tried = "\n".join(failures)
    raise LibraryNotFoundError(
        f"libintaglio.so was not found. Build it (cmake --build BUILD --target intaglio_shared) and set {ENVIRONMENT} to its path, "
        f"or put it next to the package. Tried:\n{tried}"
    )


_lock = threading.Lock()
_loaded: Library | None = None


def library() -> Library:
    """The process's library, loaded at the first call."""
    global _loaded
    if _loaded is None:
        with _lock:
            if _loaded is None:
                _loaded = load()
    return _loaded
