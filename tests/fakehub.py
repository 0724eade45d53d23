"""A Hugging Face Hub for loopback: its dataset API, as far as the Hub's own client asks for it without Xet.

As on the Hub, large files lie on a CDN of another origin, and a commit, once made, keeps its files.
"""

from __future__ import annotations

import base64
import codecs
import hashlib
import json
import re
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

ATTRIBUTES = b"*.bin filter=lfs diff=lfs merge=lfs -text\n*.gz filter=lfs diff=lfs merge=lfs -text\n"
"""The .gitattributes of a new repository."""
LARGEST_TEXT = 10_000_000
CDN = "cdn-lfs.huggingface.co"
"""Where large files lie for those who came to the Hub by its own name; for others it is `localhost`."""


def _is_text(sample: bytes) -> bool:
    try:
        return "\0" not in codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return False


def _is_lfs(path: str, size: int, sample: bytes) -> bool:
    """Texts and empty files are git's; what .gitattributes names, what is no text and giants are LFS's."""
    named = path.endswith((".bin", ".gz"))
    return size > 0 and (named or not _is_text(sample) or size > LARGEST_TEXT)


def _git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Blob:
    """A file's bytes, in memory or on disk, and whether LFS holds them."""

    content: bytes | Path
    lfs: bool

    @cached_property
    def size(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.read(0, self.size)).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        """What git holds instead of LFS's bytes."""
        head = "version https://git-lfs.github.com/spec/v1"
        return f"{head}\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @cached_property
    def oid(self) -> str:
        return _git_oid(self.pointer if self.lfs else self.read(0, self.size))

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid

    @property
    def stored(self) -> dict[str, Any]:
        """The facts of LFS, where it holds the file."""
        return {"size": self.size, "pointerSize": len(self.pointer)} if self.lfs else {}

    def read(self, start: int, stop: int) -> bytes:
        if isinstance(self.content, bytes):
            return self.content[start:stop]
        with self.content.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)


type Tree = dict[str, Blob]


def _blob(path: str, content: bytes | Path) -> Blob:
    known = Blob(content, lfs=False)
    return Blob(content, lfs=_is_lfs(path, known.size, known.read(0, 512)))


def _tree(source: Path | Mapping[str, bytes | Path]) -> Tree:
    if isinstance(source, Path):
        files = (path for path in source.rglob("*") if path.is_file())
        source = {path.relative_to(source).as_posix(): path for path in files}
    return {path: _blob(path, source[path]) for path in sorted(source)}


def _below(tree: Tree, folder: str, *, recursive: bool) -> list[str]:
    """The files and folders below a folder, in order; of a file, itself."""
    prefix = f"{folder}/" if folder else ""
    files = {path for path in tree if path.startswith(prefix) or path == folder}
    folders = {str(parent) for path in files for parent in PurePosixPath(path).parents[:-1]}
    paths = files | {path for path in folders if path.startswith(prefix)}
    return sorted(path for path in paths if recursive or "/" not in path.removeprefix(prefix))


def _refusal(status: int, message: str, code: str = "", commit: str = "") -> HTTPException:
    """Told as the Hub tells it: the client makes its exceptions of these headers."""
    headers = {"X-Error-Message": message, "X-Error-Code": code, "X-Repo-Commit": commit}
    return HTTPException(status, message, {name: value for name, value in headers.items() if value})


