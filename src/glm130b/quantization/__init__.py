"""INT8 and INT4 weights: absmax per output row, activations untouched."""

from glm130b.model import Bits
from glm130b.quantization.absmax import dequantize, pack_int4, quantize_rows, unpack_int4
from glm130b.quantization.convert import Quantized, is_quantizable
from glm130b.quantization.linear import QuantizedLinear, use_quantized_linears

__all__ = [
    "Bits",
    "Quantized",
    "QuantizedLinear",
    "dequantize",
    "is_quantizable",
    "pack_int4",
    "quantize_rows",
    "unpack_int4",
    "use_quantized_linears",
]
