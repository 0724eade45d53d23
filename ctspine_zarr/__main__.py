"""`python -m ctspine_zarr`: the command, where the console script is not on the path."""

from ctspine_zarr.cli.main import cli

if __name__ == "__main__":
    cli(prog_name="ctspine-zarr")
