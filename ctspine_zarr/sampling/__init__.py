"""Which voxels become samples, and in what order: index arithmetic on the catalog. Pure."""
