"""
How known gateways are put in front of the scripted replicas: their configuration, their command.

Each is set up to pass as many cases as it can: clocks of 3 s, a body limit of 32 MiB, retries on
the other replica, the alias and the model without a replica, where it has such settings. Nothing
is started here.
"""

import json
import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MODEL = "conformance"
ALIAS = "conformance-alias"
COLD = "conformance-cold"
CLOCK_S = 3
BODY_MIB = 32
DRAIN_S = 4
METRICS_OFFSET = 50  # for gateways that show them on a port of their own
RETRIED = (429, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Names:
    """The names that the gateway is told of: the model, another name for it, one never served."""

    model: str = MODEL
    alias: str = ALIAS
    cold: str = COLD


@dataclass(frozen=True, slots=True)
class Front:
    """Where the gateway listens, and the replicas (host:port) behind it."""

    port: int
    replicas: tuple[str, ...]
    names: Names = Names()

    @property
    def urls(self) -> list[str]:
        return [f"http://{replica}" for replica in self.replicas]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """
    One known gateway.

    ``text`` is its configuration, to be written to ``file`` (None: it reads no file); ``argv``
    what follows the program's name, given the file's path. ``program`` is None for Headrace,
    which is this very program. ``metrics_offset`` is how far above its port its metrics are.
    """

    name: str
    label: str
    program: str | None
    file: str | None
    text: Callable[[Front], str]
    argv: Callable[[Front, str], list[str]]
    ready: str = "/health"
    env: tuple[str, ...] = ()
    metrics_offset: int = 0
    stop: str = "TERM"


def _json(tree: object) -> str:
    """JSON is YAML, and looks the same in every gateway's documentation."""
    return json.dumps(tree, indent=2) + "\n"


def _headrace(front: Front) -> str:
    names = front.names
    serves = {names.model: names.model}
    tree = {
        "server": {
            "host": "127.0.0.1",
            "port": front.port,
            "max_body_bytes": BODY_MIB * 1024 * 1024,
            "drain_s": DRAIN_S,
        },
        "timeouts": {
            "connect_s": CLOCK_S,
            "queue_s": 1,
            "first_byte_s": CLOCK_S,
            "chunk_s": CLOCK_S,
        },
        "outliers": {"ejection_s": 1},  # back before the next case
        "admin": {"enabled": False},  # its port may be another gateway's
        "models": [{"name": names.model, "aliases": [names.alias]}, {"name": names.cold}],
        "backends": [{"url": url, "serves": serves} for url in front.urls],
    }
    return _json(tree)


def _litellm(front: Front) -> str:
    names = front.names
    models = [
        {
            "model_name": names.model,
            "litellm_params": {
                "model": f"openai/{names.model}",
                "api_base": f"{url}/v1",
                "api_key": "sk-engine",
                "stream_timeout": CLOCK_S,
            },
        }
        for url in front.urls
    ]
    router = {
        "num_retries": 2,
        "disable_cooldowns": True,
        "optional_pre_call_checks": ["responses_api_deployment_check"],
        "model_group_alias": {names.alias: names.model},
    }
    return _json({"model_list": models, "router_settings": router})


def _nginx(front: Front) -> str:
    servers = "\n".join(f"    server {replica} max_fails=0;" for replica in front.replicas)
    again = " ".join(f"http_{status}" for status in RETRIED)
    user = pwd.getpwuid(os.getuid()).pw_name
    return f"""daemon off; user {user}; worker_processes 1; pid nginx.pid; error_log stderr warn;
worker_shutdown_timeout {DRAIN_S}s;
events {{ worker_connections 1024; }}
http {{
  map $http_x_request_id $id {{
    "~^[A-Za-z0-9._-]{{1,128}}$" $http_x_request_id; default $request_id;
  }}
  access_log off; client_max_body_size {BODY_MIB}m;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  upstream engines {{
{servers}
    keepalive 64;
  }}
  server {{
    listen 127.0.0.1:{front.port};
    location / {{
      proxy_pass http://engines; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_connect_timeout 1s; proxy_read_timeout {CLOCK_S}s;
      proxy_set_header X-Request-Id $id; add_header X-Request-Id $id always;
      proxy_set_header Authorization ""; proxy_set_header X-Api-Key "";
      proxy_set_header Cookie "";
      proxy_next_upstream error timeout {again} non_idempotent;
    }}
  }}
}}
"""


def _address(host: str, number: int) -> dict[str, object]:
    return {"socket_address": {"address": host, "port_value": number}}


def _typed(kind: str, **rest: object) -> dict[str, object]:
    return {"@type": f"type.googleapis.com/envoy.extensions.filters.{kind}", **rest}


def _envoy(front: Front) -> str:
    retry = {
        "retry_on": "connect-failure,refused-stream,reset,retriable-status-codes",
        "retriable_status_codes": list(RETRIED),
        "num_retries": 2,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3."
                    "PreviousHostsPredicate"
                },
            }
        ],
        "host_selection_retry_max_attempts": 5,
    }
    action = {"cluster": "engines", "timeout": "0s", "retry_policy": retry}
    route = {"match": {"prefix": "/"}, "route": action}
    buffer = _typed("http.buffer.v3.Buffer", max_request_bytes=BODY_MIB * 1024 * 1024)
    manager = _typed(
        "network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="front",
        stream_idle_timeout=f"{CLOCK_S}s",
        preserve_external_request_id=True,
        always_set_request_id_in_response=True,
        route_config={
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}],
            "request_headers_to_remove": ["authorization", "x-api-key", "cookie"],
        },
        http_filters=[
            {"name": "envoy.filters.http.buffer", "typed_config": buffer},
            {"name": "envoy.filters.http.router", "typed_config": _typed("http.router.v3.Router")},
        ],
    )
    chain = {
        "filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
        ]
    }
    listener = {
        "name": "front",
        "address": _address("127.0.0.1", front.port),
        "filter_chains": [chain],
    }
    return _json({"static_resources": {"listeners": [listener], "clusters": [_cluster(front)]}})


