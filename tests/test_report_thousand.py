"""One held-out image in twenty, changed, is found among a thousand of Fashion-MNIST's test images."""

import os

import pytest
import torch

from benchmarks.report_controls import planted_changed, sets_from
from vae_augment.report import Sets, make_report
from vae_augment.source import ROOT_VARIABLE


@pytest.mark.skipif(not os.environ.get(ROOT_VARIABLE), reason="there is no Fashion-MNIST")
def test_one_in_twenty_of_a_thousand_is_found():
    real, held_out, others, classes = sets_from("FashionMNIST", 1000, None, None)
    made = planted_changed(real, held_out, others, torch.Generator().manual_seed(0))
    report = make_report(Sets.of((real, classes), (made, classes), (held_out, classes)), show=False)
    assert report.flagged == ("copied",)
    found = {copy["synthetic"] for copy in report.word("copied").details["copies"] if copy["of"] == "held-out"}
    assert set(range(50)) <= found
