"""The model store in the configuration, and the variables that other tools have made usual."""

from pathlib import Path

import pytest

from headrace.config.load import load, read
from headrace.config.store import HUB
from headrace.errors import ConfigError


def test_usual_variables(tmp_path: Path) -> None:
    """HF_TOKEN and its like count where nothing else says otherwise, and the origin says so."""
    path = tmp_path / "headrace.yaml"
    path.write_text("store: {hub: https://mirror}\n")
    env = {
        "HF_TOKEN": "hf_1",
        "HF_ENDPOINT": "https://unused",
        "AWS_ENDPOINT_URL": "http://minio:9000/",
        "AWS_REGION": "eu-1",
        "HEADRACE__STORE__S3_REGION": "eu-2",
    }
    loaded = read(path, env)
    store = loaded.config.store

    assert "https://mirror" == store.hub
    assert ("http://minio:9000", "eu-2") == (store.s3_endpoint, store.s3_region)
    assert store.token is not None
    assert "hf_1" == store.token.get_secret_value()
    assert "HF_TOKEN" == loaded.origins["store", "token"]
    assert "hf_1" not in repr(loaded.config)


def test_defaults(tmp_path: Path) -> None:
    """Without any of them: the hub itself, and no token."""
    path = tmp_path / "headrace.yaml"
    path.write_text("")
    store = load(path, {}).store

    assert (HUB, None, None) == (store.hub, store.token, store.s3_endpoint)


def test_no_url(tmp_path: Path) -> None:
    """A wrong variable is told by its own name."""
    path = tmp_path / "headrace.yaml"
    path.write_text("")
    with pytest.raises(ConfigError, match="HF_ENDPOINT: 'mirror' must begin with http://"):
        load(path, {"HF_ENDPOINT": "mirror"})
