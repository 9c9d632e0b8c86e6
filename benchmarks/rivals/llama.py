"""llama.cpp through its own C interface, on a model in one of its own formats."""

from __future__ import annotations

import ctypes
from pathlib import Path

import gguf
import llama_cpp as C
import numpy as np
from shape import RandomValues, Shape, llama_tensors, prompt
from worker import Times, serve, timed

LAYERS = rb"blk\..*(attn_(q|k|v|output)|ffn_(gate|up|down))\.weight"
FORMATS = {"Q4_0": C.LLAMA_FTYPE_MOSTLY_Q4_0, "Q8_0": C.LLAMA_FTYPE_MOSTLY_Q8_0, "F16": None}
PROMPT = 16


def write_model(shape: Shape, path: Path) -> None:
    """Random weights in FP16."""
    values = RandomValues()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(shape.length)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.hidden // shape.heads)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_tokenizer_model("no_vocab")
    for name, size in llama_tensors(shape):
        tensor = np.ones(size, np.float32) if len(size) == 1 else values(name, size)
        writer.add_tensor(f"{name}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def model_file(shape: Shape, kind: str, folder: Path) -> Path:
    """The model in ``kind``, made if it is not there: quantised by llama.cpp, which chooses what to leave."""
    path, part = folder / f"llama-{kind}.gguf", folder / "llama.part"
    if path.exists():
        return path
    if FORMATS[kind] is None:
        write_model(shape, part)
    else:
        options = C.llama_model_quantize_default_params()
        options.ftype = FORMATS[kind]
        original = str(model_file(shape, "F16", folder)).encode()
        if C.llama_model_quantize(original, str(part).encode(), ctypes.byref(options)):
            raise RuntimeError(f"llama.cpp could not write {kind}")
    return part.rename(path)


class Override(ctypes.Structure):
    """``llama_model_tensor_buft_override``: tensors of these names go into buffers of this type."""

    _fields_ = (("pattern", ctypes.c_char_p), ("type", ctypes.c_void_p))


def repack_buffers() -> int:
    """The type of buffer in which llama.cpp keeps Q4_0 for AVX-512."""
    folder, address = Path(C.__file__).parent / "lib", ctypes.c_void_p
    base, ggml = (ctypes.CDLL(str(folder / f"lib{name}.so")) for name in ("ggml-base", "ggml"))
    ggml.ggml_backend_dev_by_type.restype = address
    base.ggml_backend_dev_backend_reg.restype = base.ggml_backend_reg_get_proc_address.restype = address
    base.ggml_backend_buft_name.restype = ctypes.c_char_p
    device = address(ggml.ggml_backend_dev_by_type(0))
    found = base.ggml_backend_reg_get_proc_address(
        address(base.ggml_backend_dev_backend_reg(device)), b"ggml_backend_dev_get_extra_bufts"
    )
    types = ctypes.CFUNCTYPE(ctypes.POINTER(address), address)(found)(device)
    named = {base.ggml_backend_buft_name(address(kind)): kind for kind in iter(iter(types).__next__, None)}
    return named[b"CPU_REPACK"]


class Llama:
    """``amx`` false: the layers' weights as llama.cpp would have them on a processor without AMX."""

    def __init__(self, shape: dict[str, int], kind: str, folder: str, threads: int, amx: bool = True) -> None:
        C.llama_backend_init()
        self.shape = Shape(**shape)
        self.path = model_file(self.shape, kind, Path(folder))
        loading = C.llama_model_default_params()
        if not amx and kind == "Q4_0":
            self.overrides = (Override * 2)(Override(LAYERS, repack_buffers()), Override(None, None))
            loading.tensor_buft_overrides = ctypes.cast(self.overrides, ctypes.c_void_p)
        elif not amx:
            loading.use_extra_bufts = False
        self.model = C.llama_model_load_from_file(str(self.path).encode(), loading)
        options = C.llama_context_default_params()
        options.n_ctx = options.n_batch = self.shape.length
        options.n_threads = options.n_threads_batch = threads
        self.context = C.llama_init_from_model(self.model, options)
        self.prefill(PROMPT)

    def about(self) -> dict[str, object]:
        """The size of its file, and which instructions it uses here."""
        found = C.llama_print_system_info().decode()
        return {"file": self.path.stat().st_size, "version": C.__version__, "system": found.strip(" |")}

    def decode(self, tokens: int) -> list[Times]:
        """Greedily, one token after the other."""
        if self.read + tokens > self.shape.length:
            self.prefill(PROMPT)
        return [timed(lambda: self._step([self.token])) for _ in range(tokens)]

    def prefill(self, tokens: int) -> Times:
        """A new text of so many tokens, to the logits of its last."""
        C.llama_memory_clear(C.llama_get_memory(self.context), True)
        self.read = 0
        return timed(lambda: self._step(prompt(self.shape, tokens)))

    def _step(self, tokens: list[int]) -> None:
        array = (C.llama_token * len(tokens))(*tokens)
        if C.llama_decode(self.context, C.llama_batch_get_one(array, len(tokens))):
            raise RuntimeError("llama_decode failed")
        logits = C.llama_get_logits_ith(self.context, -1)
        self.token = int(np.ctypeslib.as_array(logits, (self.shape.vocabulary,)).argmax())
        self.read += len(tokens)


if __name__ == "__main__":
    serve(Llama)
