"""Engines of the chart: what a model's entry makes of command line, volumes, secrets and place."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.kit.helm import CHART, one, render

pytestmark = pytest.mark.xdist_group("helm")

MODEL = {"name": "m", "model": "org/model"}


def pod(tmp_path: Path, **entry: Any) -> dict[str, Any]:
    """The pod of one model with these settings."""
    file = tmp_path / f"values-{len([*tmp_path.iterdir()])}.yaml"  # renderings are remembered
    extra = entry.pop("values", {})
    values = {"gateway": {"anonymous": True}, "models": [{**MODEL, **entry}], **extra}
    file.write_text(yaml.safe_dump(values))
    spec: dict[str, Any] = one(render("--values", str(file)), "Deployment", "prod-headrace-m")
    found: dict[str, Any] = spec["spec"]["template"]["spec"]
    return found


def arguments(spec: dict[str, Any]) -> list[str]:
    found: list[str] = spec["containers"][0]["args"]
    return found


def variables(spec: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each for each in spec["containers"][0]["env"]}


def test_the_least_is_enough(tmp_path: Path) -> None:
    """A name and a model: one GPU, vLLM's own defaults, and the client's name."""
    spec = pod(tmp_path)

    assert ["vllm", "serve"] == spec["containers"][0]["command"]
    assert "org/model" == arguments(spec)[0]
    assert "--served-model-name=m" in arguments(spec)
    assert 1 == spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
    assert [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}] == spec[
        "tolerations"
    ]
    assert not [a for a in arguments(spec) if "parallel" in a or "max-" in a]


@pytest.mark.parametrize(
    ("key", "value", "argument"),
    [
        ("tensorParallelSize", 2, "--tensor-parallel-size=2"),
        ("pipelineParallelSize", 2, "--pipeline-parallel-size=2"),
        ("maxModelLen", 1_048_576, "--max-model-len=1048576"),
        ("maxNumSeqs", 256, "--max-num-seqs=256"),
        ("maxNumBatchedTokens", 8192, "--max-num-batched-tokens=8192"),
        ("maxNumQueuedReqs", 512, "--max-num-queued-reqs=512"),
        ("gpuMemoryUtilization", 0.85, "--gpu-memory-utilization=0.85"),
        ("dtype", "bfloat16", "--dtype=bfloat16"),
        ("quantization", "awq_marlin", "--quantization=awq_marlin"),
        ("kvCacheDtype", "fp8", "--kv-cache-dtype=fp8"),
        ("enablePrefixCaching", False, "--no-enable-prefix-caching"),
        ("toolCallParser", "hermes", "--tool-call-parser=hermes"),
        ("reasoningParser", "qwen3", "--reasoning-parser=qwen3"),
        ("extraArgs", ["--enforce-eager"], "--enforce-eager"),
    ],
)
def test_every_setting_is_an_argument(
    tmp_path: Path, key: str, value: object, argument: str
) -> None:
    """Each typed setting of vLLM reaches its command line, whole numbers whole."""
    assert argument in arguments(pod(tmp_path, vllm={key: value}))


def test_every_setting_is_tested() -> None:
    """The test above knows all settings of vLLM that the chart has."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    marks = test_every_setting_is_an_argument.pytestmark  # type: ignore[attr-defined]
    (tested,) = (mark.args[1] for mark in marks if mark.name == "parametrize")

    assert values["modelDefaults"]["vllm"].keys() == {key for key, _, _ in tested}


def test_gpus_are_split_over(tmp_path: Path) -> None:
    """A pod with four GPUs uses them all, unless it is told otherwise."""
    assert "--tensor-parallel-size=4" in arguments(pod(tmp_path, gpus=4))


def test_weights_from_a_bucket(tmp_path: Path) -> None:
    """They are streamed; another S3 has its address and its own kind of paths."""
    bucket = {"endpoint": "https://minio:9000", "credentialsSecret": "s3", "concurrency": 8}
    spec = pod(tmp_path, model="s3://b/m", source="s3", s3=bucket)

    assert "--load-format=runai_streamer" in arguments(spec)
    assert '--model-loader-extra-config={"concurrency":8}' in arguments(spec)
    assert "https://minio:9000" == variables(spec)["AWS_ENDPOINT_URL"]["value"]
    assert [{"secretRef": {"name": "s3"}}] == spec["containers"][0]["envFrom"]


@pytest.mark.parametrize(
    ("entry", "volume"),
    [
        (
            {"source": "pvc", "pvc": {"claimName": "models"}},
            {"persistentVolumeClaim": {"claimName": "models", "readOnly": True}},
        ),
        (
            {"source": "oci", "oci": {"reference": "r/m:1"}},
            {"image": {"reference": "r/m:1", "pullPolicy": "IfNotPresent"}},
        ),
    ],
)
def test_weights_from_a_volume(
    tmp_path: Path, entry: dict[str, Any], volume: dict[str, Any]
) -> None:
    """A claim or an image at /models, read-only, and no word with Hugging Face."""
    spec = pod(tmp_path, model="/models/m", **entry)
    mount = {"name": "models", "mountPath": "/models", "readOnly": True}

    assert {"name": "models", **volume} in spec["volumes"]
    assert mount in spec["containers"][0]["volumeMounts"]
    assert "1" == variables(spec)["HF_HUB_OFFLINE"]["value"]


def test_a_token_comes_from_its_secret(tmp_path: Path) -> None:
    """Hugging Face's token, and the key that engines ask for."""
    spec = pod(
        tmp_path,
        huggingface={"tokenSecret": "hf"},
        values={"engineApiKey": {"secretName": "k"}},
    )
    secrets = {
        name: each["valueFrom"]["secretKeyRef"]
        for name, each in variables(spec).items()
        if "valueFrom" in each
    }

    assert {
        "HF_TOKEN": {"name": "hf", "key": "token"},
        "VLLM_API_KEY": {"name": "k", "key": "api-key"},
    } == secrets
    assert "/health" == spec["containers"][0]["readinessProbe"]["httpGet"]["path"]


def test_what_was_compiled_is_kept(tmp_path: Path) -> None:
    """The cache is a claim of ours or yours; vLLM and Hugging Face write there."""
    ours = pod(tmp_path, cache={"enabled": True})
    yours = pod(tmp_path, cache={"enabled": True, "existingClaim": "efs"})
    claims = [
        next(v for v in spec["volumes"] if v["name"] == "cache")["persistentVolumeClaim"][
            "claimName"
        ]
        for spec in (ours, yours)
    ]

    assert ["prod-headrace-m-cache", "efs"] == claims
    for name in ("VLLM_CACHE_ROOT", "HF_HOME"):
        assert variables(ours)[name]["value"].startswith("/cache/")


def test_spot_is_borne_by_those_who_may(tmp_path: Path) -> None:
    """Only a model with `spot` may run where the node can be taken back."""
    keys = [
        {each["key"] for each in pod(tmp_path, spot=spot)["tolerations"]} for spot in (True, False)
    ]

    assert [{"nvidia.com/gpu", "headrace.dev/spot"}, {"nvidia.com/gpu"}] == keys
