"""The losses that methods are made of: functions of predictions, features and targets, nothing else."""

from training.losses.supervised import supervised_loss

__all__ = ["supervised_loss"]
