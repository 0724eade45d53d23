//! The Python module `ctspine_zarr_native`: the kernel's functions over buffers.

use pyo3::prelude::*;

/// The native kernel of ctspine-zarr; `ctspine_zarr` alone calls it.
#[pymodule]
mod ctspine_zarr_native {
    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
