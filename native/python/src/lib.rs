//! The Python module `ctspine_zarr_native`: the kernel's functions over buffers.

use pyo3::prelude::pymodule;

mod predict;

/// The native kernel of ctspine-zarr; `ctspine_zarr` alone calls it.
#[pymodule]
mod ctspine_zarr_native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::predict::{predict_decode, predict_encode};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
