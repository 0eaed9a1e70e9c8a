"""What a request may be like: its size, its messages, its parameters. Not what its texts say."""

from typing import Any

from headrace.config.guards import Limits

MAX_NAMED = 8  # parameters that an error names; a body may have a hundred thousand
BYTES, MESSAGES, PARAMETER = "BYTES", "MESSAGES", "PARAMETER"
# Without them there is no request; a list of what is allowed need not name them.
NEEDED = frozenset({
    "model", "messages", "prompt", "input", "stream", "stream_options", "max_tokens", "cache_salt",
    "system", "instructions", "query", "documents", "text_1", "text_2",
})  # fmt: skip


def excess(limits: Limits, size: int, tree: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What a request of ``size`` bytes has too much of, each with half a sentence that says so."""
    found = []
    if limits.max_bytes is not None and size > limits.max_bytes:
        found.append((BYTES, f"it has {size} bytes, and {limits.max_bytes} are allowed"))
    if tree is None:
        return found
    messages = tree.get("messages", tree.get("input"))
    count = len(messages) if isinstance(messages, list) else 0
    if limits.max_messages is not None and count > limits.max_messages:
        found.append((MESSAGES, f"it has {count} messages, and {limits.max_messages} are allowed"))
    allowed = {*limits.allow, *NEEDED}
    wrong = [name for name in tree if name in limits.deny or (limits.allow and name not in allowed)]
    return found + [
        (PARAMETER, f"the parameter `{name[:64]}` is not allowed" if index < MAX_NAMED else "")
        for index, name in enumerate(wrong)
    ]
