"""intaglio.torch on CPU tensors, where the ops run their reference: modules, loading, replacing, sharing, compiling. Needs PyTorch 2.4."""

import json

import pytest

torch = pytest.importorskip("torch")
if not hasattr(torch.library, "custom_op"):
    pytest.skip(f"intaglio.torch needs PyTorch 2.4, found {torch.__version__}", allow_module_level=True)

from torch import nn
from torch.nn import functional as F

import intaglio.torch as it
from intaglio.torch import modules, reference


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def relative(found, expected):
    return float((found.double() - expected.double()).norm() / expected.double().norm())


class FeedForward(nn.Module):
    def __init__(self, width=64, hidden=96):
        super().__init__()
        self.w1 = nn.Linear(width, hidden, bias=False)
        self.w2 = nn.Linear(hidden, width, bias=True)
        self.w3 = nn.Linear(width, hidden, bias=False)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.adaln = nn.Linear(8, 64)
        self.layers = nn.ModuleList([FeedForward(), FeedForward()])

    def forward(self, x, c):
        x = x * (1 + self.adaln(c))
        for layer in self.layers:
            x = x + layer(x)
        return x


# ---- ops


def test_quantize_rows_keeps_its_contract():
    x = randn(3, 5, 20)
    x[0, 0] = 0
    x[0, 1, 3] = float("nan")
    x[0, 2, 3] = float("inf")
    values, scale = it.quantize_rows(x)
    assert values.shape == x.shape and values.stride() == (160, 32, 1) and scale.shape == (3, 5)
    assert values[0, 0].abs().sum() == 0 and scale[0, 0] == torch.tensor(1e-30)
    assert values[0, 1:3].abs().sum() == 0 and scale[0, 1:3].isnan().all()
    assert values[1:].abs().amax(-1).eq(127).all()
    error = (values * scale.unsqueeze(-1) - x)[1:].abs()
    assert (error <= 0.51 * scale[1:].unsqueeze(-1)).all()


def test_int8_linear_matches_float64_and_exact_sums():
    a, a_scale = it.quantize_rows(randn(7, 40))
    w, w_scale = it.quantize_weight(randn(32, 40, seed=1))
    bias = randn(32, seed=2)
    sums = it.int8_linear(a, None, w, None, None, torch.int32, False)
    assert torch.equal(sums.long(), a.long() @ w.long().t())
    exact = (a.double() * a_scale.double()[:, None]) @ (w.double() * w_scale.double()).t() + bias.double()
    out = it.int8_linear(a, a_scale, w, w_scale, bias, torch.float32, False)
    assert relative(out, exact) < 1e-6
    fused = it.int8_linear(a, a_scale, w, w_scale, bias, torch.float32, True)
    pairs = exact.reshape(7, 1, 2, 16)
    assert relative(fused, (F.silu(pairs[:, :, 0]) * pairs[:, :, 1]).reshape(7, 16)) < 1e-6


@pytest.mark.parametrize(
    "change, message",
    [
        ({"a": torch.zeros(2, 4, dtype=torch.int64)}, "a: torch.int64"),
        ({"a": torch.zeros(2, 5)}, r"a: shape \(2, 5\), expected \[..., 4\]"),
        ({"weight": torch.zeros(8, 4)}, "weight: torch.float32"),
        ({"weight_scale": None}, "weight_scale: None, expected 8 float32"),
        ({"weight_scale": torch.zeros(8, dtype=torch.bfloat16)}, "weight_scale: torch.bfloat16"),
        ({"bias": torch.zeros(7)}, "bias: torch.float32 \\(7,\\), expected 8"),
        ({"a_scale": torch.zeros(2)}, "a_scale: given, expected None"),
        ({"out_dtype": torch.float64}, "out_dtype: torch.float64"),
        ({"out_dtype": torch.int32}, "out_dtype: int32 is for int8 a"),
        ({"swiglu": True}, "weight: 8 rows, expected a multiple of 32"),
    ],
)
def test_errors_name_the_argument(change, message):
    good = {
        "a": torch.zeros(2, 4),
        "a_scale": None,
        "weight": torch.zeros(8, 4, dtype=torch.int8),
        "weight_scale": torch.ones(8, 1),
        "bias": None,
        "out_dtype": torch.float32,
        "swiglu": False,
    }
    it.int8_linear(*good.values())
    with pytest.raises(ValueError, match=message):
        it.int8_linear(*{**good, **change}.values())


