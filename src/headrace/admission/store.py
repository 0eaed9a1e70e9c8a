"""Which store a book of keys is in, as the configuration says."""

from headrace.admission.book import Store
from headrace.admission.file import FileStore
from headrace.admission.shared import NAME, SharedStore
from headrace.config.identity import Identity
from headrace.state.redis import Link
from headrace.state.table import Table


def store(config: Identity, link: Link | None) -> Store:
    """In the shared state if there is one, for all gateways; else in a file."""
    if link is not None and config.shared:
        return SharedStore(Table(link, NAME))
    return FileStore(config.file)