@dataclass
class Repo:
    """A dataset repository.

    Attributes:
        name: USER/NAME.
        commits: the files of each commit.
        refs: the commit of each branch, tag and pull request.
        uploads: by SHA-256, what LFS was given, committed or not.
        hidden: paths that listings leave out, without an error.
        corrupt: for a path, how many of the next answers have one byte altered.
    """

    name: str
    commits: dict[str, Tree] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, Blob] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    corrupt: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def files(self) -> dict[str, bytes]:
        """The contents of main."""
        return {path: blob.read(0, blob.size) for path, blob in self.commits[self.refs["main"]].items()}

    @property
    def objects(self) -> dict[str, Blob]:
        """What LFS holds, by SHA-256."""
        held = (blob for tree in self.commits.values() for blob in tree.values() if blob.lfs)
        return self.uploads | {blob.sha256: blob for blob in held}

    def put(self, tree: Tree, refs: Collection[str], commit: str | None = None) -> str:
        """A new commit, where these refs now are."""
        if commit is None:
            parts = repr([[self.refs.get(ref) for ref in refs], {path: tree[path].oid for path in tree}])
            commit = hashlib.sha1(parts.encode(), usedforsecurity=False).hexdigest()
        self.commits[commit] = tree
        self.refs |= dict.fromkeys(refs, commit)
        return commit

    def find(self, place: str) -> tuple[str, str]:
        """The commit and the path of `REVISION/PATH`; a revision may have slashes of its own."""
        for name in (*self.refs, *self.commits):
            if f"{place}/".startswith(f"{name}/"):
                return self.refs.get(name, name), place[len(name) + 1 :]
        raise _refusal(404, f"Invalid rev id: {place}", "RevisionNotFound")

    def blob(self, commit: str, path: str) -> Blob:
        if path not in self.commits[commit]:
            raise _refusal(404, "Entry not found", "EntryNotFound", commit)
        return self.commits[commit][path]

    def listed(self, commit: str) -> Tree:
        return {path: blob for path, blob in self.commits[commit].items() if path not in self.hidden}

    def entry(self, commit: str, path: str) -> dict[str, Any]:
        """What the tree tells of a file or a folder."""
        blob = self.commits[commit].get(path)
        if blob is None:
            return {"type": "directory", "path": path, "oid": _git_oid(path.encode()), "size": 0}
        lfs = {"lfs": {"oid": blob.sha256, **blob.stored}} if blob.lfs else {}
        return {"type": "file", "path": path, "oid": blob.oid, "size": blob.size, **lfs}

    def change(self, tree: Tree, kind: str, value: Mapping[str, str]) -> None:
        """Carry out one line of a commit."""
        path = value["path"].rstrip("/")
        if kind == "file":
            tree[path] = Blob(base64.b64decode(value["content"]), lfs=False)
        elif kind == "lfsFile" and value["oid"] in self.objects:
            tree[path] = self.objects[value["oid"]]
        elif kind == "deletedFile" and path in tree:
            del tree[path]
        elif kind == "deletedFolder":
            for inner in [inner for inner in tree if inner.startswith(f"{path}/")]:
                del tree[inner]
        else:
            raise _refusal(404, "A file with this name doesn't exist", "EntryNotFound")

    def read(self, path: str, blob: Blob, start: int, stop: int) -> bytes:
        """The bytes of a file, altered where this is wanted."""
        data = blob.read(start, stop)
        with self._lock:
            left = self.corrupt.get(path, 0)
            self.corrupt[path] = max(left - 1, 0)
        return bytes([data[0] ^ 0xFF]) + data[1:] if left and data else data


def _span(asked: str, size: int) -> tuple[int, int] | None:
    """First byte and end of a Range header; None where there is none that is understood."""
    match = re.fullmatch(r"bytes=(?:(\d+)-(\d*)|-(\d+))", asked)
    if match is None:
        return None
    first, last, suffix = match.groups()
    start = max(size - int(suffix), 0) if suffix else int(first)
    stop = min(int(last) + 1, size) if last else size
    if start >= stop:
        raise HTTPException(416, headers={"Content-Range": f"bytes */{size}"})
    return start, stop


