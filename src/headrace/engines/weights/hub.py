"""Models on Hugging Face or a mirror of it. What a repository holds, its own library tells."""

from collections.abc import Iterator

import httpx2
from huggingface_hub import HfApi, close_session, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling

from headrace import __version__
from headrace.config.store import Store
from headrace.engines.weights.digest import Digest
from headrace.engines.weights.origin import Flaky, Item, Listing, Name, safe
from headrace.errors import StartError

WAIT_S = 30.0  # for a connection, and between two pieces
REVISION = "main"
FAILURES = (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, OSError)


class Hub:
    """
    One repository (``Origin``).

    Its files are read with ranges of our own: the library's download starts a file anew in each
    process, and a file of many gigabytes must go on where it was.
    """

    def __init__(self, name: Name, store: Store) -> None:
        self._name = name
        self._store = store
        self._revision = name.revision or REVISION
        token = store.token.get_secret_value() if store.token is not None else ""
        self._token = token
        self._client = httpx2.Client(
            headers={
                "user-agent": f"headrace/{__version__}",
                "accept-encoding": "identity",
                **({"authorization": f"Bearer {token}"} if token else {}),
            },
            timeout=WAIT_S,
            follow_redirects=True,
        )

    def listing(self) -> Listing:
        """See ``Origin``."""
        try:
            info = HfApi(endpoint=self._store.hub, token=self._token or False).model_info(
                self._name.model, revision=self._revision, files_metadata=True, timeout=WAIT_S
            )
        except (*FAILURES, httpx2.HTTPError) as error:
            raise StartError(self._sentence(error)) from error
        self._revision = info.sha or self._revision
        items = tuple(_item(each) for each in info.siblings or ())
        return Listing(self._revision, items)

    def read(self, item: Item, begin: int, end: int) -> Iterator[bytes]:
        """See ``Origin``."""
        url = hf_hub_url(
            self._name.model, item.path, revision=self._revision, endpoint=self._store.hub
        )
        try:
            with self._client.stream(
                "GET", url, headers={"range": f"bytes={begin}-{end - 1}"}
            ) as answer:
                _check(answer, item.path)
                at = 0 if answer.status_code == 200 else begin  # 200: ranges are not known there
                for piece in answer.iter_raw():
                    yield piece[max(0, begin - at) : max(0, end - at)]
                    at += len(piece)
        except httpx2.HTTPError as error:
            raise Flaky(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """See ``Origin``; the library's own connections, too."""
        self._client.close()
        close_session()

    def _sentence(self, error: Exception) -> str:
        model, hub = self._name.model, self._store.hub
        if isinstance(error, GatedRepoError):
            return f"{model} is gated: ask for access at {hub}/{model}, and set HF_TOKEN."
        if isinstance(error, RevisionNotFoundError):
            return f"{model} has no revision {self._revision!r}; {hub}/{model} lists what it has."
        if isinstance(error, RepositoryNotFoundError):
            return f"There is no model {model} at {hub}, or it is private and HF_TOKEN is not set."
        if isinstance(error, HFValidationError):
            return f"{model!r} is no name of a repository; write org/name."
        if isinstance(error, HfHubHTTPError) and error.response is not None:
            return f"{hub} answered {error.response.status_code} to a question about {model}."
        return (
            f"{hub} cannot be reached; connect this machine to it, set HF_ENDPOINT to a mirror, or"
            " pull from s3://."
        )


def _item(sibling: RepoSibling) -> Item:
    digest = None
    if sibling.lfs is not None:
        digest = Digest("sha256", sibling.lfs.sha256)
    elif sibling.blob_id:
        digest = Digest("git", sibling.blob_id)
    tag = digest.value if digest is not None else ""
    return Item(safe(sibling.rfilename), sibling.size or 0, digest, tag)


def _check(answer: httpx2.Response, path: str) -> None:
    status = answer.status_code
    if status in {408, 429} or status >= 500:
        raise Flaky(f"the hub answered {status}")
    if status >= 400:
        raise StartError(f"The hub answered {status} to a request for {path}.")
