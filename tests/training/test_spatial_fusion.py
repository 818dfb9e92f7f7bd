"""Laws of the fused features, and the defects of a public listing that they must not have."""

import io
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.bench.semsim_plain import PlainSpatialAwareFusion
from training.networks.spatial_fusion import PlainFusion, SpatialAwareFusion
from training.networks.unet import WIDTHS, UNet

FORMS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "full": (SpatialAwareFusion, 128),
    "lite": (lambda: SpatialAwareFusion(width=64, layers=1), 64),
    "minus": (PlainFusion, 128),
    "minus_lite": (lambda: PlainFusion(width=64), 64),
}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> tuple[nn.Module, int]:
    """Each form of fusion, and its width."""
    build, width = FORMS[request.param]
    return build(), width


def maps(rows: int = 32, columns: int = 48, batch: int = 2) -> list[torch.Tensor]:
    """Return maps as of the encoder for images of that size."""
    random = torch.Generator().manual_seed(0)
    return [
        torch.randn(batch, width, rows >> stage, columns >> stage, generator=random).requires_grad_()
        for stage, width in enumerate(WIDTHS)
    ]


def touched(output: torch.Tensor, given: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return where a gradient reaches each map, bool [batch, row, column]."""
    gradients = torch.autograd.grad(output.sum(), given, allow_unused=True, retain_graph=True)
    return [
        torch.zeros_like(m[:, 0], dtype=torch.bool) if g is None else g.ne(0).any(dim=1)
        for m, g in zip(given, gradients, strict=True)
    ]


@pytest.mark.parametrize("size", [(16, 16), (32, 48), (96, 96)])
def test_features_are_at_stride_4_and_not_negative(form: tuple[nn.Module, int], size: tuple[int, int]) -> None:
    fusion, width = form
    features = fusion(maps(*size))
    assert features.shape == (2, width, size[0] // 4, size[1] // 4)
    assert features.min() >= 0 < features.max()


def test_every_parameter_and_the_encoder_learn(form: tuple[nn.Module, int]) -> None:
    fusion, _ = form
    network = UNet()
    # A direction that is not the same everywhere: the sum over a normalised map is 0 to begin with.
    features = fusion(network.encode(torch.rand(2, 1, 32, 32)))
    (features * torch.randn(features.shape)).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in fusion.parameters())
    reached = [all(p.grad is not None for p in block.parameters()) for block in network.down]
    assert reached == [True, True, True, True, False]
    assert all(p.grad is None for p in [*network.up.parameters(), *network.head.parameters()])


def test_saved_and_loaded_it_is_the_same(form: tuple[nn.Module, int], request: pytest.FixtureRequest) -> None:
    fusion, _ = form
    fusion(maps())
    stream = io.BytesIO()
    torch.save(fusion.state_dict(), stream)
    stream.seek(0)
    other = FORMS[request.node.callspec.params["form"]][0]()
    other.load_state_dict(torch.load(stream, weights_only=True))
    torch.testing.assert_close(fusion.eval()(maps()), other.eval()(maps()), rtol=0, atol=0)


def test_images_do_not_meet_in_evaluation(form: tuple[nn.Module, int]) -> None:
    fusion = form[0].eval()
    given = maps()
    torch.testing.assert_close(fusion(given)[1:], fusion([m[1:] for m in given]), rtol=1e-4, atol=1e-5)


def test_memory_format_does_not_matter_and_precision_little(form: tuple[nn.Module, int]) -> None:
    fusion = form[0].eval()
    expected = fusion(maps())
    last = [m.detach().to(memory_format=torch.channels_last) for m in maps()]
    found = fusion.to(memory_format=torch.channels_last)(last)  # type: ignore[call-overload]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        half = fusion(last)
    assert half.dtype == torch.bfloat16
    assert F.cosine_similarity(half.float(), expected, dim=1).median() > 0.99


@pytest.mark.parametrize(("layers", "width"), [(3, 128), (1, 64)])
def test_equals_the_plain_form(layers: int, width: int) -> None:
    fast, plain = SpatialAwareFusion(layers=layers, width=width), PlainSpatialAwareFusion(layers=layers, width=width)
    plain.load_state_dict(fast.state_dict())
    direction = torch.randn(2, width, 8, 12)
    gradients = []
    for fusion in (fast, plain):
        given = maps()
        features = fusion(given)
        gradients.append(torch.autograd.grad((features * direction).sum(), given[1:4]))
    torch.testing.assert_close(fast(maps()), plain(maps()), rtol=1e-4, atol=1e-4)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_parameters_are_about_those_published() -> None:
    """0.79 M published, by a layout that is not told; 2.6 M with the UNet."""
    count = sum(p.numel() for p in SpatialAwareFusion().parameters())
    assert 0.7e6 < count < 0.85e6
    assert 2.55e6 < count + 1_813_764 < 2.65e6


def test_sfm_mixes_scales() -> None:
    """A token of stride 2 depends on maps of every scale in its group."""
    fusion = SpatialAwareFusion().eval()
    tokens: list[torch.Tensor] = []
    fusion.blocks.register_forward_hook(lambda module, inputs, output: tokens.append(output))
    given = maps()
    fusion(given)
    assert tokens[0].shape == (2 * 2 * 3, 64 + 16 + 4, 128)
    assert [bool(t.any()) for t in touched(tokens[0][0, 0], given)] == [False, True, True, True, False]


def test_sfm_group_sees_one_region_only() -> None:
    """Windows of 8, 4 and 2 cells cover the same 16 x 16 pixels: a group is reached from all of them and no others."""
    fusion = SpatialAwareFusion().eval()
    tokens: list[torch.Tensor] = []
    fusion.blocks.register_forward_hook(lambda module, inputs, output: tokens.append(output))
    given = maps()
    fusion(given)
    for group in range(12):
        image, row, column = group // 6, group % 6 // 3, group % 3
        for stage, where in enumerate(touched(tokens[0][group], given)[1:4], start=1):
            side = 16 >> stage
            expected = torch.zeros_like(where)
            expected[image, row * side : (row + 1) * side, column * side : (column + 1) * side] = True
            assert torch.equal(where, expected)


def test_sfm_zero_block_is_identity() -> None:
    """The residual goes round both norms: a block whose last layers are 0 leaves tokens as they are."""
    fusion = SpatialAwareFusion(layers=1)
    tokens = torch.randn(3, 84, 128)
    assert not torch.equal(fusion.blocks(tokens), tokens)
    for name, p in fusion.blocks.named_parameters():
        if ".out." in name or ".mlp.2." in name:
            nn.init.zeros_(p)
    assert torch.equal(fusion.blocks(tokens), tokens)


def test_tokens_come_back_to_where_they_were_cut() -> None:
    """Without blocks the fusion is projection, resizing and one convolution of whole maps."""
    fusion = SpatialAwareFusion(layers=0).eval()
    given = maps()
    projected = [project(m) for project, m in zip(fusion.project, given[1:4], strict=True)]
    resized = [F.interpolate(m, size=(8, 12), mode="bilinear", align_corners=False) for m in projected]
    torch.testing.assert_close(fusion(given), fusion.join(torch.cat(resized, dim=1)), rtol=1e-4, atol=1e-5)


def test_the_decoder_does_not_see_them() -> None:
    """A student is the plain UNet: fused features have no part in its logits."""
    network, fusion = UNet().eval(), SpatialAwareFusion()
    given = network.encode(torch.rand(1, 1, 32, 32))
    before = network.decode(given)
    fusion(given)
    torch.testing.assert_close(network.decode(given), before, rtol=0, atol=0)
