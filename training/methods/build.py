"""From a preset to its method."""

from contracts.tasks import LABELS
from training.methods.semsim import SemSim
from training.methods.similarity import Similarity
from training.methods.supervised import Supervised
from training.networks.spatial_fusion import PlainFusion, SpatialAwareFusion
from training.networks.unet import UNet
from training.preset import Preset


def build_method(preset: Preset, network: UNet) -> SemSim | Supervised:
    """Return the method of a preset around a network; further weights are drawn from torch's current random state."""
    options, classes = preset.consistency, len(LABELS[preset.task]) + 1
    if preset.method == "supervised":
        return Supervised(network)
    if preset.method == "fixmatch":
        return SemSim(network, None, options)
    if preset.method == "semsim_minus":
        return SemSim(network, Similarity(PlainFusion(width=options.fusion_width), options, classes), options)
    fusion = SpatialAwareFusion(width=options.fusion_width, layers=options.fusion_layers)
    return SemSim(network, Similarity(fusion, options, classes), options)
