"""Voxels of one stored array: any selection of them, as fast as they can be decoded."""
