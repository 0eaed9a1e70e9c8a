"""Models in S3, or what speaks its language. The library reads the usual AWS_* credentials."""

import hashlib
from collections.abc import Iterator
from typing import Any

import obstore
from obstore.exceptions import BaseError, NotFoundError, PreconditionError
from obstore.store import S3Store

from headrace.config.store import Store
from headrace.engines.weights.digest import etag
from headrace.engines.weights.origin import S3, Flaky, Item, Listing, Name, safe
from headrace.errors import StartError


class Bucket:
    """All objects below a prefix (``Origin``). Its revision is a hash of their names and ETags."""

    def __init__(self, name: Name, store: Store) -> None:
        self._name = name
        bucket, _, prefix = name.model.removeprefix(S3).partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        settings: dict[str, Any] = {}
        if store.s3_endpoint is not None:
            settings["endpoint"] = store.s3_endpoint
            settings["client_options"] = {"allow_http": store.s3_endpoint.startswith("http://")}
        if store.s3_region is not None:
            settings["region"] = store.s3_region
        self._store = S3Store(bucket, **settings)

    def listing(self) -> Listing:
        """See ``Origin``."""
        items: list[Item] = []
        try:
            for page in obstore.list(self._store, prefix=self._prefix or None):
                items += [_item(meta, self._prefix) for meta in page if meta["size"]]
        except (BaseError, OSError) as error:
            raise StartError(
                f"{self._name.model} cannot be listed ({_first_line(error)}); see that the bucket,"
                " AWS_REGION and the AWS credentials are right."
            ) from error
        if not items:
            raise StartError(f"There is nothing at {self._name.model}.")
        items.sort(key=lambda item: item.path)
        marks = "\n".join(f"{item.path} {item.tag}" for item in items)
        return Listing(hashlib.sha256(marks.encode()).hexdigest()[:40], tuple(items))

    def read(self, item: Item, begin: int, end: int) -> Iterator[bytes]:
        """See ``Origin``; an object that has changed since it was listed is refused."""
        try:
            answer = obstore.get(
                self._store,
                self._prefix + item.path,
                options={"range": (begin, end), "if_match": f'"{item.tag}"'},
            )
            for piece in answer.stream(min_chunk_size=1024 * 1024):
                yield bytes(piece)
        except (PreconditionError, NotFoundError) as error:
            raise StartError(
                f"{item.path} has changed in the bucket while it was pulled; pull again."
            ) from error
        except (BaseError, OSError) as error:
            raise Flaky(_first_line(error)) from error

    def close(self) -> None:
        """See ``Origin``; the library keeps its connections to itself."""


def _item(meta: Any, prefix: str) -> Item:
    tag = (meta["e_tag"] or "").strip('"')
    return Item(safe(meta["path"].removeprefix(prefix)), meta["size"], etag(tag), tag)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
