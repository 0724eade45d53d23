//! The kernel of `ctspine_zarr` without Python: chunks of a shard in, voxels out, and back.

pub mod predict;
