"""The protocol of the semi-supervised ACDC benchmark (SSL4MIS), beside which published figures stand.

Each whole slice is stretched to 256 x 256 pixels by nearest neighbour, segmented once, and its labels are brought back
by nearest neighbour; neither the square around the heart nor the component filter takes part. Our students see 128 x
128 cells and answer on 256 x 256, so that they take such a slice at half its resolution, as their coarse pass does.
Source: HiLab-git/SSL4MIS, val_2D.py.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contracts.model_contract import ModelContract
from contracts.prepare import Masks, prepare_slices, whole_square
from contracts.segment import BATCH, Run

SIDE = 256


def ssl4mis_labels(images: NDArray[np.generic], contract: ModelContract, run: Run) -> Masks:
    """Return labels uint8 [phase, slice, row, column] of images of that shape under the benchmark's protocol."""
    return np.stack([_volume(volume, contract, run) for volume in images])


def _volume(volume: NDArray[np.generic], contract: ModelContract, run: Run) -> Masks:
    rows, columns = volume.shape[1:]
    stretched = np.stack([ndimage.zoom(plane, (SIDE / rows, SIDE / columns), order=0) for plane in volume])
    seen = prepare_slices(stretched, whole_square(SIDE, SIDE), contract.prepare)
    answer = np.concatenate([run(seen[start : start + BATCH]) for start in range(0, len(seen), BATCH)])
    zoom = (rows / answer.shape[1], columns / answer.shape[2])
    labels: Masks = np.stack([ndimage.zoom(plane, zoom, order=0) for plane in answer])
    return labels
