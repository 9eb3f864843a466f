"""Real DataLoader workers: every start method, two workers differ, one seed repeats, nothing leaks."""

import multiprocessing
import os
import subprocess
import sys

import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms.v2 import functional as F

from tests.conftest import IMAGES
from vae_augment import SyntheticDataset, VAEAugment


class SameGarment(Dataset):
    """One PIL image under every index, so that any difference comes from the augmentation."""

    def __init__(self, length: int = 32) -> None:
        self.length = length
        self.transform = transforms.Compose([VAEAugment.from_pretrained("fashion-mnist"), transforms.ToTensor()])

    def __getitem__(self, index):
        return self.transform(F.to_pil_image(IMAGES[3])), index

    def __len__(self):
        return self.length


def epoch(dataset, method, seed):
    torch.manual_seed(seed)
    context = multiprocessing.get_context(method)
    loader = DataLoader(dataset, batch_size=8, num_workers=2, multiprocessing_context=context, timeout=120)
    return torch.cat([images for images, _ in loader])


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_differ_and_a_seed_repeats(method):
    dataset = SameGarment()
    images = epoch(dataset, method, seed=1)
    assert images.shape == (32, 1, 28, 28)
    assert len(images.flatten(1).unique(dim=0)) == 32, "two workers, or two batches, drew the same jitter"
    assert torch.equal(epoch(dataset, method, seed=1), images)
    assert not torch.equal(epoch(dataset, method, seed=2), images)


def test_strength_and_p_may_be_changed_between_epochs():
    dataset = SameGarment(16)
    augment = dataset.transform.transforms[0]
    plain = transforms.functional.to_tensor(F.to_pil_image(IMAGES[3]))
    change = []
    for strength, p in ((1.0, 1.0), (0.25, 1.0), (1.0, 0.0)):
        augment.strength, augment.p = strength, p
        change.append((epoch(dataset, "fork", seed=0) - plain).square().mean().item())
    assert change[0] > change[1] > change[2] == 0
    with pytest.raises(ValueError, match="p must be"):
        augment.p = 2


def test_fork_after_the_parent_ran_the_network_on_many_threads():
    dataset = SameGarment(16)
    dataset.transform.transforms[0](IMAGES.clone())
    assert len(epoch(dataset, "fork", seed=0)) == 16


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_synthetic_dataset_in_workers(method):
    dataset = SyntheticDataset(SameGarment(8), ratio=1)
    # ToTensor has run inside SameGarment already; its output is in [0, 1], so it can be varied again
    assert len(epoch(dataset, method, seed=0)) == 16


def test_in_collate_fn_and_after_the_loader():
    augment = VAEAugment.from_pretrained("fashion-mnist")
    base = [(IMAGES[i].clone(), i) for i in range(16)]
    for loader in (
        DataLoader(base, batch_size=8, collate_fn=lambda batch: augment(*torch.utils.data.default_collate(batch))),
        (augment(*batch) for batch in DataLoader(base, batch_size=8)),
    ):
        images, labels = next(iter(loader))
        assert images.dtype == torch.uint8
        assert labels.tolist() == list(range(8))


KILLED = """
import multiprocessing, os, sys, time
from vae_augment.workers import in_workers

def make(part):
    time.sleep(0.05)
    return os.getpid()

class Parts(list):
    def __init__(self):
        super().__init__(range(10_000))

    def __setstate__(self, state):  # a worker is being started
        print(os.getpid(), flush=True)
        time.sleep(5)

    def __reduce__(self):
        return Parts, (), {}

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    parts = Parts() if sys.argv[2] == "early" else range(10_000)
    for pid in in_workers(make, parts, workers=2):
        print(pid, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="asks for processes as POSIX does")
@pytest.mark.parametrize(
    ("method", "moment"),
    [("fork", "late"), ("spawn", "late"), ("forkserver", "late"), ("spawn", "early"), ("forkserver", "early")],
)
def test_workers_end_when_their_parent_is_killed(tmp_path, method, moment):
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "killed.py"), method, moment]
    env = os.environ | {"PYTHONPATH": os.getcwd()}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as parent:
        pids: set[int] = set()
        while len(pids) < 2:
            pids.add(int(parent.stdout.readline()))
        assert parent.pid not in pids
        parent.kill()
        parent.communicate(timeout=60)  # its output ends when no worker holds it any more


SENT = """
import torch
import torch.multiprocessing
from multiprocessing.reduction import ForkingPickler
from torchvision.transforms.v2 import functional as F
from vae_augment import VAEAugment
from vae_augment.demo_data import fashion_sample
from vae_augment.source import open_source

image = F.to_pil_image(fashion_sample()[0][3])
augments = [VAEAugment.from_pretrained(name) for name in ("mnist", "cifar10")]
sample = open_source("sample")
picture, _ = sample[3]

def seen():
    torch.manual_seed(0)
    return [F.pil_to_tensor(x) for x in (*(augment(image) for augment in augments), picture)]

before = seen()
for sent in (*augments, sample):
    ForkingPickler.dumps(sent)  # as a DataLoader with spawn or forkserver does
others = [torch.full((size,), 7.0) for size in (10, 100, 1000, 10_000, 100_000) for _ in range(40)]  # where these lay
print(all(map(torch.equal, before, seen())))
"""


def test_what_was_sent_to_a_worker_is_unchanged_here():
    # sending a tensor moves its memory: an array that views the old one would show what comes to lie there, or crash
    done = subprocess.run([sys.executable, "-c", SENT], check=False, capture_output=True, text=True)
    assert done.stdout == "True\n", (done.returncode, done.stderr)


LEAK = """
import resource, torch
from torchvision.transforms.v2 import functional as F
from vae_augment import VAEAugment
from vae_augment.demo_data import fashion_sample

torch.set_num_threads(1)
augment = VAEAugment.from_pretrained("fashion-mnist")
images = [F.to_pil_image(image) for image in fashion_sample()[0]]

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20

for i in range(1000):
    augment(images[i % 500])
before = resident()
for i in range(10_000):
    augment(images[i % 500])
print(resident() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads Linux's process statistics")
def test_ten_thousand_images_leak_no_memory():
    out = subprocess.run([sys.executable, "-c", LEAK], check=True, capture_output=True, text=True)
    assert float(out.stdout) < 8, f"resident memory grew by {out.stdout} MiB"
