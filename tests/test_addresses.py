"""Where the Hub's redirects lead is kept as long as it holds, and is told to nobody."""

from __future__ import annotations

import pickle
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from conftest import Hub
from hypothesis import given
from hypothesis import strategies as st
from servers import served
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

import ctspine_zarr as cz
from ctspine_zarr.errors import HubError, StorageError
from ctspine_zarr.hub.addresses import Addresses, lifetime
from ctspine_zarr.hub.repository import Repository
from ctspine_zarr.storage import Storage, open_storage

PLACE = "hf://datasets/someone/spine"
COMMIT = "c" * 40
TOKEN = "hf_secret"  # noqa: S105 - the fake Hub's
BIG = np.random.default_rng(0).bytes(3_000_000)


@pytest.fixture
def there(hub: Hub) -> Storage:
    """A repository with a large file, which only who has the token may read; nothing was read of it."""
    hub.hub.token = TOKEN
    hub.hub.add("someone/spine", {"big.bin": BIG, "zarr.json": b"{}"}, commit=COMMIT)
    storage = open_storage(PLACE, read_only=True, options=hub.options | {"token": TOKEN})
    hub.server.requests.clear()
    return storage


def places(hub: Hub) -> list[str]:
    """Whether each request since the last question was the Hub's (datasets) or another host's (cdn)."""
    found = [request.path.split("/")[1] for request in hub.server.requests]
    hub.server.requests.clear()
    return found


def parts(storage: Storage, *spans: tuple[int, int]) -> None:
    assert [bytes(part) for part in storage.ranges("big.bin", spans)] == [
        BIG[start:stop] for start, stop in spans
    ]


def test_once_a_file_was_found_each_range_is_one_request(there: Storage, hub: Hub) -> None:
    parts(there, (5, 100))
    assert places(hub) == ["datasets", "cdn"]
    parts(there, (0, 10), (2_000_000, 2_000_010))
    assert places(hub) == ["cdn", "cdn"]


def test_ranges_of_a_file_that_is_looked_for_are_asked_for_together(there: Storage, hub: Hub) -> None:
    hub.server.latency = 0.05
    parts(there, (0, 10), (1_000_000, 1_000_010), (2_000_000, 2_000_010))
    assert hub.server.rounds == 2
    assert places(hub) == ["datasets", "cdn", "cdn", "cdn"]


def test_who_asks_is_told_to_the_hub_alone(there: Storage, hub: Hub) -> None:
    parts(there, (5, 100))
    parts(there, (5, 100), (7, 9))
    for request in hub.server.requests:
        assert request.signed == request.path.startswith("/datasets/")


def test_a_page_that_another_host_names_as_the_next_is_not_asked_for() -> None:
    told: list[tuple[str, bool]] = []

    async def other(request: Request) -> Response:
        told.append((request.url.path, "authorization" in request.headers))
        # By the name of this host: a request to it would bring the token along.
        link = f'<http://localhost:{request.url.port}/next>; rel="next"'
        return JSONResponse([], headers={"Link": link})

    async def hub(request: Request) -> Response:
        if "/tree/" in request.url.path:
            return RedirectResponse(f"{elsewhere}{request.url.path}", 302)
        return JSONResponse({"sha": COMMIT})

    def app(answer: Callable[[Request], Awaitable[Response]]) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", answer)])

    with served(app(other)) as address, served(app(hub)) as url:
        elsewhere = address.replace("127.0.0.1", "localhost")
        repository = Repository.at(PLACE, {"endpoint": url, "token": TOKEN})
        with pytest.raises(
            HubError, match="has its next page at 'http://localhost:.*/next'; legal: one at the"
        ):
            _ = repository.files
    assert told == [(f"/api/datasets/someone/spine/tree/{COMMIT}", False)]


@pytest.mark.parametrize("status", [403, 410])
def test_an_address_that_is_refused_is_asked_for_anew(there: Storage, hub: Hub, status: int) -> None:
    parts(there, (5, 100))
    hub.server.requests.clear()
    hub.server.fault = lambda number, *_: status if number == 1 else None
    parts(there, (5, 100))
    assert places(hub) == ["cdn", "datasets", "cdn"]
    hub.server.heal()
    parts(there, (5, 100))
    assert places(hub) == ["cdn"]


