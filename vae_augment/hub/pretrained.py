"""`save_pretrained` and `push_to_hub`, as users of huggingface_hub know them, for a class that has weights."""

import os
from tempfile import TemporaryDirectory
from typing import Any

from ..autoencoders import DiffusersCodec
from .card import read_card
from .find import name_of
from .model_card import model_card
from .remote import check_repo_id, push
from .weights import Weights, savable
from .write import folder_to_write, save


class Pretrained:
    """Both methods, for a subclass that says what its weights are.

    It is not huggingface_hub's `ModelHubMixin`, whose defaults load tensors that do not fit, write no checksums, and keep
    an old card.
    """

    def _weights(self) -> Weights:
        raise NotImplementedError

    def save_pretrained(
        self, folder: str | os.PathLike[str], *, push_to_hub: bool = False, repo_id: str | None = None, **options: Any
    ) -> str | None:
        """Write a weights folder, which `from_pretrained` reads: config, tensors in float16, bank if there is one, card.

        It does not hold what `VAEAugment.fit` learned, see `save_fit`; nor strength, p and jitter, which are a
        pipeline's, but for a strength that `calibrate` found by labels.
        A README.md in the folder keeps what was written into it by hand. The folder of an autoencoder of diffusers is as
        diffusers writes it, with `vae_augment.json` and the bank beside it.

        A bank's latents decode to likenesses of its images. The card says so, and how many are near copies, if a run has
        measured it. `VAEAugment(augment.vae).save_pretrained(folder)` leaves the bank out.

        Args:
            folder: made if there is none; interrupted, no file in it is half written.
            push_to_hub: put the folder on the Hub, too.
            repo_id: `user/repo`; also what the card tells its reader to load.
            options: further arguments of `push_to_hub`.

        Returns:
            The commit's sha if it was pushed, else None.

        Raises:
            TypeError: the network is no `VAE`, nor one of diffusers, or there are options without `push_to_hub`.
            ValueError: no `repo_id` to push to, values that are not finite in float16, or a name too long for a folder.

        Example:
            >>> import tempfile
            >>> from vae_augment import VAEAugment
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     VAEAugment.from_pretrained("mnist").save_pretrained(folder)
            ...     VAEAugment.from_pretrained(folder).vae.latent_shape
            (48,)
        """
        if options and not push_to_hub:
            raise TypeError(f"only with push_to_hub=True: {', '.join(options)}")
        if push_to_hub and repo_id is None:
            raise ValueError("push_to_hub needs the name to push to: repo_id='user/repo'")
        if repo_id is not None:
            check_repo_id(repo_id)
        if isinstance(self._weights().vae, DiffusersCodec):
            if repo_id is not None:
                _refuse_push(repo_id)
            save(folder, self._weights())
            return None
        folder, weights = folder_to_write(folder), savable(self._weights())
        save(folder, weights, model_card(weights, repo_id or name_of(folder), old=read_card(folder)))
        return push(folder, repo_id, **options) if push_to_hub and repo_id is not None else None

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "Weights for vae-augment",
        private: bool | None = None,
        token: str | bool | None = None,
        branch: str | None = None,
        tag: str | None = None,
        endpoint: str | None = None,
    ) -> str:
        """Put the weights on the Hugging Face Hub, as one commit; the repository is made if there is none.

        A card that is there keeps what was written into it by hand. To push the folder of a run with its picture and its
        recipe: `vae_augment.hub.push(folder, repo_id)`, or `python -m train ... --push-to-hub`.

        Args:
            repo_id: `user/repo`.
            private: whether a new repository is private; None: as the account's default.
            token: default: that of `hf auth login`.
            branch: made from main if there is none; default main.
            tag: name to give the commit.
            endpoint: URL of another server than huggingface.co; default $HF_ENDPOINT.

        Returns:
            The commit's sha, which `from_pretrained(repo_id, revision=sha)` loads for ever.

        Raises:
            TypeError: the network is no `VAE`; the message says how to push one of diffusers.
            ConnectionError: the server refused or could not be reached; the message says what to do.
        """
        check_repo_id(repo_id)
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, repo_id=repo_id)
            return push(
                folder,
                repo_id,
                private=private,
                token=token,
                branch=branch,
                tag=tag,
                commit_message=commit_message,
                endpoint=endpoint,
            )


def _refuse_push(repo_id: str) -> None:
    """Raises TypeError: the card would have to say whose weights these are, and under which licence."""
    raise TypeError(
        "the network is of diffusers, by its own authors: write a folder, save_pretrained(folder), add their card and licence, "
        f"and push it, huggingface_hub.upload_folder(repo_id={repo_id!r}, folder_path=folder)"
    )
