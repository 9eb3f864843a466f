"""`save_pretrained` and `push_to_hub`, as users of huggingface_hub know them, for whatever has weights."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .folder import Weights


class Pretrained:
    """Gives its subclass both methods; the subclass says what its weights are.

    Not huggingface_hub's `ModelHubMixin`, whose defaults load tensors that do not fit, write no checksums, and keep an
    old card. What the methods need is imported in them, since the network itself is one of the subclasses.
    """

    def _weights(self) -> "Weights":
        raise NotImplementedError

    def save_pretrained(
        self, folder: str | os.PathLike[str], *, push_to_hub: bool = False, repo_id: str | None = None, **push: Any
    ) -> str | None:
        """Write a weights folder, which `from_pretrained` reads: config, tensors in float16, bank if there is one, card.

        What `VAEAugment.fit` learned is not in it, see `save_fit`; nor are strength, p and jitter, which are a pipeline's.
        A README.md in the folder keeps what was written into it by hand.

        Args:
            folder: made if there is none; interrupted, no file in it is half written.
            push_to_hub: put the folder on the Hub, too.
            repo_id: `user/repo`; also what the card tells its reader to load.
            push: further arguments of `push_to_hub`.

        Returns:
            The commit's sha if it was pushed, else None.

        Raises:
            ValueError: no `repo_id` to push to, or values that are not finite in float16.

        Example:
            >>> import tempfile
            >>> from vae_augment import VAE, VAEConfig
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     VAE(VAEConfig(latent_dim=8)).save_pretrained(folder)
            ...     VAE.from_pretrained(folder).latent_shape
            (8,)
        """
        from . import hub
        from .card import model_card, read_card

        if push and not push_to_hub:
            raise TypeError(f"only with push_to_hub=True: {', '.join(push)}")
        if push_to_hub and repo_id is None:
            raise ValueError("push_to_hub needs the name to push to: repo_id='user/repo'")
        if repo_id is not None:
            hub.check_repo_id(repo_id)
        folder, weights = Path(folder).expanduser(), self._weights()
        hub.save(folder, weights, model_card(weights, repo_id or hub.name_of(folder), old=read_card(folder)))
        return hub.push(folder, repo_id, **push) if push_to_hub and repo_id is not None else None

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
            private: of a new repository; None: as the account's default.
            token: default: that of `hf auth login`.
            branch: made from main if there is none; default main.
            tag: name to give the commit.
            endpoint: of another server than huggingface.co; default $HF_ENDPOINT.

        Returns:
            The commit's sha, which `from_pretrained(repo_id, revision=sha)` loads for ever.

        Raises:
            ConnectionError: the server refused or could not be reached; the message says what to do.
        """
        from . import hub

        hub.check_repo_id(repo_id)
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, repo_id=repo_id)
            return hub.push(
                folder,
                repo_id,
                private=private,
                token=token,
                revision=branch,
                tag=tag,
                commit_message=commit_message,
                endpoint=endpoint,
            )
