"""Pulling from Hugging Face: the real library and our ranges, against a stand-in of the hub."""

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headrace.config.store import Store
from headrace.engines.weights.cache import Cache, Entry, Plan
from headrace.engines.weights.hub import Hub
from headrace.engines.weights.origin import parse
from headrace.errors import StartError
from tests.engines.weights.hub import REPO, SHA, HubServer

PART = 64 * 1024
BIG = random.Random(5).randbytes(5 * PART + 123)
FILES = {"config.json": b'{"a": 1}', "model.safetensors": BIG, "sub/empty": b""}


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        server.repos[REPO] = dict(FILES)
        yield server


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures that pass are tried again at once."""
    monkeypatch.setattr("headrace.engines.weights.transfer.PAUSE_S", 0.001)


def store(hub: HubServer, folder: Path, **more: Any) -> Store:
    given = {"dir": folder, "hub": hub.url, "part_bytes": PART, "reserve_bytes": 0, "workers": 3}
    return Store.model_validate(given | more)


class Bar:
    """The progress that a pull told."""

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.arrived = 0

    def begin(self, plan: Plan) -> Callable[[int], None]:
        self.plan = plan
        return self._advance

    def _advance(self, count: int) -> None:
        self.arrived += count


def pull(settings: Store, model: str = REPO, bar: Bar | None = None, **options: Any) -> Entry:
    name = parse(model)
    include = options.pop("include", ())
    cache = Cache(settings, options.pop("free", None))
    with closing(Hub(name, settings)) as origin:
        listing = origin.listing().chosen(include, ())
        return cache.pull(name, origin, listing, (bar or Bar()).begin, **options)


def contents(entry: Entry) -> dict[str, bytes]:
    return {path: (entry.folder / path).read_bytes() for path in entry.manifest.files}


def test_pull(hub: HubServer, tmp_path: Path) -> None:
    """Every file arrives whole, in parts, compared with its hash; the progress adds up."""
    bar = Bar()
    entry = pull(store(hub, tmp_path), bar=bar)

    assert contents(entry) == FILES
    assert all(kept.verified for kept in entry.manifest.files.values())
    assert tmp_path / "hf" / "org" / "tiny" / SHA == entry.folder
    assert 6 == sum(path == "model.safetensors" for path, _, _ in hub.ranges)
    assert bar.plan == Plan(SHA, 3, sum(map(len, FILES.values())), bar.arrived)
    assert {".headrace.json", ".headrace.lock", "config.json", "model.safetensors", "sub"} == {
        path.name for path in entry.folder.iterdir()
    }


def test_pull_again(hub: HubServer, tmp_path: Path) -> None:
    """What is here is not fetched again."""
    pull(store(hub, tmp_path))
    hub.ranges.clear()
    bar = Bar()
    pull(store(hub, tmp_path), bar=bar)

    assert [] == hub.ranges
    assert bar.plan is not None
    assert 0 == bar.plan.missing_bytes


def test_include_then_all(hub: HubServer, tmp_path: Path) -> None:
    """A choice of files can be widened later."""
    first = pull(store(hub, tmp_path), include=("*.json",))
    assert {"config.json"} == first.manifest.files.keys()

    assert contents(pull(store(hub, tmp_path))) == FILES


def test_interrupted_and_resumed(hub: HubServer, tmp_path: Path) -> None:
    """After a pull that broke off, another one fetches only the parts that are missing."""
    settings = store(hub, tmp_path, workers=1)
    parts = iter([False, False, True])
    real = Hub.read

    def breaks(self: Hub, item: Any, begin: int, end: int) -> Iterator[bytes]:
        if item.path == "model.safetensors" and next(parts, True):
            raise KeyboardInterrupt
        return real(self, item, begin, end)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Hub, "read", breaks)
        with pytest.raises(KeyboardInterrupt):
            pull(settings)
    done = {begin for path, begin, _ in hub.ranges if path == "model.safetensors"}
    (partial,) = Cache(settings).entries()
    hub.ranges.clear()
    bar = Bar()
    entry = pull(settings, bar=bar)
    fetched = {begin for path, begin, _ in hub.ranges if path == "model.safetensors"}

    assert {0, PART} == done
    assert partial.manifest.complete is False
    assert set(range(2 * PART, len(BIG), PART)) == fetched
    assert bar.plan is not None
    assert len(BIG) - 2 * PART == bar.plan.missing_bytes == bar.arrived
    assert contents(entry) == FILES


def test_other_content_begins_anew(hub: HubServer, tmp_path: Path) -> None:
    """Parts of content that the origin no longer has are of no use, and not used."""
    settings = store(hub, tmp_path)
    folder = tmp_path / "hf" / "org" / "tiny" / SHA
    folder.mkdir(parents=True)
    (folder / "model.safetensors.part").write_bytes(bytes(len(BIG)))
    (folder / "model.safetensors.parts").write_text(f"othertag {len(BIG)} {PART}\n0\n1\n")

    assert contents(pull(settings)) == FILES


def test_connections_that_break(hub: HubServer, tmp_path: Path) -> None:
    """Failures that pass are tried again: statuses of a busy hub, and cut connections."""
    hub.failures = [503, 429, 500]
    assert contents(pull(store(hub, tmp_path))) == FILES


def test_connections_that_always_break(hub: HubServer, tmp_path: Path) -> None:
    """In the end it says so, keeps what has arrived, and goes on when the hub is well."""
    hub.cut_after = 1000
    bar = Bar()
    with pytest.raises(StartError, match=r"model\.safetensors breaks off again and again"):
        pull(store(hub, tmp_path), bar=bar)
    hub.cut_after = None

    assert contents(pull(store(hub, tmp_path))) == FILES


def test_hub_without_ranges(hub: HubServer, tmp_path: Path) -> None:
    """A mirror that sends whole files works, too."""
    hub.ignore_ranges = True

    assert contents(pull(store(hub, tmp_path))) == FILES


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"], ids=["git", "sha256"])
def test_wrong_hash(hub: HubServer, tmp_path: Path, file: str) -> None:
    """Content that is not what the hub says is thrown away; nothing of it gets the file's name."""
    hub.wrong = {file}
    with pytest.raises(StartError, match=f"{file} is not what its origin says"):
        pull(store(hub, tmp_path))
    (entry,) = Cache(store(hub, tmp_path)).entries()
    left = {path.name for path in entry.folder.iterdir()}
    hub.wrong = set()

    assert entry.manifest.complete is False
    assert not {file, f"{file}.part", f"{file}.parts"} & left
    assert contents(pull(store(hub, tmp_path))) == FILES


