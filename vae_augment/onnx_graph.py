"""A VAE's functions as ONNX graphs, with the matrices of its `FusedVAE`, in which all scaling is folded.

Windows are read by convolutions here: ONNX Runtime computes these soonest, where PyTorch gathers and multiplies.
"""

from typing import Any

import numpy as np
from onnx import helper, numpy_helper
from torch import Tensor

from .fused import Affine, FusedVAE

OPSET, IR_VERSION = 17, 9  # of 2022 and 2023: what any ONNX Runtime of today reads


class Graph:
    """A graph in the making: each operation returns the name of what it computes. Images are `(B, C, S, S)`."""

    def __init__(self, net: FusedVAE) -> None:
        self.net, self.config = net, net.config
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []

    def image(self, name: str, dtype: type = np.float32) -> str:
        c = self.config
        return self._input(name, ["batch", c.channels, c.size, c.size], dtype)

    def latent(self, name: str) -> str:
        return self._input(name, ["batch", *self.config.latent_shape], np.float32)

    def number(self, name: str) -> str:
        return self._input(name, [], np.float32)

    def _input(self, name: str, shape: list[Any], dtype: type) -> str:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def constant(self, value: Tensor | list[int] | float) -> str:
        array = value.numpy() if isinstance(value, Tensor) else np.array(value)
        array = np.ascontiguousarray(array, np.int64 if array.dtype.kind == "i" else np.float32)
        name = f"constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(array.reshape(np.shape(value)), name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        names = [f"{kind}{len(self._nodes)}_{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def silu(self, x: str) -> str:
        return self.op("Mul", x, self.op("Sigmoid", x))

    def gemm(self, x: str, affine: Affine) -> str:
        bias, weight = affine
        return self.op("Gemm", x, self.constant(weight), self.constant(bias))

    def conv(self, x: str, affine: Affine, inside: int, stride: int = 1, margin: int = 0) -> str:
        """A `WindowConv`, whose windows are rows `(inside side side)` of the weight."""
        bias, weight = affine
        side = stride + 2 * margin
        if margin:
            x = self.op("Pad", x, self.constant([0, 0, margin, margin] * 2), mode="edge")
        kernel = self.constant(weight.T.reshape(-1, inside, side, side))
        return self.op("Conv", x, kernel, self.constant(bias), strides=[stride, stride])

    def model(self, outputs: list[str]) -> bytes:
        infos = [helper.make_empty_tensor_value_info(name) for name in outputs]
        graph = helper.make_graph(self._nodes, "vae", self._inputs, infos, self._constants)
        opset = helper.make_opsetid("", OPSET)
        return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION).SerializeToString())


# Each names its inputs as the method of `FusedVAE` of the same name, and returns the names of its outputs.


def whitened_mean(g: Graph) -> list[str]:
    return [_latent(g, _features(g, g.image("x"), g.net.patches), g.net.to_mean)]


def encode_whitened(g: Graph) -> list[str]:
    both = _latent(g, _features(g, g.image("x"), g.net.patches), g.net.to_latent)
    mean, raw = g.ops("Split", 2, both, axis=1)
    shift = g.net.log_std_shift.view(-1, *[1] * (len(g.config.latent_shape) - 1))
    log_std = g.op("Add", g.op("Mul", g.op("Tanh", raw), g.constant(3.0)), g.constant(shift))
    return [mean, g.op("Exp", log_std)]


def decode_whitened(g: Graph) -> list[str]:
    return [_image(g, _patches(g, g.latent("z")))]


def decoded_change(g: Graph) -> list[str]:
    return [_change(g, g.latent("mean"))]


def vary_bytes(g: Graph) -> list[str]:
    x = g.op("Cast", g.image("pixels", np.uint8), to=helper.np_dtype_to_tensor_dtype(np.dtype(np.float32)))
    change = _change(g, _latent(g, _features(g, x, g.net.patches_of_bytes), g.net.to_mean))
    varied = g.op("Add", x, g.op("Mul", change, g.constant(255.0)))
    rounded = g.op("Round", g.op("Clip", varied, g.constant(0.0), g.constant(255.0)))
    return [g.op("Cast", rounded, to=helper.np_dtype_to_tensor_dtype(np.dtype(np.uint8)))]


def _features(g: Graph, x: str, patches: Affine) -> str:
    """Images -> what latents are read from: `(B, neck h h)`, spatial `(B, width, h, h)`."""
    c = g.config
    h = g.silu(g.conv(x, patches, c.channels, c.patch, c.overlap))
    return h if g.net.neck is None else g.op("Flatten", g.conv(h, g.net.neck, c.width))


def _latent(g: Graph, features: str, affine: Affine) -> str:
    if g.config.spatial:
        return g.conv(features, affine, g.config.width)
    bias, weight = affine
    return g.gemm(features, (bias, _channels_first(weight, g.config.neck)))


def _patches(g: Graph, z: str) -> str:
    """Latents -> pixels in [0, 1] of each patch, `(B, C p p, h, h)`."""
    c = g.config
    if c.spatial:
        h = g.conv(z, g.net.hidden, c.latent_dim, margin=1)
    else:
        bias, weight = g.net.hidden
        to_hidden = _channels_first(bias, c.width), _channels_first(weight.T, c.width).T
        h = g.op("Reshape", g.gemm(z, to_hidden), g.constant([-1, c.width, c.grid, c.grid]))
    return g.op("Sigmoid", g.conv(g.silu(h), g.net.pixels, c.width))


def _change(g: Graph, mean: str) -> str:
    moved = g.op("Add", mean, g.op("Mul", g.latent("move"), g.number("amount")))
    after, before = g.ops("Split", 2, _patches(g, g.op("Concat", moved, mean, axis=0)), axis=0)
    return _image(g, g.op("Sub", after, before))


def _image(g: Graph, patches: str) -> str:
    return g.op("DepthToSpace", patches, blocksize=g.config.patch, mode="CRD")


def _channels_first(rows: Tensor, channels: int) -> Tensor:
    """Rows `(h h channels, ...)` in the order `(channels h h)`."""
    return rows.view(-1, channels, *rows.shape[1:]).transpose(0, 1).flatten(0, 1)
