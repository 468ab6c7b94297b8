"""Replaces the linears of a model in place."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import torch
from torch import nn

from .modules import Int8Linear, QuantizedActivation

_MAX_IN_FEATURES = 130000  # sums stay exact in int32


@dataclass
class ReplaceReport:
    """What replace_linears did, by module name."""

    replaced: dict = field(default_factory=dict)  # name -> (out_features, in_features)
    skipped: dict = field(default_factory=dict)  # name -> why
    shared: list = field(default_factory=list)  # modules whose input is quantized once
    bytes_before: int = 0  # of the replaced linears
    bytes_after: int = 0

    def __str__(self):
        lines = [
            f"{len(self.replaced)} linears replaced ({self.bytes_before / 2**20:.0f} MiB -> {self.bytes_after / 2**20:.0f} MiB), "
            f"{len(self.skipped)} skipped, {len(self.shared)} inputs shared"
        ]
        lines += [f"  skipped {name}: {reason}" for name, reason in self.skipped.items()]
        return "\n".join(lines)


def replace_linears(module, skip=(), *, share=()):
    """Puts an Int8Linear in the place of every nn.Linear below `module`; returns a ReplaceReport.

    skip: name patterns ("*adaln*", as in fnmatch; "*" also matches dots), or a predicate (name, linear) -> bool.
    share: name patterns of modules whose first input goes to Int8Linears and nowhere else (an attention, a feed-forward): it is quantized
    once for all of them (share_input).
    """
    if isinstance(module, nn.Linear):
        raise ValueError("module: is itself a linear; use Int8Linear.from_linear")
    should_skip = _predicate(skip)
    report = ReplaceReport()
    done = {}  # a linear that stands in two places stays one module
    for parent_name, parent in list(module.named_modules()):
        for child_name, child in list(parent._modules.items()):  # named_children would show a twice-used child once
            if not isinstance(child, nn.Linear):
                continue
            name = f"{parent_name}.{child_name}" if parent_name else child_name
            reason = _reason_to_skip(name, child, should_skip)
            if reason is not None:
                report.skipped[name] = reason
                continue
            if child not in done:
                done[child] = Int8Linear.from_linear(child)
                report.bytes_before += _bytes(child.parameters())
                report.bytes_after += _bytes(done[child].buffers())
            setattr(parent, child_name, done[child])
            report.replaced[name] = (child.out_features, child.in_features)
    report.shared = _share(module, [share] if isinstance(share, str) else share)
    return report


def share_input(module):
    """Quantizes the first argument of module.forward once, for all the Int8Linears that read it.

    Only for a module that hands this argument to Int8Linears and to nothing else; any other use of it fails with an error.
    """
    return module.register_forward_pre_hook(_quantize_first, with_kwargs=True)


def _quantize_first(module, args, kwargs):
    if args:
        return (_quantized(args[0]), *args[1:]), kwargs
    for name in ("hidden_states", "x", "input"):
        if name in kwargs:
            return args, {**kwargs, name: _quantized(kwargs[name])}
    raise ValueError(f"share_input: {type(module).__name__} was called without a first argument")


def _quantized(x):
    return QuantizedActivation.quantize(x) if isinstance(x, torch.Tensor) else x


def _share(module, patterns):
    shared = []
    for pattern in patterns:
        found = [(name, child) for name, child in module.named_modules() if fnmatchcase(name, pattern) and _holds_int8(child)]
        if not found:
            raise ValueError(f"share: no module with an Int8Linear is named {pattern!r}")
        for name, child in found:
            if name not in shared:
                share_input(child)
                shared.append(name)
    return shared


def _holds_int8(module):
    return any(isinstance(child, Int8Linear) for child in module.modules() if child is not module)


def _predicate(skip):
    if callable(skip):
        return skip
    patterns = [skip] if isinstance(skip, str) else list(skip)
    return lambda name, linear: any(fnmatchcase(name, pattern) for pattern in patterns)


def _reason_to_skip(name, linear, should_skip):
    if should_skip(name, linear):
        return "asked for"
    if type(linear) is not nn.Linear:
        return f"is a {type(linear).__name__}, which may compute something else"
    if not linear.weight.is_floating_point():
        return f"its weight is {linear.weight.dtype}"
    if linear.weight.is_meta:
        return "its weight is not loaded (meta device)"
    if linear.in_features > _MAX_IN_FEATURES:
        return f"{linear.in_features} input features, at most {_MAX_IN_FEATURES} stay exact"
    if linear._forward_hooks or linear._forward_pre_hooks:
        return "has forward hooks"
    return None


def _bytes(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
