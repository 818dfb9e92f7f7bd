"""Changes of grey and colour values that leave every pixel in its place."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey value (ITU-R BT.601)."""


def recoloured(image: Tensor, jitter: float, saturation: float, random: np.random.Generator) -> Tensor:
    """Vary brightness and contrast by up to ``jitter``, and the saturation of colours.

    ``image`` float32 [channel, row, column] in 0..1 -> the same shape and range.
    """
    varied = image * (1 + random.uniform(-jitter, jitter))
    mean = varied.mean()
    varied = (varied - mean) * (1 + random.uniform(-jitter, jitter)) + mean
    if len(image) == len(LUMA):
        grey = (varied * varied.new_tensor(LUMA)[:, None, None]).sum(dim=0, keepdim=True)
        varied = grey + (varied - grey) * (1 + random.uniform(-saturation, saturation))
    return varied.clamp(0, 1)


def blurred(image: Tensor, sigma: float) -> Tensor:
    """Blur [channel, row, column] by a Gaussian of ``sigma`` cells; the border is repeated outwards."""
    reach = min(int(3 * sigma + 1), *(side - 1 for side in image.shape[-2:]))
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    line = (line / line.sum())[None, None]
    padded = F.pad(image[:, None], (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(padded, line[..., None, :]), line[..., :, None])[:, 0]
