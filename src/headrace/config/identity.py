"""
Who callers are: tenants, where keys are kept, whose tokens are believed. The checks are admission/.
"""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from headrace.config.address import Key, Printable
from headrace.config.fleet import LOOPBACK
from headrace.config.section import Seconds, Section

ANONYMOUS = "anonymous"  # the tenant of callers who do not say who they are, if it is declared
DEFAULT = "default"  # the tenant that need not be declared

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]  # none with a shared secret: a public key must never be taken for one
Priority = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
"""A class of the queue, by its name; whether there is one of this name, the schema looks."""
Place = tuple[str | int, ...]
Named = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]
"""A name of a tenant or a key, as it stands in logs, labels and URLs."""


def _word(value: object) -> object:
    """YAML's ``true`` and ``false`` are words here."""
    return str(value).lower() if isinstance(value, bool) else value


def _header(name: str) -> str:
    if not name.isascii() or not name.replace("-", "").isalnum():
        raise ValueError("must be the name of a header")
    return name.lower()


def _https(url: str) -> str:
    parts = urlsplit(url)
    near = parts.scheme == "http" and parts.hostname in LOOPBACK
    if not parts.hostname or not (parts.scheme == "https" or near):
        raise ValueError("must begin with https:// (http:// only for this machine)")
    return url


class Tenant(Section):
    """Whom keys and tokens belong to: a team, a customer, an application."""

    name: Named = Field(description="Its name in logs, metrics, rules and bills.")
    priority: Priority = Field(
        default="interactive",
        description="The class of its requests, one of queue.classes: of those that wait, a "
        "higher one goes first.",
    )
    weight: float = Field(
        default=1.0,
        ge=0.01,
        le=1000,
        description="Its share of the tokens among tenants whose requests wait in the same class.",
    )
    group: Printable = Field(
        default="",
        description="Tenants of one trust group may share cached prompts; by default it is alone.",
    )
    models: tuple[str, ...] = Field(
        default=(), description="Models it may ask for, `*` and `?` allowed; by default all."
    )
    guards: tuple[str, ...] | None = Field(
        default=None, description="Guards of its requests; by default guards.default, [] for none."
    )
    log_content: bool = Field(
        default=False,
        description="Whether what guards find in its requests may stand in the log, word for word.",
    )
    metadata: dict[str, str] = Field(default_factory=dict, description="For your own use.")


def strangers(
    tenants: Iterable[Tenant], issuers: Iterable["Issuer"], classes: Collection[str]
) -> Iterator[tuple[str, Place]]:
    """Classes of the queue that are named and that there are not: sentences, with their places."""
    given: list[tuple[str, Place]] = [
        (tenant.priority, ("tenants", index, "priority")) for index, tenant in enumerate(tenants)
    ]
    given += [
        (meant, ("identity", "jwt", index, "priorities", said))
        for index, issuer in enumerate(issuers)
        for said, meant in issuer.priorities.items()
    ]
    known = ", ".join(classes)
    for name, place in given:
        if name not in classes:
            yield f"{name!r} is no class of the queue (`queue.classes`); there are {known}", place


def _unique(tenants: tuple[Tenant, ...]) -> tuple[Tenant, ...]:
    names = [tenant.name for tenant in tenants]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"has two tenants named {name!r}; keep one of them")
    return tenants


Tenants = Annotated[tuple[Tenant, ...], AfterValidator(_unique)]


class Issuer(Section):
    """An identity provider whose tokens (JWT) are believed, and what their claims say."""

    issuer: str = Field(min_length=1, description="What its tokens have as `iss`, exactly.")
    audience: str = Field(min_length=1, description="What its tokens for us have in `aud`.")
    algorithms: tuple[Algorithm, ...] = Field(
        default=("RS256", "ES256"),
        min_length=1,
        description="Signatures that are accepted, whatever a token asks for.",
    )
    jwks: Annotated[str, AfterValidator(_https)] | None = Field(
        default=None, description="URL of its public keys (JWKS)."
    )
    jwks_file: Path | None = Field(default=None, description="A file with them, instead of `jwks`.")
    tls_ca: Path | None = Field(
        default=None, description="PEM file of the authority that signed the URL's certificate."
    )
    refresh_s: Seconds = Field(default=300.0, description="How often the public keys are read.")
    refresh_least_s: Seconds = Field(
        default=10.0,
        description="At least so long between two readings, however many tokens name unknown keys.",
    )
    leeway_s: float = Field(
        default=30.0, ge=0, le=300, description="How far clocks may be apart, for `exp` and `nbf`."
    )
    tenant: Named = Field(default=DEFAULT, description="Tenant of its tokens.")
    tenant_claim: str | None = Field(
        default=None,
        description="The claim that names the tenant, instead of `tenant`; dots lead into objects.",
    )
    tenants: dict[str, Named] = Field(
        default_factory=dict,
        description="What the claim says and the tenant that is meant; else they are the same.",
    )
    priority_claim: str | None = Field(
        default=None, description="The claim that names the priority, instead of the tenant's own."
    )
    priorities: dict[str, Priority] = Field(
        default_factory=dict,
        description="What that claim says and the priority that is meant, one of queue.classes; "
        "others change nothing.",
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.jwks is None) == (self.jwks_file is None):
            raise ValueError("needs `jwks` or `jwks_file`, one of them")
        if self.tenants and self.tenant_claim is None:
            raise ValueError("has `tenants` without `tenant_claim`; give both")
        if bool(self.priorities) != (self.priority_claim is not None):
            raise ValueError("needs both `priority_claim` and `priorities`, or neither")
        return self


class Identity(Section):
    """How callers say who they are, and who may call without."""

    anonymous: Annotated[
        Literal["auto", "true", "false"],
        BeforeValidator(_word, json_schema_input_type=bool | Literal["auto"]),
    ] = Field(
        default="auto",
        description="Whether callers need no key. `auto`: only while the gateway listens on "
        "loopback and there is neither a key nor an issuer.",
    )
    file: Path = Field(
        default=Path("~/.local/share/headrace/keys.json"),
        description="Where keys and tenants are kept, unless `state.url` is set; may be read-only.",
    )
    shared: bool = Field(
        default=True, description="Keep them in `state.url` if that is set, for all gateways."
    )
    pepper: Key | None = Field(
        default=None, description="The secret without which the kept hashes are of no use."
    )
    pepper_file: Path = Field(
        default=Path("~/.local/share/headrace/pepper"),
        description="A file that holds it, instead of `pepper`; made when the first key is.",
    )
    header: Annotated[str, AfterValidator(_header)] = Field(
        default="authorization", description="The header of `Bearer KEY`."
    )
    anthropic_header: Annotated[str, AfterValidator(_header)] = Field(
        default="x-api-key",
        description="The header of a key on /v1/messages, where Anthropic's SDK puts it.",
    )
    cache_salt: Literal["off", "tenant", "group"] = Field(
        default="off",
        description="Who shares cached prompts in an engine: all, a tenant, or a trust group.",
    )
    jwt: tuple[Issuer, ...] = Field(default=(), description="Identity providers, one entry each.")

    @model_validator(mode="after")
    def _issuers_differ(self) -> Self:
        names = [issuer.issuer for issuer in self.jwt]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"names the issuer {name!r} twice; keep one of them")
        return self
