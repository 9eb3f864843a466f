"""Train a VAE and write a weights folder.

python -m train mnist                       one of the recipes
python -m train mnist --steps 500 --vae.latent_dim 32
python -m train --data folder:PATH --size 64    images of your own, resized to 64x64; or --data hf:NAME
python -m train --data array:FILE.npy            the same of an array (N, C, H, W), of 1 to 64 channels
python -m train --from mnist --data folder:PATH  go on from weights that are there, on images of your own
python -m train --config RUN/training.yaml  the same run again
python -m train --resume RUN                go on where a run was stopped
python -m train mnist --push-to-hub ME/mnist   and put the weights on the Hugging Face Hub
torchrun --nproc-per-node 2 -m train mnist     the same run on two GPUs, or in two processes of the CPU
"""

import sys

from . import cli, console, processes


def main(arguments: list[str] | None = None) -> None:
    """Run a command line, that of the process by default."""
    with console.lasting_streams(), processes.process_group():
        cli.execute(sys.argv[1:] if arguments is None else arguments, usage=__doc__ or "")


if __name__ == "__main__":
    main()
