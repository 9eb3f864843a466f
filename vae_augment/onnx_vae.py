"""The same network in ONNX Runtime: on the CPU one image takes about 0.6 of the time of `fused.py`, and many a little less.

Needs `pip install 'vae-augment[onnx]'`. Each process builds its own sessions, in milliseconds, where they are first used.
"""

import importlib.util
import os
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .fused import CHUNK, FusedVAE
from .vae import Posterior

Array = npt.NDArray[Any]


class OnnxVAE:
    """What a `FusedVAE` of the CPU computes, between images and whitened latents; see its methods of the same names.

    In float32, also under autocast.

    Raises:
        ImportError: a package of the extra is not installed.
    """

    def __init__(self, fused: FusedVAE) -> None:
        for package in ("onnx", "onnxruntime"):
            if importlib.util.find_spec(package) is None:
                raise ImportError(
                    f"backend='onnx' needs {package}, which is not installed: pip install 'vae-augment[onnx]'"
                )
        self.fused = fused
        # by process: a forked one holds its parent's too, and leaves them alone, since it has not their threads
        self._sessions: dict[tuple[int, str], Any] = {}

    def whitened_mean(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self._run("whitened_mean", {"x": x.numpy()})[0])

    def encode_whitened(self, x: Tensor) -> Posterior:
        return Posterior(*map(torch.from_numpy, self._run("encode_whitened", {"x": x.numpy()})))

    def decode_whitened(self, z: Tensor) -> Tensor:
        return torch.from_numpy(self._run("decode_whitened", {"z": z.numpy()})[0])

    def decoded_change(self, mean: Tensor, move: Tensor, amount: float) -> Tensor:
        batch = {"mean": mean.numpy(), "move": move.numpy()}
        return torch.from_numpy(self._run("decoded_change", batch, amount)[0])

    def vary_bytes(self, pixels: Tensor, move: Tensor, amount: float) -> Tensor:
        x, c = pixels.numpy(), self.fused.config
        flat = x.reshape(-1, c.channels, c.size, c.size)  # numpy's takes a part of the time of torch's
        out = self._run("vary_bytes", {"pixels": flat, "move": move.numpy()}, amount)[0]
        return torch.from_numpy(out.reshape(x.shape))

    def _run(self, function: str, batch: dict[str, Array], amount: float | None = None) -> list[Array]:
        """A function of `onnx_graph.py` -> its outputs, for inputs of its own names."""
        count = len(next(iter(batch.values())))
        if count > CHUNK:  # more at a time are not faster
            parts = ({name: x[i : i + CHUNK] for name, x in batch.items()} for i in range(0, count, CHUNK))
            return list(map(np.concatenate, zip(*(self._run(function, part, amount) for part in parts), strict=True)))
        if amount is not None:
            batch["amount"] = np.array(amount, dtype=np.float32)
        session = self._sessions.get((os.getpid(), function)) or self._built(function)
        outputs: list[Array] = session.run(None, batch)
        return outputs

    def _built(self, function: str) -> Any:
        import onnxruntime

        from . import onnx_graph

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()  # in a worker one
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # threads that wait cost nothing
        graph = onnx_graph.Graph(self.fused)
        model = graph.model(getattr(onnx_graph, function)(graph))
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._sessions[os.getpid(), function] = session
        return session
