"""The `ctspine-zarr` command: thin over the public API."""
