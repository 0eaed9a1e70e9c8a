"""Pulling from S3: the real library against moto's server, an S3 of its own."""

import hashlib
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from headrace.config.store import Store
from headrace.engines.weights.bucket import Bucket
from headrace.engines.weights.cache import Cache, Entry, Plan, origin_of
from headrace.engines.weights.digest import Digest
from headrace.engines.weights.origin import parse
from headrace.errors import StartError

PART = 64 * 1024
MIB = 1024 * 1024
NAME = "s3://models/qwen/tiny"
BIG = random.Random(5).randbytes(5 * PART + 123)
MULTI = random.Random(6).randbytes(6 * MIB)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="models")
    client.put_object(Bucket="models", Key="qwen/tiny/config.json", Body=b'{"a": 1}')
    client.put_object(Bucket="models", Key="qwen/tiny/sub/model.bin", Body=BIG)
    client.put_object(Bucket="models", Key="qwen/tiny-other/config.json", Body=b"not ours")
    yield client
    listed = client.list_objects_v2(Bucket="models").get("Contents", [])
    for each in listed:
        client.delete_object(Bucket="models", Key=each["Key"])
    client.delete_bucket(Bucket="models")
    client.close()


def store(endpoint: str, folder: Path) -> Store:
    return Store(
        dir=folder, s3_endpoint=endpoint, s3_region="us-east-1", part_bytes=PART, reserve_bytes=0,
        workers=3,
    )  # fmt: skip


def nothing(_: Plan) -> Callable[[int], None]:
    return lambda _: None


def pull(settings: Store, model: str = NAME, begin: Any = nothing) -> Entry:
    name = parse(model)
    with closing(origin_of(name, settings)) as origin:
        return Cache(settings).pull(name, origin, origin.listing(), begin)


def test_pull(s3: Any, endpoint: str, tmp_path: Path) -> None:
    """Everything below the prefix, and nothing beside it, compared with the MD5 of its ETag."""
    entry = pull(store(endpoint, tmp_path))

    assert {"config.json", "sub/model.bin"} == entry.manifest.files.keys()
    assert BIG == (entry.folder / "sub" / "model.bin").read_bytes()
    assert all(kept.verified for kept in entry.manifest.files.values())
    assert tmp_path / "s3" / "models" / "qwen" / "tiny" == entry.folder.parent


def test_objects_of_many_parts(s3: Any, endpoint: str, tmp_path: Path) -> None:
    """An ETag of many parts is compared, too: its part size is one of the usual ones."""
    upload = s3.create_multipart_upload(Bucket="models", Key="many/x")["UploadId"]
    parts = []
    for number, begin in enumerate(range(0, len(MULTI), 5 * MIB), 1):
        sent = s3.upload_part(
            Bucket="models", Key="many/x", UploadId=upload, PartNumber=number,
            Body=MULTI[begin : begin + 5 * MIB],
        )  # fmt: skip
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})
    s3.complete_multipart_upload(
        Bucket="models", Key="many/x", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    with closing(Bucket(parse("s3://models/many"), store(endpoint, tmp_path))) as origin:
        (item,) = origin.listing().items
    entry = pull(store(endpoint, tmp_path), "s3://models/many")

    assert item.digest is not None
    assert ("parts", True) == (item.digest.kind, item.digest.value.endswith("-2"))
    assert entry.manifest.files["x"].verified
    assert hashlib.md5(MULTI).digest() == hashlib.md5((entry.folder / "x").read_bytes()).digest()


def test_interrupted_and_resumed(
    s3: Any, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the parts that are missing are read after a pull that was stopped."""
    settings = store(endpoint, tmp_path)
    reads: list[int] = []
    real = Bucket.read

    def breaks(self: Bucket, item: Any, begin: int, end: int) -> Iterator[bytes]:
        if item.path == "sub/model.bin":
            if len(reads) == 2:
                raise KeyboardInterrupt
            reads.append(begin)
        return real(self, item, begin, end)

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "read", breaks)
        with pytest.raises(KeyboardInterrupt):
            pull(settings.model_copy(update={"workers": 1}))
    plans: list[Plan] = []

    def begin(plan: Plan) -> Callable[[int], None]:
        plans.append(plan)
        return nothing(plan)

    entry = pull(settings, begin=begin)

    assert [len(BIG) - 2 * PART] == [plan.missing_bytes for plan in plans]
    assert BIG == (entry.folder / "sub" / "model.bin").read_bytes()


def test_wrong_hash(
    s3: Any, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Content that does not fit its ETag is thrown away."""
    monkeypatch.setattr("headrace.engines.weights.bucket.etag", lambda _: Digest("md5", "0" * 32))
    with pytest.raises(StartError, match="is not what its origin says"):
        pull(store(endpoint, tmp_path))


def test_changed_meanwhile(s3: Any, endpoint: str, tmp_path: Path) -> None:
    """Two versions of an object are never mixed."""
    settings, name = store(endpoint, tmp_path), parse(NAME)
    with closing(Bucket(name, settings)) as origin:
        listing = origin.listing()
        s3.put_object(Bucket="models", Key="qwen/tiny/sub/model.bin", Body=BIG[::-1])
        with pytest.raises(StartError, match="has changed in the bucket while it was pulled"):
            Cache(settings).pull(name, origin, listing, nothing)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("s3://models/nothing", "There is nothing at s3://models/nothing"),
        ("s3://no-such-bucket/x", "s3://no-such-bucket/x cannot be listed"),
    ],
)
def test_nothing_there(s3: Any, endpoint: str, tmp_path: Path, model: str, sentence: str) -> None:
    """A wrong prefix and a wrong bucket are one sentence each."""
    with pytest.raises(StartError, match=sentence):
        pull(store(endpoint, tmp_path), model)


def test_library_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library for S3, one sentence says how to get it."""
    monkeypatch.delitem(sys.modules, "headrace.engines.weights.bucket", raising=False)
    for name in [each for each in sys.modules if each.partition(".")[0] == "obstore"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(StartError, match=r"install it with `pip install 'headrace\[s3\]'`"):
        origin_of(parse("s3://models/x"), Store(dir=tmp_path))