# ---- modules


def test_int8_linear_module_is_near_the_float_one():
    linear = nn.Linear(64, 48)
    module = it.Int8Linear.from_linear(linear)
    x = randn(2, 3, 64)
    assert module(x).shape == (2, 3, 48) and module(x).dtype == x.dtype
    assert relative(module(x), linear(x).detach()) < 0.02
    shared = it.QuantizedActivation.quantize(x)
    assert shared.shape == x.shape and shared.dtype == x.dtype and relative(shared.dequantize(), x) < 0.01
    assert torch.equal(module(shared), module(x))
    assert module(x.bfloat16()).dtype == torch.bfloat16


def test_swiglu_module_is_near_the_float_one():
    block = FeedForward()
    fused = it.Int8SwiGLU.from_linears(block.w1, block.w3)
    x = randn(5, 64)
    expected = (F.silu(block.w1(x)) * block.w3(x)).detach()
    assert fused(x).shape == expected.shape and relative(fused(x), expected) < 0.03
    apart = F.silu(it.Int8Linear.from_linear(block.w1)(x)) * it.Int8Linear.from_linear(block.w3)(x)
    assert relative(fused(x), apart) < 1e-6
    with pytest.raises(ValueError, match="gate: 8 rows, expected a multiple of 16"):
        modules.interleave(torch.zeros(8, 4), torch.zeros(8, 4))


def test_state_dict_has_comfyui_names_and_shapes():
    module = it.Int8Linear.from_linear(nn.Linear(64, 48))
    state = module.state_dict()
    found = {name: (tuple(t.shape), t.dtype) for name, t in state.items()}
    assert found == {
        "weight": ((48, 64), torch.int8),
        "weight_scale": ((48, 1), torch.float32),
        "bias": ((48,), torch.float32),
    }
    assert list(it.Int8Linear.from_linear(nn.Linear(64, 48, bias=False)).state_dict()) == ["weight", "weight_scale"]
    other = it.Int8Linear(64, 48)
    other.load_state_dict(state)
    x = randn(4, 64)
    assert torch.equal(other(x), module(x))


@pytest.mark.parametrize("assign", [False, True])
def test_loads_what_comfyui_files_hold(assign):
    descriptor = lambda **fields: torch.tensor(list(json.dumps(fields).encode()), dtype=torch.uint8)
    weight = torch.randint(-127, 128, (48, 64), dtype=torch.int8)
    state = {
        "weight": weight,
        "weight_scale": torch.tensor(0.5),
        "bias": torch.ones(48, dtype=torch.bfloat16),
        "comfy_quant": descriptor(format="int8_tensorwise"),
        "input_scale": torch.ones(()),
    }
    module = it.Int8Linear(64, 48)
    module.load_state_dict(state, assign=assign)
    assert torch.equal(module.weight_scale, torch.full((48, 1), 0.5))
    assert module.bias.dtype == torch.float32 and "comfy_quant" in state
    module.load_state_dict({**state, "weight_scale": torch.ones(48)}, assign=assign)
    for bad, message in (
        ({"comfy_quant": descriptor(format="int8_tensorwise", convrot=True)}, "rotated"),
        ({"comfy_quant": descriptor(params={"convrot": True})}, "rotated"),
        ({"weight": weight.float()}, "weight: torch.float32, expected int8"),
    ):
        with pytest.raises(RuntimeError, match=message):
            it.Int8Linear(64, 48).load_state_dict({**state, **bad}, assign=assign)


