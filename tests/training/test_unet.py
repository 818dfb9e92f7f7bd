"""The network has the published size and shapes."""

import pytest
import torch

from training.networks.unet import WIDTHS, UNet


@pytest.mark.parametrize(("channels", "classes", "parameters"), [(1, 4, 1_813_764), (3, 2, 1_813_762)])
def test_unet_has_1813764_parameters(channels: int, classes: int, parameters: int) -> None:
    assert sum(p.numel() for p in UNet(channels, classes).parameters()) == parameters


@pytest.mark.parametrize(("channels", "classes"), [(1, 4), (3, 2)])
@pytest.mark.parametrize("shape", [(16, 16), (64, 48), (128, 128)])
def test_unet_forward_shapes(shape: tuple[int, int], channels: int, classes: int) -> None:
    network = UNet(channels, classes).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, channels, *shape)).shape == (2, classes, *shape)


def test_the_five_maps() -> None:
    maps = UNet().eval().encode(torch.zeros(1, 1, 64, 32))
    assert [tuple(m.shape[1:]) for m in maps] == [(w, 64 >> i, 32 >> i) for i, w in enumerate(WIDTHS)]


def test_every_parameter_learns() -> None:
    network = UNet()
    network(torch.rand(2, 1, 32, 32)).square().mean().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_images_of_a_batch_do_not_meet_in_evaluation() -> None:
    network = UNet().eval()
    images = torch.rand(3, 1, 32, 32)
    with torch.inference_mode():
        together, alone = network(images), network(images[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)
