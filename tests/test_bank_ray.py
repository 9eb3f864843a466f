"""Images embedded by Ray Data, on a real local Ray, are those of one call. A file of its own: Ray takes long to start."""

import pytest
import torch

from vae_augment import LatentBank, load_weights
from vae_augment.demo_data import fashion_sample
from vae_augment.pool import EmbedBatch, embed_images

IMAGES, _ = fashion_sample()


def test_ray_data_embeds_as_one_call_does():
    ray = pytest.importorskip("ray")
    vae = load_weights("fashion-mnist").vae
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    try:
        rows = ray.data.from_numpy(IMAGES[:40, 0].numpy()).rename_columns(["image"])
        parts = rows.map_batches(EmbedBatch(vae), batch_size=20).iter_batches(batch_size=20)
        bank = LatentBank.from_embedded(vae, parts)
    finally:
        ray.shutdown()
    expected = LatentBank.from_embedded(vae, [embed_images(vae, list(IMAGES[:40]))])
    assert torch.equal(bank.index, expected.index)
    assert torch.allclose(bank.latents.float(), expected.latents.float(), atol=1e-2)
