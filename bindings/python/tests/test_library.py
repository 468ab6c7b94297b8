"""The ctypes layer without PyTorch and without a GPU.

INTAGLIO_TEST_LIBRARY: libintaglio.so, any build. INTAGLIO_TEST_DOUBLE: libintaglio_host_double.so, which computes on host memory.
"""

import ctypes
import os
import struct

import pytest

import intaglio
from intaglio import _dlpack
from intaglio import _library as lib


def _load(variable):
    path = os.environ.get(variable)
    if not path:
        pytest.skip(f"{variable} is not set")
    return lib.load(path)


@pytest.fixture
def library():
    return _load("INTAGLIO_TEST_LIBRARY")


@pytest.fixture
def double():
    return _load("INTAGLIO_TEST_DOUBLE")


@pytest.fixture
def unloaded(monkeypatch):
    monkeypatch.setattr(lib, "_loaded", None)


def floats(values):
    return (ctypes.c_float * len(values))(*values)


def int8s(values):
    return (ctypes.c_int8 * len(values))(*values)


def pointer(array):
    return ctypes.addressof(array)


def aligned(size, to=256):
    buffer = (ctypes.c_uint8 * (size + to))()
    start = (pointer(buffer) + to - 1) // to * to
    return buffer, start


# ---- finding the library


def test_structs_have_the_sizes_of_the_c_interface():
    assert ctypes.sizeof(lib.LinearDesc) == 72
    assert ctypes.sizeof(lib.LinearArgs) == 80
    assert ctypes.sizeof(lib.QuantizeRowsArgs) == 80
    assert lib.LinearDesc(m=3).struct_size == 72


def test_a_missing_library_names_what_was_tried(monkeypatch, unloaded):
    monkeypatch.setenv("INTAGLIO_LIBRARY", "/nowhere/libintaglio.so")
    with pytest.raises(intaglio.LibraryNotFoundError) as error:
        intaglio.version()
    assert "/nowhere/libintaglio.so" in str(error.value)
    assert "INTAGLIO_LIBRARY" in str(error.value)


def test_the_environment_is_asked_alone_else_package_then_loader(monkeypatch, tmp_path):
    monkeypatch.setenv("INTAGLIO_LIBRARY", "/a/b.so")
    assert lib._candidates() == ["/a/b.so"]
    monkeypatch.delenv("INTAGLIO_LIBRARY")
    (tmp_path / "libintaglio.so").touch()
    monkeypatch.setattr(lib, "__file__", str(tmp_path / "_library.py"))
    assert lib._candidates() == [str(tmp_path / "libintaglio.so"), "libintaglio.so.0", "libintaglio.so"]


def test_another_library_is_refused(monkeypatch, unloaded):
    monkeypatch.setenv("INTAGLIO_LIBRARY", "libm.so.6")
    with pytest.raises(intaglio.LibraryNotFoundError, match="no function intaglio_version"):
        intaglio.version()


def test_the_environment_variable_works(monkeypatch, unloaded, library):
    monkeypatch.setenv("INTAGLIO_LIBRARY", library.path)
    assert intaglio.version() == "0.1.0"


# ---- errors


def test_errors_name_the_argument(library):
    desc = lib.LinearDesc(m=4, n=8, k=0, a_type=lib.TYPE_BF16, out_type=lib.TYPE_BF16)
    with pytest.raises(intaglio.InvalidArgumentError) as error:
        library.linear_workspace(desc)
    assert str(error.value) == "desc.k: 0, expected 1 to 130000"
    assert error.value.status_name == "invalid_argument"
    assert isinstance(error.value, ValueError)
    desc.k = 16
    with pytest.raises(intaglio.InvalidArgumentError, match="args.a: null, expected a device pointer"):
        library.linear(desc, lib.LinearArgs())
    with pytest.raises(intaglio.InvalidArgumentError, match="args.w: null"):
        library.linear(desc, lib.LinearArgs(a=4096))
    desc.struct_size = 3
    with pytest.raises(intaglio.InvalidArgumentError, match="desc.struct_size: 3"):
        library.linear_workspace(desc)


def test_quantize_errors_name_the_argument(library):
    args = lib.QuantizeRowsArgs(rows=2, cols=24, x_type=lib.TYPE_F32)
    with pytest.raises(intaglio.InvalidArgumentError, match="args.ldq: 24, expected a multiple of 16"):
        library.quantize_rows(args)
    args.x_type = lib.TYPE_I8
    with pytest.raises(intaglio.InvalidArgumentError, match="args.x_type: 1, expected BF16, F16 or F32"):
        library.quantize_rows(args)


def test_no_work_is_no_error(library):
    desc = lib.LinearDesc(m=0, n=8, k=16, a_type=lib.TYPE_BF16, out_type=lib.TYPE_BF16)
    assert library.linear_workspace(desc) == 0
    library.linear(desc, lib.LinearArgs())


