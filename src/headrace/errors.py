"""
Every failure a client or an operator can see. Raised anywhere, turned into an answer in one place.

    HeadraceError
    ├── ConfigError            the configuration is wrong (command line: exit code 2)
    ├── StartError             something could not start: port, model, engine (exit code 2)
    ├── StateLost              the state that gateways share does not answer (exit code 2)
    └── ApiError               a client gets this one as JSON
        ├── BadRequest         400  the request cannot be understood
        ├── Blocked            400  a guard refuses what is in it
        ├── Unauthorized       401  nobody knows who calls
        ├── Forbidden          403  the caller is known, and may not do this
        ├── NotFound           404  no such endpoint
        │   ├── ModelNotFound  404  no such model
        │   └── UnknownResponse 404 no replica is known to hold this stored response
        ├── MethodNotAllowed   405  the endpoint exists, the method does not
        ├── BodyTimeout        408  the client did not finish sending its request
        ├── BodyTooLarge       413  the request is over a size limit
        ├── HeadersTooLarge    431  the request's head is over a size limit
        ├── RateLimited        429  a limit of the caller has no room now (carries Retry-After)
        │   └── QuotaExceeded  429  ... and none soon: of a day, a month, or ever
        ├── TooLong            400  an answer longer than one request may ask for
        ├── LimitsLost         503  nobody knows what was used of the limits
        ├── Overloaded         503  no room at the moment (carries Retry-After)
        ├── Unguarded          503  a guard that has to look at it could not
        ├── NoReplica          503  the model is declared, but no replica can answer now
        ├── Internal           500  a fault of our own
        ├── UpstreamFailed     502  the replica broke before its first byte
        ├── TimedOut           504  one of the five clocks ran out
        └── EngineError        any  an engine's own error, put into the client's dialect
"""


class HeadraceError(Exception):
    """The root of everything this project raises on purpose."""


class ConfigError(HeadraceError):
    """
    The configuration is wrong. The text is one sentence: what, where (file:line:key), and what
    would be right.
    """


class StartError(HeadraceError):
    """Something could not start. The text is one sentence that names it and what to do."""


class StateLost(HeadraceError):
    """
    The state that gateways share does not answer. Requests go on without it; a command that needs
    it ends with this sentence.
    """


class ApiError(HeadraceError):
    """
    A failure with an HTTP answer.

    ``outcome`` is the word that the request log and the counters use for it;
    ``retry_after_s`` becomes the Retry-After header when it is set, ``allow`` the Allow header,
    ``authenticate`` the WWW-Authenticate header. ``hopeless`` says that the same request will not
    do better soon, for SDKs that try again by themselves.
    """

    status: int = 500
    type: str = "api_error"
    anthropic_type: str = "api_error"
    code: str | None = None
    outcome: str = "rejected_internal"
    allow: str = ""
    authenticate: str = ""
    hopeless: bool = False

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        outcome: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        if code is not None:
            self.code = code
        if outcome is not None:
            self.outcome = outcome


class BadRequest(ApiError):
    """The request cannot be understood or asks for something that is not allowed."""

    status = 400
    type = "invalid_request_error"
    anthropic_type = "invalid_request_error"
    outcome = "rejected_invalid"


class Blocked(ApiError):
    """A guard refuses what is in a request or an answer; the text says which, and what it was."""

    status = 400
    type = "invalid_request_error"
    anthropic_type = "invalid_request_error"
    code = "content_policy_violation"
    outcome = "rejected_guard"


class Unauthorized(ApiError):
    """Nobody knows who calls: there is no key, or not a good one."""

    status = 401
    type = "invalid_request_error"
    anthropic_type = "authentication_error"
    code = "invalid_api_key"
    authenticate = 'Bearer realm="headrace"'
    outcome = "rejected_unauthorized"


class Forbidden(ApiError):
    """The caller is known, and may not use this model or endpoint."""

    status = 403
    type = "invalid_request_error"
    anthropic_type = "permission_error"
    code = "permission_denied"
    outcome = "rejected_forbidden"


class NotFound(ApiError):
    """There is no such endpoint."""

    status = 404
    type = "invalid_request_error"
    anthropic_type = "not_found_error"
    code = "not_found"
    outcome = "rejected_not_found"


