"""A bank as named tensors, as bank.safetensors holds them, and back; earlier versions' banks included.

The tensors are latents; neighbours, those of the first view; and what `table.VIEWS` says of each view: its own tensors, and the
name of its neighbours if another view comes before it.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..encoders import check_name
from ..vae import Codec
from . import table
from .bank import LatentBank
from .nearest import EXACT, as_places
from .table import Shapes, ViewKind
from .views import View

FIRST_GRAPH = "neighbours"
INDEX = "index"  # of the images among those that the bank was made of; optional, and never their paths


def integer_names() -> set[str]:
    """Names of the tensors that hold integers, neighbours and the index, where all others are floats."""
    return {INDEX, FIRST_GRAPH, *(kind.graph for kind in table.VIEWS)}


def bank_shapes(names: Collection[str], vae: Codec) -> Shapes:
    """What a bank of this VAE must hold that holds tensors of these names: names and shapes, None for any length."""
    shapes: dict[str, tuple[int | None, ...]] = {"latents": (None, *vae.latent_shape), FIRST_GRAPH: (None, None)}
    if INDEX in names:
        shapes[INDEX] = (None,)
    for kind in table.VIEWS:
        own = kind.tensors.shapes(vae.channels)
        if own.keys() & set(names):
            shapes.update(own)
        if kind.graph in names:
            shapes[kind.graph] = (None, None)
    return shapes


def bank_texts(bank: LatentBank) -> dict[str, str]:
    """What is stored of a bank beside its tensors: the name of its encoder, if it has one."""
    return {} if bank.encoder is None else {table.ENCODER.name: bank.encoder}


def bank_to_tensors(bank: LatentBank) -> dict[str, Tensor]:
    """A bank -> its tensors: latents in float16, neighbours in int16, or int32 of more than 32,768 images, the index in int32.

    Raises:
        ValueError: a view that is not of the table, or not as the table says, would be lost or changed.
    """
    tensors = {"latents": bank.latents.half()}
    if bank.index is not None:
        tensors[INDEX] = bank.index.int()
    for place, view in enumerate(bank.views):
        if (kind := table.kind_of(view)) is None:
            raise ValueError(_unstored(view, "is not in the table of views"))
        if view.weight != kind.weight:
            raise ValueError(_unstored(view, f"has weight {view.weight}, and would be read with {kind.weight}"))
        try:
            own = kind.tensors.write(view)
        except TypeError as error:
            raise ValueError(_unstored(view, f"is not what its name says: {error}")) from None
        own = {FIRST_GRAPH if place == 0 else kind.graph: as_places(view.neighbours, len(bank)), **own}
        if own.keys() & tensors.keys():
            raise ValueError(_unstored(view, "is there twice, or must be the first"))
        tensors.update(own)
    if bank.policy != table.policy_of(bank.views):
        raise ValueError(
            "the bank's policy is not that of its views in the table of views, so that it cannot be stored. Save the "
            "bank with that one, and give yours to the loaded bank: dataclasses.replace(bank, policy=...)"
        )
    return tensors


def bank_from_tensors(tensors: Mapping[str, Tensor], vae: Codec, texts: Mapping[str, str]) -> LatentBank:
    """Tensors of `bank_shapes`, and the texts beside them -> the bank.

    Raises:
        ValueError: neighbours that are no places of the latents, or tensors that do not fit one another.
    """
    latents, index = tensors["latents"], tensors.get(INDEX)
    if index is not None:
        _check_index(index, len(latents))
    stored = {kind.name: kind.tensors.shapes(vae.channels).keys() for kind in table.VIEWS}
    kinds = [kind for kind in table.VIEWS if stored[kind.name] & tensors.keys()]
    for kind in table.VIEWS:
        if kind.graph != FIRST_GRAPH and kind.graph in tensors and kind not in kinds:
            missing = ", ".join(sorted(stored[kind.name]))
            raise ValueError(f"{kind.graph} is there without the {kind.name} that it is of: {missing}")
    first = _first_kind(kinds, tensors)
    views = []
    for kind in (first, *(kind for kind in kinds if kind is not first)):
        graph = FIRST_GRAPH if kind is first else kind.graph
        _check_graph(graph, tensors[graph], len(latents))
        own = {name: tensors[name] for name in stored[kind.name]}
        named = replace(kind, name=check_name(texts.get(kind.name, ""))) if kind is table.ENCODER else kind
        views.append(kind.tensors.read(named, own, latents, tensors[graph]))
    return LatentBank(latents, tuple(views), table.policy_of(views), vae.fingerprint(), index)


def _first_kind(kinds: list[ViewKind], tensors: Mapping[str, Tensor]) -> ViewKind:
    """The kind of view whose neighbours have no name of their own; if all have one, latents and HOG, which has no tensors."""
    unnamed = [kind for kind in kinds if kind.graph not in tensors]
    if table.ENCODER in unnamed:
        raise ValueError(f"missing tensors: {table.ENCODER.graph}, as the view of an encoder is never the first")
    if len(unnamed) > 1:
        raise ValueError(
            f"missing tensors: {' or '.join(kind.graph for kind in unnamed)}, as only one view is the first"
        )
    return unnamed[0] if unnamed else next(kind for kind in table.VIEWS if kind.graph == FIRST_GRAPH)


def _check_index(index: Tensor, count: int) -> None:
    if index.dtype != torch.int32 or index.shape != (count,):
        raise ValueError(f"{INDEX} must be int32 ({count},), as latents are, got {index.dtype} {tuple(index.shape)}")
    if count and (int(index[0]) < 0 or not bool((index[1:] > index[:-1]).all())):
        raise ValueError(f"{INDEX} must be places of images, ascending")


def _check_graph(name: str, neighbours: Tensor, count: int) -> None:
    kinds = (torch.int16, torch.int32) if count <= EXACT else (torch.int32,)
    if neighbours.dtype not in kinds or len(neighbours) != count or not neighbours.numel():
        raise ValueError(
            f"{name} must be {' or '.join(str(kind).removeprefix('torch.') for kind in kinds)} (N, k) for {count} latents, got "
            f"{neighbours.dtype} {tuple(neighbours.shape)}"
        )
    if neighbours.shape[1] >= count:
        raise ValueError(f"{neighbours.shape[1]} {name} of each of {count} latents")
    if not (int(neighbours.min()) >= 0 and int(neighbours.max()) < count):
        raise ValueError(f"{name} point outside the {count} latents")


def _unstored(view: View, fault: str) -> str:
    return (
        f"the bank's view {view.name!r} {fault}, so that it cannot be stored. Give it a row in vae_augment/pool/table.py, or "
        "save the bank without it: dataclasses.replace(bank, views=...)"
    )
