"""identity.py: tenants, keys and issuers as people write them, and what is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from headrace.config.identity import Identity
from headrace.config.schema import Config

ISSUER: dict[str, Any] = {"issuer": "i", "audience": "a", "jwks": "https://i/jwks"}


@pytest.mark.parametrize(
    ("given", "known"), [(True, "true"), (False, "false"), ("auto", "auto"), ("true", "true")]
)
def test_anonymous_is_a_switch_with_three_ends(given: object, known: str) -> None:
    """YAML's true and false are words of it."""
    assert known == Identity.model_validate({"anonymous": given}).anonymous


def test_defaults_ask_nobody_on_loopback_and_share_nothing_extra() -> None:
    """Without settings there is no issuer and no salt."""
    section = Config().identity

    assert ("auto", "off", ()) == (section.anonymous, section.cache_salt, section.jwt)


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"anonymous": "yes"}, "'auto', 'true' or 'false'"),
        ({"pepper": ""}, "must be a key"),
        ({"header": "a b"}, "must be the name of a header"),
        ({"jwt": [{**ISSUER, "jwks": None}]}, "needs `jwks` or `jwks_file`, one of them"),
        ({"jwt": [{**ISSUER, "jwks_file": "f"}]}, "needs `jwks` or `jwks_file`, one of them"),
        ({"jwt": [{**ISSUER, "jwks": "http://i/jwks"}]}, "must begin with https://"),
        ({"jwt": [{**ISSUER, "jwks": "ftp://i/jwks"}]}, "must begin with https://"),
        ({"jwt": [{**ISSUER, "algorithms": ["HS256"]}]}, "algorithms"),
        ({"jwt": [{**ISSUER, "algorithms": ["none"]}]}, "algorithms"),
        ({"jwt": [{**ISSUER, "algorithms": []}]}, "algorithms"),
        ({"jwt": [{**ISSUER, "audience": ""}]}, "audience"),
        ({"jwt": [{**ISSUER, "tenants": {"a": "b"}}]}, "`tenants` without `tenant_claim`"),
        ({"jwt": [{**ISSUER, "priority_claim": "p"}]}, "both `priority_claim` and `priorities`"),
        ({"jwt": [ISSUER, ISSUER]}, "twice"),
    ],
)
def test_refused(tree: dict[str, Any], said: str) -> None:
    """What cannot work, or would let anybody in, is refused."""
    with pytest.raises(ValidationError, match=said):
        Identity.model_validate(tree)


PREMIUM = {"classes": {"premium": {"rank": 20}}}


def test_tenants_and_claims_may_have_any_class_of_the_queue() -> None:
    """Those that are declared as well as those that are always there."""
    issuer = {**ISSUER, "priority_claim": "plan", "priorities": {"gold": "premium", "x": "batch"}}
    tree = {"queue": PREMIUM, "identity": {"jwt": [issuer]}}
    config = Config.model_validate({**tree, "tenants": [{"name": "a", "priority": "premium"}]})

    assert "premium" == config.tenants[0].priority
    assert {"gold": "premium", "x": "batch"} == config.identity.jwt[0].priorities


@pytest.mark.parametrize(
    "tree",
    [
        {"tenants": [{"name": "a", "priority": "premum"}]},
        {"identity": {"jwt": [{**ISSUER, "priority_claim": "p", "priorities": {"g": "premum"}}]}},
    ],
)
def test_a_class_that_there_is_not_is_refused(tree: dict[str, Any]) -> None:
    """Wherever it is named, with the names that there are."""
    known = "interactive, batch, background, premium"
    said = rf"'premum' is no class of the queue \(`queue.classes`\); there are {known}"
    with pytest.raises(ValidationError, match=said):
        Config.model_validate({"queue": PREMIUM, **tree})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_public_keys_of_this_machine_need_no_tls(host: str) -> None:
    """Plain HTTP is fine where nobody stands between."""
    section = Identity.model_validate({"jwt": [{**ISSUER, "jwks": f"http://{host}:1/jwks"}]})

    assert f"http://{host}:1/jwks" == section.jwt[0].jwks


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", "x" * 65])
def test_names_of_tenants(name: str) -> None:
    """They stand in logs, labels and URLs."""
    with pytest.raises(ValidationError):
        Config.model_validate({"tenants": [{"name": name}]})


def test_tenants_differ() -> None:
    """One of a name."""
    with pytest.raises(ValidationError, match="two tenants named 'a'"):
        Config.model_validate({"tenants": [{"name": "a"}, {"name": "a"}]})


def test_rules_cannot_match_what_is_ours_to_say() -> None:
    """A client could send such a header itself."""
    match = {"headers": {"X-Headrace-Tenant": "acme"}}
    with pytest.raises(ValidationError, match="is ours to say"):
        Config.model_validate({"rules": [{"name": "r", "match": match, "target": "m"}]})
