"""secrets.py: keys and tokens by their forms, passwords by the word before them."""

import pytest

from headrace.errors import ConfigError
from headrace.guard.secrets import FORMS, HINTS, Secrets

# put together here, so that no scanner takes the tests for a leak
FOUND = [
    ("AWS_KEY", "id AKIA{}EXAMPLE.", "AKIA{}EXAMPLE", "IOSFODNN7"),
    ("GITHUB_TOKEN", "ghp_{}", "ghp_{}", "a1B2" * 9),
    ("GITLAB_TOKEN", "glpat-{}", "glpat-{}", "x9Y8z7W6v5" * 2),
    ("SLACK_TOKEN", "xoxb-{}", "xoxb-{}", "1234567890-abc"),
    ("STRIPE_KEY", "sk_live_{}", "sk_live_{}", "4eC39HqLyjWDarjtT1"),
    ("MODEL_API_KEY", "key sk-proj-{} here", "sk-proj-{}", "aZ09_" * 6),
    ("GOOGLE_KEY", "AIza{}", "AIza{}", "aB3_-" * 7),
    ("HUGGING_FACE_TOKEN", "hf_{}", "hf_{}", "abcDEF123" * 4),
    ("PACKAGE_TOKEN", "npm_{}", "npm_{}", "a1B2" * 9),
    ("SENDGRID_KEY", "SG.{}", "SG.{}", "a1B2" * 5 + "." + "c3D4" * 9),
    ("HEADRACE_KEY", "hr-{}", "hr-{}", "Ab12Cd34-" + "x" * 49),
    ("JWT", "eyJ{}", "eyJ{}", "hbGciOiJI.eyJzdWIiOiIx." + "a-_9" * 6),
    ("URL_PASSWORD", "postgres://bob:{}@db/x", "{}", "s3cret"),
    ("BEARER_TOKEN", "Authorization: Bearer {}", "{}", "abcdef0123456789abcdef"),
    ("PASSWORD", "password: {}, then", "{}", "hunter2-X9"),
    ("PASSWORD", "my API key is {}", "{}", "9f3kd02mx8"),
    ("PASSWORD", '"client_secret": "{}"', "{}", "q7!pL0vv2z"),
    ("PRIVATE_KEY", "-----BEGIN {}", "-----BEGIN {}",
     "EC PRIVATE KEY-----\nMHcC\nAQEE=\n-----END EC PRIVATE KEY-----"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "thing", "middle"), FOUND)
def test_what_is_found(kind: str, text: str, thing: str, middle: str) -> None:
    """The secret itself, not the word that tells of it."""
    text, thing = text.format(middle), thing.format(middle)

    assert [(kind, thing)] == [
        (each.entity, text[each.start : each.end]) for each in Secrets().find(text)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "the password is required", "secret: confidential", "task-force is ready", "sk-1",
        "https://example.org:8080/x", "bearer of bad news", "the api key is in the vault",
        "-----BEGIN CERTIFICATE-----", "password: aaaaaaaaaa", "eyJ", "ghp_short",
    ],
)  # fmt: skip
def test_what_is_not(text: str) -> None:
    """Words about secrets are none."""
    assert [] == Secrets().find(text)


def test_the_beginning_of_a_key_is_one() -> None:
    """An answer that was cut off in a private key holds most of it."""
    text = "-----BEGIN PRIVATE KEY-----\nMIIE"

    assert [(0, len(text))] == [(each.start, each.end) for each in Secrets().find(text)]


def test_only_what_is_asked_for() -> None:
    """A kind that there is not is told, with those that there are."""
    assert [] == Secrets(["JWT"]).find("password: hunter2-X9")
    with pytest.raises(ConfigError, match="no kind of secret 'NOPE'; there are PRIVATE_KEY"):
        Secrets(["NOPE"])


def test_every_form_has_its_hint() -> None:
    """The table of hints is about the table of forms, and the tests above about both."""
    assert FORMS.keys() == HINTS.keys()
    assert {kind for kind, *_ in FOUND} == FORMS.keys()