def test_no_verify(hub: HubServer, tmp_path: Path) -> None:
    """Without comparison the manifest says that there was none."""
    entry = pull(store(hub, tmp_path), verify=False)

    assert {False} == {kept.verified for kept in entry.manifest.files.values()}


def test_not_enough_room(hub: HubServer, tmp_path: Path) -> None:
    """The disk is looked at before the first byte, with the reserve."""
    settings = store(hub, tmp_path, reserve_bytes=1000)
    need = sum(map(len, FILES.values())) + 1000
    with pytest.raises(StartError, match="Not enough room in"):
        pull(settings, free=lambda _: need - 1)
    none = list(hub.ranges)

    assert [] == none
    assert contents(pull(settings, free=lambda _: need)) == FILES


def test_disk_full(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up meanwhile is one sentence; what has arrived is kept."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("headrace.engines.weights.transfer.os.pwrite", full)
        with pytest.raises(StartError, match="The disk is full"):
            pull(store(hub, tmp_path))

    assert contents(pull(store(hub, tmp_path))) == FILES


def test_revisions_share_files(hub: HubServer, tmp_path: Path) -> None:
    """A file that another revision has is linked, not fetched; removing one keeps the other's."""
    settings = store(hub, tmp_path)
    old = pull(settings)
    hub.sha = "f" * 40
    hub.repos[REPO]["config.json"] = b"{}"
    hub.ranges.clear()
    new = pull(settings)
    Cache(settings).remove(old)

    assert {"config.json"} == {path for path, _, _ in hub.ranges}
    assert FILES | {"config.json": b"{}"} == contents(new)
    assert [new.folder] == [entry.folder for entry in Cache(settings).entries()]


def test_pinned_revision(hub: HubServer, tmp_path: Path) -> None:
    """A revision after @ is the one that is asked for."""
    assert SHA == pull(store(hub, tmp_path), f"{REPO}@{SHA}").manifest.revision
    with pytest.raises(StartError, match="org/tiny has no revision 'nightly'"):
        pull(store(hub, tmp_path), f"{REPO}@nightly")


def test_token(hub: HubServer, tmp_path: Path) -> None:
    """The token goes with each request, and is in no message."""
    pull(store(hub, tmp_path, token="hf_secret"))

    assert {"Bearer hf_secret"} == hub.tokens


@pytest.mark.parametrize(
    ("refuse", "sentence"),
    [
        ((404, "RepoNotFound"), "There is no model org/tiny at http"),
        ((403, "GatedRepo"), "org/tiny is gated: ask for access"),
        ((418, ""), "answered 418 to a question about org/tiny"),
    ],
)
def test_refusals(hub: HubServer, tmp_path: Path, refuse: tuple[int, str], sentence: str) -> None:
    """Each refusal of the hub is one sentence with what to do."""
    hub.refuse = refuse
    with pytest.raises(StartError, match=sentence):
        pull(store(hub, tmp_path))


def test_no_hub(tmp_path: Path) -> None:
    """Where nobody answers, it says so and names the ways out."""
    with HubServer() as gone:
        pass
    with pytest.raises(StartError, match="cannot be reached; connect this machine to it"):
        pull(store(gone, tmp_path))


def test_files_outside(hub: HubServer, tmp_path: Path) -> None:
    """A repository cannot write outside of its folder."""
    hub.repos[REPO]["../../evil"] = b"x"
    with pytest.raises(StartError, match="would lie outside"):
        pull(store(hub, tmp_path))


def test_two_at_once(hub: HubServer, tmp_path: Path) -> None:
    """Two pulls of the same do not write the same files."""
    settings = store(hub, tmp_path)
    name = parse(REPO)

    def begin(plan: Plan) -> Callable[[int], None]:
        with pytest.raises(StartError, match="Another program is pulling"):
            pull(settings)
        return Bar().begin(plan)

    with closing(Hub(name, settings)) as origin:
        entry = Cache(settings).pull(name, origin, origin.listing(), begin)

    assert contents(entry) == FILES


def test_many_small_files(hub: HubServer, tmp_path: Path) -> None:
    """Files that arrive at the same moment are all in the manifest."""
    files = {f"shard-{number}": b"%d" % number for number in range(60)}
    hub.repos[REPO] = files
    entry = pull(store(hub, tmp_path, workers=16))
    (listed,) = Cache(store(hub, tmp_path)).entries()

    assert files == contents(entry) == contents(listed)
