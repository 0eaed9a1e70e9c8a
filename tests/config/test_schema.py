"""The schema: what is refused and where, and what is filled in. Files and variables are load's."""

import pytest
from pydantic import SecretStr, ValidationError

from headrace.config.backends import Backend, Model
from headrace.config.schema import Config


def refusals(values: object) -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(ValidationError) as refused:
        Config.model_validate(values)
    return [(error["loc"], error["msg"]) for error in refused.value.errors()]


def backend(**values: object) -> dict[str, object]:
    return {"url": "http://gpu-1:8000", "serves": ["a"], **values}


def test_defaults_are_valid() -> None:
    """Headrace starts without any configuration."""
    assert Config() == Config.model_validate({})


def test_is_frozen() -> None:
    """Nobody changes the configuration after it was read."""
    with pytest.raises(ValidationError):
        Config().server.port = 1


@pytest.mark.parametrize("section", ["server", "engine", "models", "backends", "logging"])
def test_section_without_a_value_has_its_default(section: str) -> None:
    """A section whose lines are all commented out is as good as none."""
    assert Config() == Config.model_validate({section: None})


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://gpu-1:8000", "http://gpu-1:8000"),
        ("https://gpu-1/", "https://gpu-1"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_backend_url_is_a_base_url(given: str, kept: str) -> None:
    """A URL of a scheme, a host and perhaps a port is kept without its slash."""
    assert kept == Backend(url=given, serves={"a": "a"}).url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "gpu-1",
        "gpu-1:8000",
        "ftp://gpu-1",
        "http://",
        "http://gpu-1:x",
        "http://gpu-1:99999",
        "http://[::1",
        "http://gpu-1?x=1",
        "http://me:word@gpu-1",
    ],
)
def test_other_backend_urls_are_refused(url: str) -> None:
    """What is no base URL is refused at the url, with the form that is right."""
    [(place, message)] = refusals({"backends": [backend(url=url)]})

    assert ("backends", 0, "url") == place
    assert "http" in message
    assert "://host:port" in message


def test_backend_is_named_after_its_address() -> None:
    """A backend without a name is called host:port."""
    assert "gpu-1:8000" == Backend(url="http://gpu-1:8000/", serves={"a": "a"}).name


def test_served_models_may_be_a_list() -> None:
    """A list of names means that the engine uses the same names."""
    [served] = Config.model_validate({"backends": [backend(serves=["a", "b"])]}).backends

    assert {"a": "a", "b": "b"} == served.serves


@pytest.mark.parametrize("serves", [[], {}, [1], [["a"]], "a", {"a": ["b"]}])
def test_serving_nothing_nameable_is_refused(serves: object) -> None:
    """Served models are names; no value of another kind gets through or crashes."""
    assert ("backends", 0, "serves") == refusals({"backends": [backend(serves=serves)]})[0][0][:3]


def test_api_key_is_never_shown() -> None:
    """No repr of the configuration holds a backend's key."""
    shown = repr(Backend(url="http://h", serves={"a": "a"}, api_key=SecretStr("sk-1")))

    assert "sk-1" not in shown


@pytest.mark.parametrize("status", [200, 400, 404, 428, 600])
def test_only_failures_are_retried(status: int) -> None:
    """A status that is no failure of the engine cannot lead to a retry."""
    [(place, message)] = refusals({"retries": {"statuses": [status]}})

    assert ("retries", "statuses") == place
    assert message.endswith(f"{status} is not retryable; use 429 or 500 to 599")


def test_two_models_with_one_name() -> None:
    """A name used twice is refused at the second model, whether it is a name or an alias."""
    models = [{"name": "a", "aliases": ["x"]}, {"name": "b", "aliases": ["x"]}, {"name": "a"}]

    assert [
        (("models", 1), "the name 'x' is already used by the model 'a'"),
        (("models", 2), "the name 'a' is already used by the model 'a'"),
    ] == refusals({"models": models})


def test_two_backends_with_one_name() -> None:
    """Backends with one address need names, and the second one is where that is said."""
    assert [
        (
            ("backends", 1),
            "another backend is named 'gpu-1:8000'; give one of them another `name`",
        )
    ] == refusals({"backends": [backend(), backend()]})


def test_backend_serves_what_is_not_declared() -> None:
    """Where models are declared, a backend that serves another one is refused at its `serves`."""
    values = {"models": [{"name": "b"}, {"name": "c"}], "backends": [backend(serves=["a", "b"])]}

    assert [
        (("backends", 0, "serves"), "'a' is not declared in `models`, which has b, c")
    ] == refusals(values)


def test_models_need_not_be_declared() -> None:
    """Without declared models the backends say what there is."""
    values = {"backends": [backend(serves=["anything"])]}

    assert () == Config.model_validate(values).models


def test_several_conflicts_are_told_at_once() -> None:
    """One run shows all names that clash, not only the first."""
    values = {"models": [{"name": "a"}] * 3, "backends": [backend(), backend()]}

    assert [("models", 1), ("models", 2), ("backends", 1)] == [
        place for place, _ in refusals(values)
    ]


def test_declared_model_may_have_no_backend() -> None:
    """A model may be declared before a replica serves it."""
    assert (Model(name="a"),) == Config.model_validate({"models": [{"name": "a"}]}).models
