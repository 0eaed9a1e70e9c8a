"""store.py: where the book is, as the configuration says."""

from pathlib import Path

from headrace.admission.file import FileStore
from headrace.admission.shared import SharedStore
from headrace.admission.store import store
from headrace.config.identity import Identity
from headrace.config.state import State
from headrace.state.redis import Link, Silent


async def test_in_the_shared_state_if_there_is_one(tmp_path: Path) -> None:
    """A file, unless gateways share a state; `identity.shared: false` keeps the file."""
    link = Link(State.model_validate({"url": f"unix://{tmp_path}/none"}), Silent(), Silent())
    own, shared = Identity(shared=False), Identity()

    assert isinstance(store(shared, None), FileStore)
    assert isinstance(store(shared, link), SharedStore)
    assert isinstance(store(own, link), FileStore)
    await link.stop()
