"""Which voxels become samples, in what order, and how patches make a volume again: arithmetic, no I/O."""