def test_casting_the_model_leaves_scales_exact():
    module = it.Int8Linear.from_linear(nn.Linear(64, 48))
    scale, bias = module.weight_scale.clone(), module.bias.clone()
    nn.Sequential(module).to(torch.bfloat16).half()
    assert module.weight.dtype == torch.int8
    assert torch.equal(module.weight_scale, scale) and torch.equal(module.bias, bias)


def test_a_weight_with_nan_is_refused():
    linear = nn.Linear(16, 16)
    with torch.no_grad():
        linear.weight[3, 3] = float("nan")
    with pytest.raises(ValueError, match="weight: has a NaN"):
        it.Int8Linear.from_linear(linear)


# ---- replacing


def test_replace_linears_reports_what_it_did():
    model = Model()
    x, c = randn(2, 7, 64), randn(8)
    expected = model(x, c).detach()
    report = it.replace_linears(model, skip="*adaln*", share="layers.*")
    assert sorted(report.replaced) == [f"layers.{i}.w{j}" for i in range(2) for j in (1, 2, 3)]
    assert report.replaced["layers.0.w2"] == (64, 96)
    assert report.skipped == {"adaln": "asked for"}
    assert report.shared == ["layers.0", "layers.1"] and report.bytes_before > 3 * report.bytes_after
    assert str(report).startswith("6 linears replaced")
    assert isinstance(model.adaln, nn.Linear) and isinstance(model.layers[1].w2, it.Int8Linear)
    assert relative(model(x, c).detach(), expected) < 0.05


def test_replace_linears_skips_by_predicate_and_with_reasons():
    model = nn.ModuleDict({"a": nn.Linear(16, 16), "b": nn.Linear(16, 32), "c": nn.Linear(16, 16)})
    model["d"] = model["a"]
    model["e"] = torch.nn.modules.linear.NonDynamicallyQuantizableLinear(16, 16)
    model["c"].register_forward_hook(lambda *_: None)
    report = it.replace_linears(model, skip=lambda name, linear: linear.out_features == 32)
    assert sorted(report.replaced) == ["a", "d"] and model["a"] is model["d"]
    assert report.skipped["b"] == "asked for" and report.skipped["c"] == "has forward hooks"
    assert "NonDynamicallyQuantizableLinear" in report.skipped["e"]
    with pytest.raises(ValueError, match="module: is itself a linear"):
        it.replace_linears(nn.Linear(4, 4))
    with pytest.raises(ValueError, match="share: no module with an Int8Linear is named '\\*.nowhere'"):
        it.replace_linears(model, share=["*.nowhere"])


def test_sharing_quantizes_once_and_gives_the_same_bits(monkeypatch):
    plain, shared = FeedForward(), FeedForward()
    shared.load_state_dict(plain.state_dict())
    it.replace_linears(plain)
    it.replace_linears(shared)
    it.share_input(shared)
    x = randn(3, 64)
    calls = []
    quantize = it.QuantizedActivation.quantize
    monkeypatch.setattr(it.QuantizedActivation, "quantize", staticmethod(lambda x: calls.append(1) or quantize(x)))
    assert torch.equal(shared(x), plain(x)) and len(calls) == 1
    assert torch.equal(shared(x=x), plain(x))


def test_a_misused_shared_input_fails_loudly():
    residual = nn.Sequential()
    residual.forward = lambda x: x + 1
    it.share_input(residual)
    with pytest.raises(TypeError):
        residual(randn(2, 16))


# ---- compiling


def test_compiles_to_one_graph():
    model = Model()
    it.replace_linears(model, skip="*adaln*", share="layers.*")
    x, c = randn(2, 7, 64), randn(8)
    expected = model(x, c).detach()
    try:
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    except RuntimeError as error:
        pytest.skip(f"no torch.compile here: {error}")
    assert relative(compiled(x, c).detach(), expected) < 1e-6


def test_reference_rounds_halves_to_even():
    values, _ = reference.quantize_rows(torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5]]))
    assert values.tolist() == [[127, 0, 2, 2, 0, -2]]