def test_an_unsupported_device_says_why(double):
    double.device_check(0)
    with pytest.raises(intaglio.UnsupportedError, match="device: 7"):
        double.device_check(7)


# ---- numbers, over the host double


def quantized(row):
    absmax = struct.unpack("f", struct.pack("f", max(map(abs, row))))[0]
    return [round(v * (127 / absmax)) for v in row], absmax / 127


def test_quantize_rows(double):
    rows = [[0.5, -1.0, 0.25, 0.125], [8.0, 4.0, -2.0, 1.0]]
    x, scale = floats(sum(rows, [])), floats([0, 0])
    buffer, q = aligned(32)
    double.quantize_rows(
        lib.QuantizeRowsArgs(
            rows=2, cols=4, ldq=16, x=pointer(x), q=q, scale=pointer(scale), x_type=lib.TYPE_F32
        )
    )
    values = (ctypes.c_int8 * 32).from_address(q)
    for r, row in enumerate(rows):
        expected, expected_scale = quantized(row)
        assert list(values[16 * r : 16 * r + 16]) == expected + [0] * 12
        assert scale[r] == pytest.approx(expected_scale, rel=1e-6)


@pytest.mark.parametrize("float_input", [False, True])
def test_linear(double, float_input):
    m, n, k = 2, 3, 4
    a_values = [127, -127, 64, 3, 1, 2, 3, 127]
    w_values = [1, 2, 3, 4, -128, 127, 0, 5, 9, 9, 9, 9]
    a8, w, bias = int8s(a_values), int8s(w_values), floats([0.5, -1, 2])
    w_scale, a_scale, out = floats([0.25, 0.5, 1]), floats([0.5, 2]), floats([0] * 6)
    # Rows whose absmax is 127 scales quantize to themselves.
    a32 = floats([v * a_scale[i // k] for i, v in enumerate(a_values)])
    desc = lib.LinearDesc(
        m=m, n=n, k=k, a_type=lib.TYPE_F32 if float_input else lib.TYPE_I8, out_type=lib.TYPE_F32
    )
    size = double.linear_workspace(desc)
    keep, workspace = aligned(size)
    args = lib.LinearArgs(
        a=pointer(a32 if float_input else a8),
        a_scale=None if float_input else pointer(a_scale),
        w=pointer(w),
        w_scale=pointer(w_scale),
        bias=pointer(bias),
        out=pointer(out),
        workspace=workspace,
        workspace_bytes=size,
    )
    double.linear(desc, args)
    for i in range(m):
        for j in range(n):
            total = sum(a_values[i * k + t] * w_values[j * k + t] for t in range(k))
            assert out[i * n + j] == pytest.approx(total * a_scale[i] * w_scale[j] + bias[j], rel=1e-6)
    args.workspace_bytes = size - 1
    with pytest.raises(intaglio.InvalidArgumentError, match=f"args.workspace_bytes: {size - 1}, expected at least"):
        double.linear(desc, args)
    args.w = 8
    with pytest.raises(intaglio.InvalidArgumentError, match="args.w: 0x8 is host memory"):
        double.linear(desc, args)


# ---- DLPack


def test_an_array_must_speak_dlpack():
    with pytest.raises(ValueError, match="x: list, expected an array that supports DLPack"):
        _dlpack.view([1, 2], "x")


def test_host_arrays_are_refused():
    numpy = pytest.importorskip("numpy")
    x = numpy.zeros((2, 16), numpy.float32)
    with pytest.raises(ValueError, match="x: in CPU memory, expected memory of a CUDA device"):
        intaglio.quantize_rows(x, x, x)


def test_dlpack_gives_pointer_shape_and_strides():
    numpy = pytest.importorskip("numpy")
    base = numpy.zeros((4, 32), numpy.float32)
    view = _dlpack.read(base[1:3, 8:24].__dlpack__(), "x")
    assert view.pointer == base.ctypes.data + (32 + 8) * 4
    assert (view.shape, view.row_stride(), view.type, view.item_bytes) == ((2, 16), 32, lib.TYPE_F32, 4)
    with pytest.raises(ValueError, match="x: strides .* expected a dense array"):
        view.dense((2, 16))
    with pytest.raises(ValueError, match="x: strides .* expected dense rows"):
        _dlpack.read(base.T.__dlpack__(), "x").row_stride()
    with pytest.raises(ValueError, match="x: float64 x 1, expected int8"):
        _dlpack.read(base.astype(numpy.float64).__dlpack__(), "x")


def test_streams_are_handles_or_objects():
    class Protocol:
        def __cuda_stream__(self):
            return 0, 42

    class Torch:
        cuda_stream = 43

    assert [intaglio._stream_handle(s) for s in (7, Protocol(), Torch())] == [7, 42, 43]
    with pytest.raises(ValueError, match="stream: str"):
        intaglio._stream_handle("default")
