"""
The public endpoints: one row each. A row says how the body names its model and how its answers
look.

What happens with a request is pipeline.py's work; the endpoints that are answered here and not by
an engine (models, health, readiness, metrics) are local.py's.
"""

from typing import Literal

from msgspec import Struct

from headrace.errors import MethodNotAllowed, NotFound
from headrace.gateway.answers import Dialect

Kind = Literal["json", "multipart", "stored", "local"]


class Endpoint(Struct, frozen=True):
    """
    One endpoint.

    ``kind`` is how the model is found: in a JSON body, in a multipart form, by the id of a stored
    response in the path, or not at all since we answer ourselves (local). ``usage_option`` says
    that the stream reports usage only when asked; ``stores`` that the answer can be continued by
    its id; ``open`` that nobody is asked who he is.
    """

    path: str
    methods: tuple[str, ...] = ("POST",)
    kind: Kind = "json"
    dialect: Dialect = "openai"
    usage_option: bool = False
    stores: bool = False
    open: bool = False


ENDPOINTS = (
    Endpoint("/v1/chat/completions", usage_option=True),
    Endpoint("/v1/completions", usage_option=True),
    Endpoint("/v1/embeddings"),
    Endpoint("/v1/responses", stores=True),
    Endpoint("/v1/messages", dialect="anthropic"),
    Endpoint("/v1/messages/count_tokens", dialect="anthropic"),
    Endpoint("/v1/rerank"),
    Endpoint("/v1/score"),
    Endpoint("/tokenize"),
    Endpoint("/detokenize"),
    Endpoint("/v1/audio/transcriptions", kind="multipart"),
    Endpoint("/v1/models", methods=("GET", "HEAD"), kind="local"),
    Endpoint("/health", methods=("GET", "HEAD"), kind="local", open=True),
    Endpoint("/ready", methods=("GET", "HEAD"), kind="local", open=True),
    Endpoint("/metrics", methods=("GET", "HEAD"), kind="local", open=True),
)
ONE_MODEL = Endpoint("/v1/models/{model}", methods=("GET", "HEAD"), kind="local")
ONE_RESPONSE = Endpoint("/v1/responses/{id}", methods=("GET", "DELETE"), kind="stored")
CANCEL_RESPONSE = Endpoint("/v1/responses/{id}/cancel", kind="stored")
INPUT_ITEMS = Endpoint("/v1/responses/{id}/input_items", methods=("GET",), kind="stored")

ALL = (*ENDPOINTS, ONE_MODEL, ONE_RESPONSE, CANCEL_RESPONSE, INPUT_ITEMS)

_BY_PATH = {endpoint.path: endpoint for endpoint in ENDPOINTS}


def find(method: str, path: str) -> Endpoint:
    """
    The endpoint for a request line.

    Raises:
        NotFound: no endpoint has this path.
        MethodNotAllowed: it has other methods.

    """
    endpoint = _BY_PATH.get(path) or _find_by_id(path)
    if endpoint is None:
        raise NotFound(f"There is no endpoint {path[:200]}.")
    if method not in endpoint.methods:
        allow = ", ".join(endpoint.methods)
        raise MethodNotAllowed(f"{endpoint.path} takes {allow}, not {method}.", allow=allow)
    return endpoint


def _find_by_id(path: str) -> Endpoint | None:
    if path.startswith("/v1/models/") and len(path) > len("/v1/models/"):
        return ONE_MODEL  # names hold slashes: meta-llama/Llama-3.1-8B
    head, _, tail = path.removeprefix("/v1/responses/").partition("/")
    if not path.startswith("/v1/responses/") or not head:
        return None
    return {"": ONE_RESPONSE, "cancel": CANCEL_RESPONSE, "input_items": INPUT_ITEMS}.get(tail)


def path_of(path: str) -> str:
    """The known endpoint of a path, as labels and logs name it; `other` for all the rest."""
    endpoint = _BY_PATH.get(path) or _find_by_id(path)
    return "other" if endpoint is None else endpoint.path


def dialect(path: str) -> Dialect:
    """The error shape for a path, known endpoint or not."""
    return "anthropic" if path.startswith("/v1/messages") else "openai"
