"""INT8 linears for PyTorch: custom ops that torch.compile keeps in one graph, and modules that replace nn.Linear.

    report = intaglio.torch.replace_linears(model, skip=["*adaln*"], share=["*.attention", "*.feed_forward"])
"""

import torch

if not hasattr(torch.library, "custom_op"):
    raise ImportError(f"intaglio.torch needs PyTorch 2.4 or newer, found {torch.__version__}")

from .modules import Int8Linear, Int8SwiGLU, QuantizedActivation, quantize_weight
from .ops import int8_linear, quantize_rows
from .replace import ReplaceReport, replace_linears, share_input

__all__ = [
    "Int8Linear",
    "Int8SwiGLU",
    "QuantizedActivation",
    "ReplaceReport",
    "int8_linear",
    "quantize_rows",
    "quantize_weight",
    "replace_linears",
    "share_input",
]
