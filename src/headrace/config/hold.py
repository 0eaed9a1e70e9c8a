"""What happens to requests for a model that has no replica at the moment."""

from pydantic import Field

from headrace.config.section import MIB, Seconds, Section


class Hold(Section):
    """Requests for a model without a replica wait in a queue, one for each model."""

    max_requests: int = Field(
        default=1000, ge=0, description="Requests that wait at most; then the answer is 503."
    )
    max_bytes: int = Field(
        default=256 * MIB, ge=0, description="Their bodies' bytes at most; then the answer is 503."
    )
    keep_alive_s: Seconds | None = Field(
        default=None,
        description="Send streams that wait an SSE comment this often, so that nobody between "
        "gives up; after the first one an error comes inside the stream. By default none.",
    )
