"""The command that brings a store to where others read it."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

import ctspine_zarr as cz
from ctspine_zarr.cli import complete, logs
from ctspine_zarr.cli.options import (
    executor,
    json_option,
    options,
    scheduler_option,
    storage_options,
    store_argument,
    workers_option,
)
from ctspine_zarr.cli.talk import heeding


@click.command()
@store_argument
@click.argument("target", shell_complete=complete.folders)
@storage_options
@options("--target-option", "TARGET")
@click.option("--private", is_flag=True, help="A repository on the Hub that is made is private.")
@workers_option
@json_option
@scheduler_option
@logs.logged
def publish(
    store: str,
    target: str,
    storage_option: dict[str, Any],
    target_option: dict[str, Any],
    workers: int,
    *,
    private: bool,
    scheduler: str | None,
) -> None:
    """Bring STORE to TARGET, a bucket, a folder or the Hub.

    TARGET is s3://, gs:// or az://BUCKET/PATH, a folder, or hf://datasets/USER/NAME.

    Every object is compared with its receipt there. Interrupt it at any time and run it again: what is
    whole there is kept. To the Hub goes one process alone. A card, the licence, the citation, croissant.json,
    the page that shows the store and a list of digests go along; what somebody changed of them there is kept.
    """
    from ctspine_zarr.cli import documents, report

    def show(found: cz.CasePublished) -> None:
        logs.progress(report.case_published(found))

    if logs.current().quiet or not sys.stderr.isatty():
        # The Hub's client, which is imported when it is needed, draws bars of its own for what it uploads.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with executor(scheduler, workers) as cluster:
        result = cz.publish(
            store,
            target,
            storage_options=storage_option,
            target_options=target_option,
            private=private,
            workers=workers,
            executor=cluster,
            on_case=heeding(show),
        )
    logs.answer(report.published(result), documents.published(result))
