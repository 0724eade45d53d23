//! The kernel of `ctspine_zarr` without Python: chunks of a shard in, voxels out, and back.
//!
//! What it cannot do (a chunk that fails a check, or has a form that this project does not write) it
//! leaves to its caller, who has a slower decoder that says what is wrong.

pub mod boxes;
pub mod checksum;
pub mod chunk;
pub mod convert;
pub mod element;
pub mod encode;
pub mod helpers;
pub mod index;
pub mod predict;
mod processors;
pub mod read;
pub mod runs;
pub mod stash;
mod vectorized;
pub mod view;
pub mod write;