class ModelNotFound(NotFound):
    """The model is not declared."""

    code = "model_not_found"
    outcome = "rejected_model"


class UnknownResponse(NotFound):
    """No replica is known to hold this stored response."""

    code = "response_not_found"


class MethodNotAllowed(ApiError):
    """The endpoint exists, but not with this method."""

    status = 405
    type = "invalid_request_error"
    anthropic_type = "invalid_request_error"
    code = "method_not_allowed"
    outcome = "rejected_method"

    def __init__(self, message: str, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class BodyTimeout(ApiError):
    """The client did not finish sending its request in time."""

    status = 408
    type = "invalid_request_error"
    anthropic_type = "invalid_request_error"
    code = "request_timeout"
    outcome = "rejected_slow_client"


class BodyTooLarge(ApiError):
    """The request is over a size limit."""

    status = 413
    type = "invalid_request_error"
    anthropic_type = "request_too_large"
    code = "request_too_large"
    outcome = "rejected_too_large"


class HeadersTooLarge(ApiError):
    """The request's head is over a size limit."""

    status = 431
    type = "invalid_request_error"
    anthropic_type = "invalid_request_error"
    code = "headers_too_large"
    outcome = "rejected_too_large"


class RateLimited(ApiError):
    """A limit of the caller has no room now; some comes back by itself."""

    status = 429
    type = "rate_limit_error"
    anthropic_type = "rate_limit_error"
    code = "rate_limit_exceeded"
    outcome = "rejected_rate"


class QuotaExceeded(RateLimited):
    """A budget is used up, or the request is larger than a limit: trying again does not help."""

    type = "insufficient_quota"
    code = "insufficient_quota"
    outcome = "rejected_quota"
    hopeless = True


class TooLong(ApiError):
    """The request asks for a longer answer than it may."""

    status = 400
    type = "invalid_request_error"
    anthropic_type = "invalid_request_error"
    code = "max_tokens_exceeded"
    outcome = "rejected_max_tokens"
    hopeless = True


class LimitsLost(ApiError):
    """The state that knows what was used of the limits does not answer, and nothing passes."""

    status = 503
    type = "service_unavailable"
    anthropic_type = "overloaded_error"
    code = "limits_unavailable"
    outcome = "rejected_limits_lost"


class Overloaded(ApiError):
    """There is no room at the moment; the client may come back."""

    status = 503
    type = "overloaded_error"
    anthropic_type = "overloaded_error"
    code = "overloaded"
    outcome = "rejected_overloaded"


class Unguarded(ApiError):
    """A guard that has to look at the request or its answer could not, or not in time."""

    status = 503
    type = "service_unavailable"
    anthropic_type = "api_error"
    code = "guard_unavailable"
    outcome = "rejected_unguarded"


class NoReplica(ApiError):
    """The model is declared, but no replica can answer now."""

    status = 503
    type = "service_unavailable"
    anthropic_type = "overloaded_error"
    code = "no_replica"
    outcome = "timed_out_queue"


class Internal(ApiError):
    """A fault of our own. The client learns no more than that; the log has the place."""

    status = 500
    code = "internal_error"


class UpstreamFailed(ApiError):
    """The replica could not be reached, or broke before its first byte."""

    status = 502
    type = "upstream_error"
    code = "upstream_failed"
    outcome = "upstream_failed_connect"


class TimedOut(ApiError):
    """One of the five clocks ran out: connect, queue, first byte, between chunks, total."""

    status = 504
    type = "timeout_error"
    anthropic_type = "timeout_error"
    code = "timeout"
    outcome = "timed_out_total"


class EngineError(ApiError):
    """An engine's own error that came in a shape the client's SDK cannot read."""

    outcome = "rejected_upstream"

    def __init__(self, status: int, message: str) -> None:
        outcome = f"upstream_failed_{status}" if status >= 500 else "rejected_upstream"
        super().__init__(message, code=str(status), outcome=outcome)
        self.status = status
        self.type = "invalid_request_error" if status < 500 else "upstream_error"
        self.anthropic_type = ANTHROPIC_TYPES.get(status, "api_error")


# https://docs.claude.com/en/api/errors
ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
