"""office.py: keys and tenants as people order them, and what is refused."""

from datetime import timedelta
from pathlib import Path

import pytest

from headrace.admission import keys
from headrace.admission.book import Tenant
from headrace.errors import ConfigError
from tests.admission.rig import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, "acme")


async def test_only_the_hash_is_kept(place: Place) -> None:
    """Neither the secret nor its second half is in any file; its hash is."""
    issued = await place.issue(tenant="acme", models=("m",))
    kept = b"".join(path.read_bytes() for path in place.config.file.parent.iterdir())
    pepper = keys.pepper_of(place.config.pepper_file.read_text().strip())

    assert issued.secret.encode()[12:] not in kept
    assert keys.hash_of(pepper, issued.secret.encode()).hex().encode() in kept
    assert issued.key == (await place.office.read()).keys["app"]


@pytest.mark.parametrize("name", ["", "a b", "-a", "ä", "x" * 65, "a/b", "a\n"])
async def test_names(place: Place, name: str) -> None:
    """A name must fit into logs, labels and URLs."""
    with pytest.raises(ConfigError, match="is no name"):
        await place.issue(name)
    with pytest.raises(ConfigError, match="is no name"):
        await place.office.keep("me", Tenant(name))


async def test_tenants_must_exist(place: Place) -> None:
    """A key's tenant is the default one, a declared or a kept one; a typo is refused."""
    with pytest.raises(ConfigError, match="no tenant 'acmee'; there are: acme, default"):
        await place.issue(tenant="acmee")
    await place.office.keep("me", Tenant("acmee"))
    await place.issue(tenant="acmee")
    with pytest.raises(ConfigError, match="no tenant 'x'"):
        await place.office.alter("me", "app", {"tenant": "x"})

    assert "acme" == (await place.office.alter("me", "app", {"tenant": "acme"})).tenant


async def test_declared_tenants_are_the_configurations(place: Place) -> None:
    """What the configuration declares is changed there."""
    for act in (place.office.keep("me", Tenant("acme")), place.office.drop("me", "acme")):
        with pytest.raises(ConfigError, match="is the configuration's; change it there"):
            await act


async def test_rotation(place: Place) -> None:
    """A new secret with another prefix; the old one ends after the overlap."""
    first = await place.issue()
    second = await place.office.rotate("me", "app", timedelta(hours=1))
    new, old = second.key.secrets

    assert first.secret != second.secret
    assert second.secret.startswith(new.prefix)
    assert first.secret.startswith(old.prefix)
    assert old.until is not None


async def test_a_key_that_is_none(place: Place) -> None:
    """Before there is any key, too, what is missing is the key, and no pepper is blamed."""
    with pytest.raises(ConfigError, match="There is no key 'app'; there are: none"):
        await place.office.rotate("me", "app", timedelta(0))


async def test_another_pepper(place: Place, tmp_path: Path) -> None:
    """Whoever has another pepper cannot make keys that no gateway would accept."""
    await place.issue()
    other = Place(tmp_path, pepper="another-one")
    with pytest.raises(ConfigError, match="another pepper"):
        await other.issue("b")
    with pytest.raises(ConfigError, match="another pepper"):
        await other.office.rotate("me", "app", timedelta(0))
