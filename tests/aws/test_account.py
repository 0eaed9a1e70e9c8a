"""The account, before a stand-in for AWS."""

import json
from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from headrace.aws.account import PAUSED, Account
from headrace.errors import StartError

REGION = "eu-central-1"


@pytest.fixture(autouse=True)
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """AWS that is none."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # seconds, for nothing
    with mock_aws():
        yield


def group(least: int = 1, wanted: int = 2) -> None:
    """A group named gpu."""
    scaling = boto3.client("autoscaling", REGION)
    scaling.create_launch_configuration(
        LaunchConfigurationName="gpu", ImageId="ami-12345678", InstanceType="t3.large"
    )
    scaling.create_auto_scaling_group(
        AutoScalingGroupName="gpu", MinSize=least, MaxSize=4, DesiredCapacity=wanted,
        LaunchConfigurationName="gpu", AvailabilityZones=[f"{REGION}a"],
    )  # fmt: skip


def test_the_bucket_of_states_is_private_versioned_and_encrypted() -> None:
    """The first run makes it so; the second finds it."""
    account, s3 = Account(REGION), boto3.client("s3", REGION)

    name, new = account.ensure_bucket()

    assert new
    assert f"headrace-state-123456789012-{REGION}" == name
    assert (name, False) == account.ensure_bucket()
    assert "Enabled" == s3.get_bucket_versioning(Bucket=name)["Status"]
    blocked = s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
    assert {True} == set(blocked.values())
    rules = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    assert "AES256" == rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"]


def test_the_bucket_can_be_in_us_east_1() -> None:
    """The one region whose name must not be said when a bucket is made."""
    assert ("headrace-state-123456789012-us-east-1", True) == Account("us-east-1").ensure_bucket()


def test_a_pause_and_a_resume_leave_a_group_as_it_was() -> None:
    """Sizes are written down on the group itself: another machine can resume it."""
    group(least=1, wanted=2)
    account = Account(REGION)

    assert ("t3.large", "t3.large") == account.group("gpu").running
    account.pause(account.group("gpu"))
    paused = account.group("gpu")
    assert (0, 0, (), (1, 2)) == (paused.least, paused.wanted, paused.running, paused.before)

    assert (1, 2) == Account(REGION).resume(paused)
    again = account.group("gpu")
    assert (1, 2, None) == (again.least, again.wanted, again.before)


def test_a_second_pause_forgets_nothing() -> None:
    """Pausing what is paused must not write down zero as what it was."""
    group(least=1, wanted=2)
    account = Account(REGION)
    account.pause(account.group("gpu"))

    account.pause(account.group("gpu"))

    assert (1, 2) == account.group("gpu").before


def test_what_is_not_paused_cannot_be_resumed() -> None:
    """A resume without a pause is told, and nothing is changed."""
    group()
    account = Account(REGION)

    with pytest.raises(StartError, match="gpu is not paused"):
        account.resume(account.group("gpu"))
    assert PAUSED.startswith("headrace:")


def test_a_missing_group_is_told() -> None:
    """A group that is not there is an error for people."""
    with pytest.raises(StartError, match="no Auto Scaling group gpu"):
        Account(REGION).group("gpu")


def test_urls_hold_passwords_as_urls_must() -> None:
    """Whatever a password has in it, the URL stays one."""
    secrets = boto3.client("secretsmanager", REGION)
    redis = secrets.create_secret(Name="a", SecretString="p@ss/word")["ARN"]
    login = json.dumps({"username": "headrace", "password": "a:b"})
    postgres = secrets.create_secret(Name="b", SecretString=login)["ARN"]
    account = Account(REGION)

    assert "rediss://:p%40ss%2Fword@cache:6379/0" == account.redis_url("cache:6379", redis)
    assert "postgresql://headrace:a%3Ab@db:5432/headrace?sslmode=require" == account.postgres_url(
        "db:5432", postgres
    )


def test_a_secret_that_cannot_be_read_is_told() -> None:
    """The error names the secret."""
    with pytest.raises(StartError, match="The secret nothing cannot be read"):
        Account(REGION).redis_url("cache:6379", "nothing")
