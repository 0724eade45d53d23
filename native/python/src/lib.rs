//! The Python module `ctspine_zarr_native`: the kernel's functions over buffers.

mod arrays;
mod predict;
mod reading;

use pyo3::prelude::*;

/// The native kernel of `ctspine_zarr`, which alone calls it.
#[pymodule]
mod ctspine_zarr_native {
    use super::{Bound, PyModule, PyModuleMethods, PyResult};

    #[pymodule_export]
    use super::predict::{predict_decode, predict_encode};
    #[pymodule_export]
    use super::reading::{convert, counts, decode_index, read_file, read_parts};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
