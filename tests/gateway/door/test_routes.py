"""routes.py: which endpoint a request line means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import ApiError, MethodNotAllowed, NotFound
from headrace.gateway.door import routes


@pytest.mark.parametrize("endpoint", routes.ALL, ids=lambda endpoint: endpoint.path)
def test_every_row_is_found(endpoint: routes.Endpoint) -> None:
    """A path of the table leads to its row with each of its methods, and with no other."""
    path = endpoint.path.replace("{model}", "org/m-1.5:q4").replace("{id}", "resp_1")

    for method in endpoint.methods:
        assert endpoint is routes.find(method, path)
    for method in {"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"} - {*endpoint.methods}:
        with pytest.raises(MethodNotAllowed) as caught:
            routes.find(method, path)
        assert ", ".join(endpoint.methods) == caught.value.allow


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "/v1", "/v1/chat/completions/", "/v1//chat/completions", "/V1/models", "v1/models",
        "/v1/models/", "/v1/responses/", "/v1/responses//cancel",
        "/v1/responses/resp_1/delete", "/v1/responses/a/cancel/x", "/x/v1/responses/resp_1",
        "/sleep", "/v1/load_lora_adapter", "/docs", "/health/", "*",
    ],
)  # fmt: skip
def test_other_paths_are_none(path: str) -> None:
    """What is not in the table is 404: near misses, and what engines have for themselves."""
    with pytest.raises(NotFound):
        routes.find("POST", path)


def find_or_refuse(method: str, path: str) -> routes.Endpoint | ApiError:
    try:
        return routes.find(method, path)
    except ApiError as refused:
        return refused


@given(st.sampled_from(["GET", "POST", "DELETE", "PRI"]), st.text(max_size=40))
def test_any_line_is_found_or_refused(method: str, tail: str) -> None:
    """Whatever follows a known beginning: an endpoint that takes the method, or an ApiError."""
    for start in ("", "/v1/", "/v1/models/", "/v1/responses/"):
        found = find_or_refuse(method, start + tail)
        if isinstance(found, ApiError):
            assert found.status in {404, 405}
            assert len(found.message) < 300
        else:
            assert method in found.methods


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/v1/messages", "anthropic"),
        ("/v1/messages/count_tokens", "anthropic"),
        ("/v1/messages/batches", "anthropic"),
        ("/v1/chat/completions", "openai"),
        ("/nope", "openai"),
    ],
)
def test_errors_follow_the_path(path: str, dialect: str) -> None:
    """Below /v1/messages errors are in Anthropic's shape, whether or not the endpoint exists."""
    assert dialect == routes.dialect(path)
