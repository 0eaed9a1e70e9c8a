"""The account by boto3: who we are, the state's bucket, secrets, and Auto Scaling groups."""

import importlib
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from headrace.errors import ConfigError, StartError

PAUSED = "headrace:paused"  # a group's tag: what it was before, as min,desired


@dataclass(frozen=True, slots=True)
class Group:
    """An Auto Scaling group: sizes, types of running instances, and what it was before a pause."""

    name: str
    least: int
    most: int
    wanted: int
    running: tuple[str, ...]
    before: tuple[int, int] | None


class Account:
    """AWS in one region, with the credentials that boto3 finds."""

    def __init__(self, region: str) -> None:
        self.region = region
        try:
            boto3: Any = importlib.import_module("boto3")
            self._errors: Any = importlib.import_module("botocore.exceptions")
        except ImportError as error:
            raise ConfigError(
                "boto3 is not installed; run `pip install 'headrace[aws]'`."
            ) from error
        self._boto3 = boto3

    def number(self) -> str:
        """
        The account's number.

        Raises:
            StartError: there are no credentials, or they are refused.

        """
        try:
            return str(self._client("sts").get_caller_identity()["Account"])
        except (self._errors.BotoCoreError, self._errors.ClientError) as error:
            raise StartError(
                f"AWS does not know who you are: {error}. Sign in with `aws sso login`, or set"
                " AWS_PROFILE."
            ) from error

    def bucket(self) -> str:
        """The name of the bucket of states: one for the account and region."""
        return f"headrace-state-{self.number()}-{self.region}"

    def ensure_bucket(self) -> tuple[str, bool]:
        """
        The bucket of states, versioned, encrypted and private; and whether it was made now.

        Raises:
            StartError: it cannot be made.

        """
        name, s3 = self.bucket(), self._client("s3")
        try:
            s3.head_bucket(Bucket=name)
        except self._errors.ClientError as error:
            if error.response["Error"]["Code"] not in {"404", "NoSuchBucket"}:
                raise StartError(f"The bucket {name} cannot be used: {error}.") from error
        else:
            return name, False
        place = {"LocationConstraint": self.region}
        where = {} if self.region == "us-east-1" else {"CreateBucketConfiguration": place}
        try:
            s3.create_bucket(Bucket=name, **where)
            s3.put_public_access_block(
                Bucket=name,
                PublicAccessBlockConfiguration=dict.fromkeys(
                    (
                        "BlockPublicAcls",
                        "IgnorePublicAcls",
                        "BlockPublicPolicy",
                        "RestrictPublicBuckets",
                    ),
                    True,
                ),
            )
            s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
            rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
            s3.put_bucket_encryption(
                Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]}
            )
        except (self._errors.BotoCoreError, self._errors.ClientError) as error:
            raise StartError(f"The bucket {name} cannot be made: {error}.") from error
        return name, True

    def redis_url(self, endpoint: str, secret: str) -> str:
        """The URL of ElastiCache with its password, for the gateways' secret."""
        return f"rediss://:{quote(self._secret(secret), safe='')}@{endpoint}/0"

    def postgres_url(self, endpoint: str, secret: str) -> str:
        """The URL of RDS with user and password, for the gateways' secret."""
        found = json.loads(self._secret(secret))
        user, password = (quote(found[key], safe="") for key in ("username", "password"))
        return f"postgresql://{user}:{password}@{endpoint}/headrace?sslmode=require"

    def group(self, name: str) -> Group:
        """
        An Auto Scaling group.

        Raises:
            StartError: there is none.

        """
        client = self._client("autoscaling")
        found = client.describe_auto_scaling_groups(AutoScalingGroupNames=[name])[
            "AutoScalingGroups"
        ]
        if not found:
            raise StartError(f"There is no Auto Scaling group {name} in {self.region}.")
        each = found[0]
        tags = {tag["Key"]: tag["Value"] for tag in each.get("Tags", ())}
        before = tags.get(PAUSED)
        running = tuple(instance["InstanceType"] for instance in each["Instances"])
        return Group(
            name, each["MinSize"], each["MaxSize"], each["DesiredCapacity"], running,
            None if before is None else (int(before.split(",")[0]), int(before.split(",")[1])),
        )  # fmt: skip

    def pause(self, group: Group) -> None:
        """Set a group to zero, and write down on it what it was. A second time changes nothing."""
        if group.before is None:
            self._client("autoscaling").create_or_update_tags(
                Tags=[{
                    "ResourceId": group.name, "ResourceType": "auto-scaling-group", "Key": PAUSED,
                    "Value": f"{group.least},{group.wanted}", "PropagateAtLaunch": False,
                }]
            )  # fmt: skip
        self._size(group.name, 0, 0)

    def resume(self, group: Group) -> tuple[int, int]:
        """
        Give a group back what it had before its pause: its least and its wanted size.

        Raises:
            StartError: it is not paused.

        """
        if group.before is None:
            raise StartError(f"{group.name} is not paused.")
        least, wanted = group.before
        self._size(group.name, least, max(wanted, least))
        self._client("autoscaling").delete_tags(
            Tags=[{"ResourceId": group.name, "ResourceType": "auto-scaling-group", "Key": PAUSED}]
        )
        return group.before

    def _client(self, name: str) -> Any:
        return self._boto3.client(name, region_name=self.region)

    def _size(self, name: str, least: int, wanted: int) -> None:
        self._client("autoscaling").update_auto_scaling_group(
            AutoScalingGroupName=name, MinSize=least, DesiredCapacity=wanted
        )

    def _secret(self, arn: str) -> str:
        try:
            answer = self._client("secretsmanager").get_secret_value(SecretId=arn)
        except (self._errors.BotoCoreError, self._errors.ClientError) as error:
            raise StartError(f"The secret {arn} cannot be read: {error}.") from error
        return str(answer["SecretString"])