def test_where_the_new_address_is_refused_as_well_it_is_an_error(there: Storage, hub: Hub) -> None:
    parts(there, (5, 100))
    hub.server.requests.clear()
    hub.server.fault = lambda _, __, path: 403 if path.startswith("/cdn") else None
    with pytest.raises(StorageError, match=r"cannot read big\.bin of .*403"):
        parts(there, (5, 100))
    assert places(hub) == ["cdn", "datasets", "cdn"]


def test_another_process_is_told_of_no_address(there: Storage, hub: Hub) -> None:
    parts(there, (5, 100))
    assert b"signature" not in pickle.dumps(there)
    hub.server.requests.clear()
    parts(pickle.loads(pickle.dumps(there)), (5, 100))  # noqa: S301 - our own
    assert places(hub) == ["datasets", "cdn"]


def test_a_store_on_the_hub_opens_in_two_round_trips(phantom_store: cz.Store, hub: Hub) -> None:
    hub.hub.add("someone/spine", Path(phantom_store.location), commit=COMMIT)
    hub.server.latency = 0.05
    store = cz.open_store(PLACE, storage_options=hub.options)
    assert list(store) == list(phantom_store)
    assert hub.server.rounds == len(hub.server.requests) == 2
    assert [request.path.split("/")[5] for request in hub.server.requests] == ["main", COMMIT]


def test_what_is_opened_stays_at_its_commit(there: Storage, hub: Hub) -> None:
    hub.hub.add("someone/spine", {"big.bin": b"other", "zarr.json": b"[]"})
    parts(there, (5, 100))
    assert there.get("zarr.json") == b"{}"
    newer = open_storage(PLACE, read_only=True, options=hub.options | {"token": TOKEN})
    assert newer.get("zarr.json") == b"[]"
    assert newer.get("big.bin") == b"other"


def test_without_a_root_the_commit_is_known_too(hub: Hub) -> None:
    hub.hub.add("someone/spine", {"a": b"1"}, commit=COMMIT)
    storage = open_storage(PLACE, read_only=True, options=hub.options)
    assert [request.path.split("/")[1] for request in hub.server.requests] == ["datasets"]
    assert storage.get("a") == b"1"
    assert storage.get("zarr.json") is None


NOW = 1_800_000_000.0


def amazon(signed: float, seconds: object) -> str:
    date = datetime.fromtimestamp(signed, UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"X-Amz-Date={date}&X-Amz-Expires={seconds}&X-Amz-Signature=0"


@pytest.mark.parametrize(
    ("query", "headers", "seconds"),
    [
        (f"Expires={NOW + 1000:.0f}&Signature=0", {}, 970),
        (f"expires={NOW + 1000:.0f}", {"cache-control": "no-store"}, 970),
        (f"Expires={NOW - 5:.0f}", {}, 0),
        (f"Expires={NOW + 10**6:.0f}", {}, 3600),
        (amazon(NOW - 100, 900), {}, 770),
        (amazon(NOW, 900) + f"&Expires={NOW + 60:.0f}", {}, 30),
        ("signature=0", {}, 300),
        ("signature=0", {"cache-control": "private, max-age=40"}, 40),
        ("signature=0", {"cache-control": "max-age=99999999"}, 3600),
        ("signature=0", {"cache-control": "No-Store"}, 0),
        ("Expires=soon", {}, 300),
        ("X-Amz-Date=never&X-Amz-Expires=5", {}, 300),
    ],
)
def test_an_address_is_kept_for_its_lifetime(
    query: str, headers: Mapping[str, str], seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    assert lifetime(f"https://cdn.example/a?{query}", headers) == seconds


@given(st.text(), st.text())
def test_whatever_an_address_says_it_has_a_lifetime(query: str, control: str) -> None:
    address = f"https://cdn.example/a?Expires={quote(query)}&X-Amz-Date={quote(query)}&X-Amz-Expires=9"
    assert 0 <= lifetime(address, {"cache-control": control}) <= 3600


def test_an_address_of_the_same_host_is_no_address_to_keep() -> None:
    addresses = Addresses()
    addresses.keep("https://hub/a", "https://hub/b?token=1", {})
    assert addresses.knows("https://hub/a")
    assert addresses.get("https://hub/a") is None
    addresses.keep("https://hub/a", "https://cdn/a", {"cache-control": "no-store"})
    assert addresses.get("https://hub/a") is None
    addresses.keep("https://hub/a", "https://cdn/a", {})
    assert addresses.get("https://hub/a") == "https://cdn/a"
    addresses.drop("https://hub/a")
    assert not addresses.knows("https://hub/a")
