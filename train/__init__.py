"""Training of a VAE: `python -m train`. Needs `pip install 'vae-augment[train]'`."""

import os

# Before torch is imported: threads that wait for one another sleep. Else, where other programs run, they spin for most of
# the time, and a run takes many times as long as on one thread.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
