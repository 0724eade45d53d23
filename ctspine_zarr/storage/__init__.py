"""Where a store lives: a location to a handle that gets, puts, lists and deletes objects.

The only package that knows about storage. Everything else has objects by key, whether they lie in
a folder, a bucket, a dataset repository on the Hub, behind a web server or in memory.
"""

from ctspine_zarr.concurrency.requests import all_at_once
from ctspine_zarr.storage.backend import Merging, Span
from ctspine_zarr.storage.blocks import DEFAULT_BYTES, cached
from ctspine_zarr.storage.folder import free_bytes, share_disk
from ctspine_zarr.storage.handle import Storage
from ctspine_zarr.storage.location import Location, open_storage
from ctspine_zarr.storage.sharing import require_shared

__all__ = [
    "DEFAULT_BYTES",
    "Location",
    "Merging",
    "Span",
    "Storage",
    "all_at_once",
    "cached",
    "free_bytes",
    "open_storage",
    "require_shared",
    "share_disk",
]
