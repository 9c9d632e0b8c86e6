"""INT8 and INT4 weights: absmax by row or group of columns, activations untouched."""

from glm130b.kernels import dequantize, unpack_int4
from glm130b.model import Bits, Scheme
from glm130b.quantization.absmax import pack_int4, quantize_rows
from glm130b.quantization.analyse_activations import ActivationRecorder, ActivationReport
from glm130b.quantization.analyse_null import GaussianNull, gaussian_null
from glm130b.quantization.analyse_page import Analysis, write_analysis
from glm130b.quantization.analyse_weights import GRAINS, Grain, MatrixReport, analyse_matrices, matrix_names
from glm130b.quantization.convert import Quantized, is_quantizable
from glm130b.quantization.error import KindError, MatrixError, errors_by_kind, matrix_error
from glm130b.quantization.linear import QuantizedLinear, use_quantized_linears

__all__ = [
    "GRAINS",
    "ActivationRecorder",
    "ActivationReport",
    "Analysis",
    "Bits",
    "GaussianNull",
    "Grain",
    "KindError",
    "MatrixError",
    "MatrixReport",
    "Quantized",
    "QuantizedLinear",
    "Scheme",
    "analyse_matrices",
    "dequantize",
    "errors_by_kind",
    "gaussian_null",
    "is_quantizable",
    "matrix_error",
    "matrix_names",
    "pack_int4",
    "quantize_rows",
    "unpack_int4",
    "use_quantized_linears",
    "write_analysis",
]
