"""In a compiled training step the transform runs as it is; what cannot hold it says what to do instead."""

import pytest
import torch
from torch import nn

from tests.conftest import IMAGES, LABELS


def trained(augment, backend, with_labels):
    """Losses and weights of three steps, the transform within the step."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)

    def step(x, y):
        x = augment(x, y)[0] if with_labels else augment(x)
        loss = nn.functional.cross_entropy(net(x / 255), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    run = step if backend is None else torch.compile(step, backend=backend)
    parts = zip(IMAGES[:96].split(32), LABELS[:96].long().split(32), strict=True)
    return torch.stack([run(x, y) for x, y in parts]), net[1].weight


@pytest.mark.parametrize("is_fitted", [False, True], ids=["varied", "fitted"])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_step_has_the_numbers_of_one_that_is_not(augment, fitted, backend, is_fitted):
    transform = fitted if is_fitted else augment
    torch.compiler.reset()
    for compiled, plain in zip(
        trained(transform, backend, is_fitted), trained(transform, None, is_fitted), strict=True
    ):
        torch.testing.assert_close(compiled, plain, atol=1e-7, rtol=2e-7)  # torch 2.6 rounds otherwise


def test_it_is_at_most_one_break_in_the_graph(augment):
    torch.compiler.reset()
    explained = torch._dynamo.explain(lambda x: 2 * augment(x) + 1)(IMAGES[:8])
    assert explained.graph_break_count <= 1


@pytest.mark.parametrize("shape", [(), (5,)], ids=["one image", "a batch"])
def test_the_transform_itself_may_be_compiled(augment, shape):
    torch.compiler.reset()
    images = IMAGES[:5] if shape else IMAGES[0]
    torch.manual_seed(0)
    compiled = torch.compile(augment, backend="eager")(images)
    torch.manual_seed(0)
    assert torch.equal(compiled, augment(images))


class Model(nn.Module):
    def __init__(self, augment):
        super().__init__()
        self.augment, self.layer = augment, nn.Conv2d(1, 2, 3)

    def forward(self, x):
        return self.layer(self.augment(x))


def test_no_program_is_made_of_it(augment):
    x = torch.rand(2, 1, 28, 28)
    makers = [
        lambda: torch.jit.trace(augment, (x,)),
        lambda: torch.jit.script(augment),
        lambda: torch.jit.script(Model(augment)),
    ]
    if hasattr(torch.compiler, "is_exporting"):  # from torch 2.7 on; before it an export fails for another reason
        makers += [
            lambda: torch.export.export(Model(augment), (x,), strict=False),
            lambda: torch.export.export(Model(augment), (x,), strict=True),
        ]
    for make in makers:
        with pytest.raises(Exception, match=r"outside of the model. Its network alone, augment.vae, can be exported"):
            make()


def test_its_network_can_be_exported(augment):
    class Decoder(nn.Module):
        def __init__(self, vae):
            super().__init__()
            self.vae = vae

        def forward(self, z):
            return self.vae.decode(z)

    decoder, z = Decoder(augment.vae), torch.randn(3, *augment.vae.latent_shape)
    program = torch.export.export(decoder, (z,))
    torch.testing.assert_close(program.module()(z), decoder(z), atol=1e-6, rtol=0)