def _cluster(front: Front) -> dict[str, object]:
    places = [replica.rpartition(":") for replica in front.replicas]
    endpoints = [{"endpoint": {"address": _address(host, int(port))}} for host, _, port in places]
    return {
        "name": "engines",
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {"cluster_name": "engines", "endpoints": [{"lb_endpoints": endpoints}]},
    }


def _nothing(_front: Front) -> str:
    return ""


def _router(*before: str) -> Callable[[Front, str], list[str]]:
    """The flags that vllm-router and sglang-router share."""

    def argv(front: Front, _file: str) -> list[str]:
        flags = {
            "--host": "127.0.0.1",
            "--port": str(front.port),
            "--prometheus-host": "127.0.0.1",
            "--prometheus-port": str(front.port + METRICS_OFFSET),
            "--policy": "round_robin",
            "--max-payload-size": str(BODY_MIB * 1024 * 1024),
            "--request-timeout-secs": "20",
            "--worker-startup-check-interval": "1",
            "--health-check-interval-secs": "1",
            "--cb-timeout-duration-secs": "1",
        }
        given = [word for flag in flags.items() for word in flag]
        return [*before, *given, "--worker-urls", *front.urls]

    return argv


WIRINGS = {
    wiring.name: wiring
    for wiring in (
        Wiring(
            name="headrace",
            label="Headrace",
            program=None,
            file="headrace.yaml",
            text=_headrace,
            argv=lambda _front, file: ["serve", "--config", file],
            ready="/ready",
        ),
        Wiring(
            name="litellm",
            label="LiteLLM proxy",
            program="litellm",
            file="litellm.yaml",
            text=_litellm,
            argv=lambda front, file: [
                *("--config", file, "--host", "127.0.0.1", "--port", str(front.port)),
                *("--telemetry", "False", "--num_workers", "1"),
            ],
            ready="/health/readiness",
            env=(
                # Otherwise it asks the internet for a price list, and refuses to start keyless.
                "LITELLM_LOCAL_MODEL_COST_MAP=True",
                "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY=true",
            ),
        ),
        Wiring(
            name="vllm-router",
            label="vllm-router",
            program="vllm-router",
            file=None,
            text=_nothing,
            argv=_router(),
            metrics_offset=METRICS_OFFSET,
        ),
        Wiring(
            name="sglang-router",
            label="sglang-router",
            program="sglang-router",
            file=None,
            text=_nothing,
            argv=_router("launch"),
            metrics_offset=METRICS_OFFSET,
        ),
        Wiring(
            name="envoy",
            label="Envoy",
            program="envoy",
            file="envoy.json",
            text=_envoy,
            argv=lambda _front, file: [
                *("-c", file, "--concurrency", "1", "--use-dynamic-base-id"),
                *("--log-level", "warn"),
            ],
        ),
        Wiring(
            name="nginx",
            label="nginx",
            program="nginx",
            file="nginx.conf",
            text=_nginx,
            argv=lambda _front, file: [
                "-p",
                str(Path(file).parent),
                "-e",
                "stderr",
                "-c",
                file,
            ],
            stop="QUIT",  # its word for stopping in order; SIGTERM is its quick end
        ),
    )
}
