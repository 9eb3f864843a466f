"""Write a synthetic data set with Ray Data, on one machine or a cluster: the same files as `SyntheticDataset.save` writes.

pip install 'vae-augment[ray,write]'
python examples/ray_generate.py out           5,000 images of the shipped sample as parquet, in some ten seconds

Each task writes one shard, so any number of workers on any machines gives the same bytes. The folder must be one that all
machines see. Stopped, the same command goes on with the shards that are missing.
"""

import argparse
from typing import Any

import ray

from vae_augment import SyntheticDataset
from vae_augment.export import Writer
from vae_augment.source import open_source


class WriteShards:
    """Writes the shards whose numbers it gets. Ray makes one in each worker, and sends it the fit once."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        shards = self.writer.contents.shards
        return {"images": [self.writer.write_shard(shards[number]) for number in batch["item"].tolist()]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="a new or empty folder")
    parser.add_argument("--source", default="sample", help="as of vae-augment generate")
    parser.add_argument("--ratio", type=float, default=10.0, help="synthetic images for each real one")
    parser.add_argument("--format", default="parquet")
    parser.add_argument("--shard-size", type=int, default=None)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()

    dataset = SyntheticDataset(open_source(options.source), options.ratio)  # fitted here, once
    writer = dataset.writer(options.out, format=options.format, shard_size=options.shard_size)
    writer.begin()
    missing = [] if writer.is_whole else [shard.number for shard in writer.missing()]
    if missing:
        ray.init(num_cpus=options.workers, include_dashboard=False, log_to_driver=False)
        written = (
            ray.data.from_items(missing, override_num_blocks=len(missing))  # a task for each shard
            .map_batches(WriteShards, fn_constructor_args=(writer,), batch_size=1, concurrency=options.workers)
            .sum("images")
        )
        print(f"Ray wrote {written:,} images")
    writer.run(workers=1)  # which writes the card


if __name__ == "__main__":
    main()
