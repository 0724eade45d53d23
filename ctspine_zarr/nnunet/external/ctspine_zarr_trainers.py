"""What nnU-Net finds in the folder that `nnUNet_extTrainer` names; it imports this file by its bare name."""

from ctspine_zarr.nnunet.trainer import CTSpineTrainer

__all__ = ["CTSpineTrainer"]
