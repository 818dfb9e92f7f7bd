"""The numbers of the consistency methods. Defaults are the published ones where there are any."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Weights(BaseModel):
    """What the losses are multiplied with; published is (L_s + L_u / 2 + (L_intra + L_cross) / 4) / 2."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    supervised: float = 0.5
    unlabelled: float = 0.25
    intra: float = 0.125
    cross: float = 0.125


class Consistency(BaseModel):
    """Options of FixMatch and SemSim (arXiv 2410.13486v1); repairs of our own are marked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    teacher: Literal["self", "ema", "frozen"] = Field(default="self", description="whose labels the strong views learn")
    threshold: float = Field(default=0.95, ge=0, le=1, description="least confidence of a target, for all gates")
    streams: Literal[1, 2] = Field(default=1, description="strong views that FixMatch learns from; their mean counts")
    cross_entropy: bool = Field(default=False, description="L_u is (cross-entropy + Dice) / 2, not Dice alone")
    channel_dropout: float = Field(default=0.0, ge=0, lt=1, description="of whole channels, all maps of strong views")
    weights: Weights = Weights()
    fusion_width: int = Field(default=128, gt=0)
    fusion_layers: int = Field(default=3, gt=0)
    affinity_temperature: float = Field(default=0.1, gt=0, description="repair: the paper has none, that is 1")
    prototype_temperature: float = Field(default=0.1, gt=0, description="repair: at 1 the gate of 0.95 never opens")
    grid: int = Field(default=4, gt=0, description="regions a side of the prototypes")
    sharpness: float = Field(default=1000.0, gt=0, description="r of the uncertainty weight exp(-r U)")