def _answer(request: Request, repo: Repo, path: str, blob: Blob, headers: Mapping[str, str]) -> Response:
    """A file, or the range of it that is asked."""
    span = _span(request.headers.get("range", ""), blob.size)
    start, stop = span or (0, blob.size)
    told = {**headers, "Accept-Ranges": "bytes", "Content-Length": str(stop - start)}
    if span:
        told["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
    data = b"" if request.method == "HEAD" else repo.read(path, blob, start, stop)
    return Response(data, 206 if span else 200, told)


def _flag(request: Request, name: str) -> bool:
    return request.query_params.get(name, "").lower() in {"1", "true"}


def _signature(link: str) -> str:
    return hashlib.sha256(f"signed {link}".encode()).hexdigest()


async def _validate_card(_request: Request) -> Response:
    return JSONResponse({"errors": [], "warnings": []})


class FakeHub:
    """Dataset repositories and the application that serves them.

    Attributes:
        token: without which every request but the CDN's is refused; None where there is none.
        user: whose token it is.
        page: most entries in one answer of the tree.
        repos: by USER/NAME.
        app: the ASGI application.
    """

    def __init__(self, token: str | None = None, *, user: str = "someone", page: int = 1000) -> None:
        self.token = token
        self.user = user
        self.page = page
        self.repos: dict[str, Repo] = {}
        self.app = Starlette(routes=[*self._hub_routes(), *self._storage_routes()])

    def add(
        self,
        name: str,
        source: Path | Mapping[str, bytes | Path],
        *,
        commit: str | None = None,
        refs: Collection[str] = ("main",),
    ) -> Repo:
        """A commit of these files, in a new repository or one that is there, for these branches or tags."""
        repo = self.repos.setdefault(name, Repo(name))
        repo.put(_tree(source), refs, commit)
        return repo

    def _hub_routes(self) -> list[Route]:
        dataset = "/api/datasets/{user}/{name}"
        return [
            Route("/api/whoami-v2", self._whoami),
            Route("/api/repos/create", self._create, methods=["POST"]),
            Route("/api/validate-yaml", _validate_card, methods=["POST"]),
            Route(dataset, self._info),
            Route(dataset + "/revision/{place:path}", self._info),
            Route(dataset + "/tree/{place:path}", self._list),
            Route(dataset + "/paths-info/{place:path}", self._paths_info, methods=["POST"]),
            Route(dataset + "/preupload/{place:path}", self._preupload, methods=["POST"]),
            Route(dataset + "/commit/{place:path}", self._commit, methods=["POST"]),
        ]

    def _storage_routes(self) -> list[Route]:
        batch = "/datasets/{user}/{name}.git/info/lfs/objects/batch"
        return [
            Route("/datasets/{user}/{name}/resolve/{place:path}", self._resolve),
            Route("/cdn/{link}", self._cdn),
            Route(batch, self._batch, methods=["POST"]),
            Route("/lfs/{user}/{name}/{oid}", self._upload, methods=["PUT"]),
        ]

    def _authorize(self, request: Request) -> None:
        given = request.headers.get("authorization")
        if self.token is None or given == f"Bearer {self.token}":
            return
        if given is None:
            raise _refusal(401, "Repository not found", "RepoNotFound")
        raise _refusal(401, "Invalid credentials in Authorization header")

    def _repo(self, request: Request) -> Repo:
        self._authorize(request)
        name = "{user}/{name}".format(**request.path_params)
        if name not in self.repos:
            raise _refusal(404, "Repository not found", "RepoNotFound")
        return self.repos[name]

    def _place(self, request: Request) -> tuple[Repo, str, str]:
        repo = self._repo(request)
        return repo, *repo.find(request.path_params.get("place", "main"))

    def _whoami(self, request: Request) -> Response:
        self._authorize(request)
        return JSONResponse({"type": "user", "name": self.user, "orgs": []})

    async def _create(self, request: Request) -> Response:
        self._authorize(request)
        asked = await request.json()
        if asked.get("type") != "dataset":
            raise _refusal(400, "There are only datasets here")
        name = f"{asked.get('organization') or self.user}/{asked['name']}"
        answer = {"name": name, "url": f"{request.base_url}datasets/{name}"}
        if name in self.repos:
            return JSONResponse({**answer, "error": "You already created this dataset repo"}, 409)
        self.add(name, {".gitattributes": ATTRIBUTES})
        return JSONResponse(answer)

    def _info(self, request: Request) -> Response:
        repo, commit, _ = self._place(request)
        siblings: list[dict[str, Any]] = []
        for path, blob in repo.listed(commit).items():
            siblings.append({"rfilename": path})
            if _flag(request, "blobs"):
                lfs = {"sha256": blob.sha256, **blob.stored} if blob.lfs else None
                siblings[-1] |= {"size": blob.size, "blobId": blob.oid, "lfs": lfs}
        told = {"id": repo.name, "sha": commit, "private": self.token is not None, "siblings": siblings}
        return JSONResponse(told)

    def _list(self, request: Request) -> Response:
        repo, commit, folder = self._place(request)
        paths = _below(repo.listed(commit), folder, recursive=_flag(request, "recursive"))
        if folder and not paths:
            raise _refusal(404, f"{folder} does not exist", "EntryNotFound", commit)
        start = int(request.query_params.get("cursor", "0"))
        stop = start + self.page
        query = urlencode({**request.query_params, "cursor": stop})
        url = f"{request.base_url}{request.scope['raw_path'].decode()[1:]}?{query}"
        headers = {"Link": f'<{url}>; rel="next"'} if stop < len(paths) else {}
        return JSONResponse([repo.entry(commit, path) for path in paths[start:stop]], headers=headers)

    async def _paths_info(self, request: Request) -> Response:
        repo, commit, _ = self._place(request)
        form = parse_qs((await request.body()).decode())
        known = set(_below(repo.commits[commit], "", recursive=True))
        return JSONResponse([repo.entry(commit, path) for path in form.get("paths", []) if path in known])

    def _resolve(self, request: Request) -> Response:
        repo, commit, path = self._place(request)
        blob = repo.blob(commit, path)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{blob.etag}"'}
        if not blob.lfs:
            return _answer(request, repo, path, blob, headers)
        headers |= {"X-Linked-Size": str(blob.size), "X-Linked-ETag": f'"{blob.etag}"'}
        link = base64.urlsafe_b64encode(f"{repo.name}/{commit}/{path}".encode()).decode()
        cdn = CDN if request.base_url.hostname == "huggingface.co" else "localhost"
        url = f"{request.base_url.replace(hostname=cdn)}cdn/{link}?signature={_signature(link)}"
        return RedirectResponse(url, 302, headers)

    def _cdn(self, request: Request) -> Response:
        """As a CDN that takes signed URLs does, it refuses one that is altered, and a token beside it."""
        link = request.path_params["link"]
        if request.query_params.get("signature") != _signature(link):
            raise HTTPException(403)
        if "authorization" in request.headers:
            raise HTTPException(400)
        user, name, commit, path = base64.urlsafe_b64decode(link).decode().split("/", 3)
        repo = self.repos[f"{user}/{name}"]
        blob = repo.blob(commit, path)
        return _answer(request, repo, path, blob, {"ETag": f'"{blob.etag}"'})

    async def _preupload(self, request: Request) -> Response:
        repo, commit, _ = self._place(request)
        answer = []
        for file in (await request.json())["files"]:
            lfs = _is_lfs(file["path"], file["size"], base64.b64decode(file["sample"]))
            known = repo.commits[commit].get(file["path"])
            fate = {"uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
            answer.append({"path": file["path"], **fate, "oid": known and known.etag})
        return JSONResponse({"files": answer})

    async def _batch(self, request: Request) -> Response:
        repo = self._repo(request)
        answer = []
        for asked in (await request.json())["objects"]:
            href = f"{request.base_url}lfs/{repo.name}/{asked['oid']}"
            wanted = {} if asked["oid"] in repo.objects else {"actions": {"upload": {"href": href}}}
            answer.append({"oid": asked["oid"], "size": asked["size"], **wanted})
        return JSONResponse({"transfer": "basic", "objects": answer})

    async def _upload(self, request: Request) -> Response:
        repo = self.repos["{user}/{name}".format(**request.path_params)]
        blob = Blob(await request.body(), lfs=True)
        if blob.sha256 != request.path_params["oid"]:
            raise _refusal(400, "These bytes have another SHA-256")
        repo.uploads[blob.sha256] = blob
        return Response(headers={"ETag": f'"{blob.sha256}"'})

    async def _commit(self, request: Request) -> Response:
        header, *changes = (json.loads(line) for line in (await request.body()).splitlines())
        repo, head, _ = self._place(request)
        ref = request.path_params["place"]
        if ref not in repo.refs:
            raise _refusal(404, f"Invalid rev id: {ref}", "RevisionNotFound")
        if not head.startswith(header["value"].get("parentCommit", "")):
            raise _refusal(412, "A commit has happened since. Please refresh and try again.")
        tree = dict(repo.commits[head])
        for change in changes:
            repo.change(tree, change["key"], change["value"])
        commit = repo.put(tree, [ref])
        url = f"{request.base_url}datasets/{repo.name}/commit/{commit}"
        return JSONResponse({"success": True, "commitOid": commit, "commitUrl": url})
