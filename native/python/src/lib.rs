//! The Python module `ctspine_zarr_native`: the kernel's functions over buffers.

mod arrays;
mod encoding;
mod predict;
mod reading;

use pyo3::prelude::*;

/// The native kernel of `ctspine_zarr`, which alone calls it.
#[pymodule]
mod ctspine_zarr_native {
    use super::{Bound, PyModule, PyModuleMethods, PyResult};

    #[pymodule_export]
    use super::encoding::{count_labels, count_values, encode_strip, measure_labels, shift};
    #[pymodule_export]
    use super::predict::{predict_decode, predict_encode};
    #[pymodule_export]
    use super::reading::{convert, counts, decode_index, end_idle_threads, look_up, read_file, read_parts};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
