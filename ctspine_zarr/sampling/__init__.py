"""Plans of samples: their voxels, their order, and volumes put together again; arithmetic, no I/O."""
