//! The way from voxels as they are on disk to the chunks of a shard, and what is measured on it.

pub mod compress;
pub mod count;
pub mod labels;
pub mod pieces;
pub mod shift;
pub mod strip;
