"""`ctspine-zarr build`, for those who work from a clone or submit to a batch system."""

import sys

from ctspine_zarr.cli.main import cli

if __name__ == "__main__":
    cli(["build", *sys.argv[1:]], prog_name="build_store.py")
