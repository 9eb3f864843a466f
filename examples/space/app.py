"""The page of `vae-augment preview --serve` as a Space of the Hugging Face Hub, over the images that come with the package.

A Space is this folder: `hf upload USER/SPACE examples/space . --repo-type space`. Here: `python examples/space/app.py`.
"""

from vae_augment.app import Subject, build_page, look

page = build_page(Subject.open("sample"), is_local=False)

if __name__ == "__main__":
    page.launch(**look())
