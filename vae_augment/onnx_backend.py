"""The network in ONNX Runtime, from bytes to bytes: for one image at a time, about three times faster than PyTorch.

At batch 1 most of PyTorch's time goes into calling fifty small operations; here they are two calls. `pip install
'vae-augment[onnx]'`. The graph is built from the weights in a fraction of a second, in each process anew.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .vae import VAE

OPSET, IR_VERSION = 18, 9  # of 2023: read by every onnxruntime since 1.15


class OnnxVAE:
    """What a frozen VAE does to uint8 images of its own size, on the processor, with one thread.

    Raises:
        ImportError: onnx or onnxruntime is not installed.
    """

    def __init__(self, vae: VAE) -> None:
        self._vae = vae
        self._sessions: dict[str, Any] = {}
        _import_onnx()

    def __getstate__(self) -> dict[str, Any]:
        return {"_vae": self._vae, "_sessions": {}}  # sessions do not pickle

    def whitened_mean(self, pixels: Tensor) -> Tensor:
        """uint8 `(B, C, S, S)` -> mean of the posterior in whitened units, `(B, *latent_shape)`."""
        return self._run("mean", pixels=pixels)

    def changed(self, pixels: Tensor, moved: Tensor, mean: Tensor) -> Tensor:
        """The image with the change `decode(moved) - decode(mean)` added, rounded and clamped to 0..255: uint8."""
        return self._run("changed", pixels=pixels, moved=moved, mean=mean)

    def decoded(self, z: Tensor) -> Tensor:
        """Whitened latents `(B, *latent_shape)` -> images, uint8 `(B, C, S, S)`."""
        return self._run("decoded", z=z)

    def _run(self, name: str, **inputs: Tensor) -> Tensor:
        if name not in self._sessions:
            self._sessions[name] = _session(getattr(_Graph(self._vae), name)())
        return torch.from_numpy(self._sessions[name].run(None, {k: v.numpy() for k, v in inputs.items()})[0])


class _Graph:
    """Builds one ONNX model, node by node; a value is known by its name."""

    def __init__(self, vae: VAE) -> None:
        self.vae, self.config = vae, vae.config
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        _, self.make = _import_onnx()

    def mean(self) -> bytes:
        c, vae = self.config, self.vae
        modules = list(vae.encoder)
        x = self._scaled(self._float("pixels"), 1 / 255)
        # PixelUnshuffle and the 1x1 convolution after it are one convolution with a stride
        kernel = modules[1].get_parameter("weight").view(c.width, c.channels, c.patch, c.patch)
        h = self._op("Conv", x, self._constant(kernel), self._bias(modules[1]), strides=[c.patch] * 2)
        for block in modules[2 : 2 + c.encoder_blocks]:
            h = self._block(h, block)
        h = self._conv(self._silu(h), modules[3 + c.encoder_blocks])
        if not c.spatial:
            h = self._linear(self._op("Flatten", h), modules[-1])
        h = self._op("Slice", h, *(self._constant(np.array([v])) for v in (0, c.latent_dim, 1)))
        mean, std = (self._constant(part[None]) for part in (vae.latent_mean, vae.latent_std))
        return self._model(self._op("Div", self._op("Sub", h, mean), std), ["pixels"], np.float32)

    def changed(self) -> bytes:
        both = self._decode(self._op("Concat", "moved", "mean", axis=0))
        after, before = self._op("Split", both, outputs=2, axis=0, num_outputs=2)
        change = self._scaled(self._op("Sub", after, before), 255)
        return self._model(self._bytes(self._op("Add", self._float("pixels"), change)), ["pixels", "moved", "mean"], np.uint8)

    def decoded(self) -> bytes:
        return self._model(self._bytes(self._scaled(self._decode("z"), 255)), ["z"], np.uint8)

    def _decode(self, z: str) -> str:
        c, vae = self.config, self.vae
        modules = list(vae.decoder)
        mean, std = (self._constant(part[None]) for part in (vae.latent_mean, vae.latent_std))
        z = self._op("Add", self._op("Mul", z, std), mean)
        if c.spatial:
            h, rest = self._conv(z, modules[0]), modules[1:]
        else:
            grid = self._constant(np.array([-1, c.neck, c.grid, c.grid]))
            h = self._conv(self._op("Reshape", self._linear(z, modules[0]), grid), modules[2])
            rest = modules[3:]
        for block in rest[: c.decoder_blocks]:
            h = self._block(h, block)
        h = self._op("Sigmoid", self._conv(self._silu(h), rest[c.decoder_blocks + 1]))
        return self._op("DepthToSpace", h, blocksize=c.patch, mode="CRD")  # PixelShuffle

    def _block(self, x: str, block: nn.Module) -> str:
        h = self._conv(self._silu(x), block.get_submodule("column.1"))
        return self._op("Add", x, self._conv(self._silu(h), block.get_submodule("column.3")))

    def _conv(self, x: str, layer: nn.Module) -> str:
        assert isinstance(layer, nn.Conv2d)
        return self._op("Conv", x, self._constant(layer.weight), self._bias(layer), pads=[layer.padding[0]] * 4)

    def _linear(self, x: str, layer: nn.Module) -> str:
        return self._op("Gemm", x, self._constant(layer.get_parameter("weight")), self._bias(layer), transB=1)

    def _silu(self, x: str) -> str:
        return self._op("Mul", x, self._op("Sigmoid", x))

    def _float(self, x: str) -> str:
        return self._op("Cast", x, to=self._dtype(np.float32))

    def _scaled(self, x: str, factor: float) -> str:
        return self._op("Mul", x, self._constant(np.float32(factor)))

    def _bytes(self, x: str) -> str:
        low, high = (self._constant(np.float32(v)) for v in (0, 255))
        return self._op("Cast", self._op("Round", self._op("Clip", x, low, high)), to=self._dtype(np.uint8))

    def _bias(self, layer: nn.Module) -> str:
        return self._constant(layer.get_parameter("bias"))

    def _op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"{kind}{len(self.nodes)}.{i}" for i in range(outputs)]
        self.nodes.append(self.make.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def _constant(self, value: Any) -> str:
        from onnx import numpy_helper

        array = value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), f"constant{len(self.constants)}"))
        return str(self.constants[-1].name)

    def _dtype(self, dtype: Any) -> int:
        return int(self.make.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def _model(self, out: str, inputs: list[str], dtype: Any) -> bytes:
        c = self.config
        shapes = {"pixels": ["batch", c.channels, c.size, c.size]}
        latent = ["batch", *self.vae.latent_shape]
        types = [(name, np.uint8 if name == "pixels" else np.float32, shapes.get(name, latent)) for name in inputs]
        made = [self.make.make_tensor_value_info(name, self._dtype(kind), shape) for name, kind, shape in types]
        result = self.make.make_tensor_value_info(out, self._dtype(dtype), None)
        graph = self.make.make_graph(self.nodes, "vae", made, [result], self.constants)
        opset = self.make.make_opsetid("", OPSET)
        return bytes(self.make.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION).SerializeToString())


def _session(model: bytes) -> Any:
    runtime, _ = _import_onnx()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # no threads of its own: none to lose in a fork
    options.log_severity_level = 3
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _import_onnx() -> tuple[Any, Any]:
    try:
        import onnxruntime
        from onnx import helper
    except ImportError as error:
        raise ImportError(f"backend='onnx' needs {error.name}: pip install 'vae-augment[onnx]'") from None
    return onnxruntime, helper
