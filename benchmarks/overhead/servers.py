"""
Configurations for the peers that read one, each as a function of the replicas' addresses.
Buffering, access logs and connection limits are set so that no peer does more than it must.
"""

import json
from collections.abc import Sequence

from .jobs import MODEL

# Above every body the benchmark sends, and every connection it opens.
_BODY_LIMIT_MB = 64
_CONNECTIONS = 8_192


def nginx(port: int, replicas: Sequence[str], user: str) -> str:
    servers = "\n".join(f"    server {replica};" for replica in replicas)
    return f"""daemon off; user {user}; worker_processes 1; pid nginx.pid; error_log stderr warn;
events {{ worker_connections {_CONNECTIONS}; }}
http {{
  access_log off; tcp_nodelay on; client_max_body_size {_BODY_LIMIT_MB}m;
  keepalive_requests 1000000;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  upstream engines {{
{servers}
    keepalive 256; keepalive_requests 1000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://engines; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_request_buffering off; proxy_read_timeout 600s;
    }}
  }}
}}
"""


def haproxy(port: int, replicas: Sequence[str]) -> str:
    servers = "\n".join(f"  server r{n} {replica}" for n, replica in enumerate(replicas))
    return f"""global
  maxconn {_CONNECTIONS}
  nbthread 1
defaults
  mode http
  option http-no-delay
  http-reuse always
  timeout connect 5s
  timeout client 600s
  timeout server 600s
frontend front
  bind 127.0.0.1:{port} backlog 4096
  default_backend engines
backend engines
  balance roundrobin
{servers}
"""


def envoy(port: int, replicas: Sequence[str]) -> str:
    """JSON is YAML: one bootstrap without an admin port."""

    def address(host: str, number: int) -> dict[str, object]:
        return {"socket_address": {"address": host, "port_value": number}}

    def typed(kind: str, **rest: object) -> dict[str, object]:
        return {"@type": f"type.googleapis.com/envoy.extensions.filters.{kind}", **rest}

    endpoints = []
    for replica in replicas:
        host, _, number = replica.partition(":")
        endpoints.append({"endpoint": {"address": address(host, int(number))}})
    route = {"match": {"prefix": "/"}, "route": {"cluster": "engines", "timeout": "0s"}}
    manager = typed(
        "network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="front",
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        http_filters=[
            {"name": "envoy.filters.http.router", "typed_config": typed("http.router.v3.Router")}
        ],
    )
    most = {"max_connections": _CONNECTIONS, "max_pending_requests": _CONNECTIONS}
    cluster = {
        "name": "engines",
        "type": "STATIC",
        "lb_policy": "ROUND_ROBIN",
        "circuit_breakers": {"thresholds": [{**most, "max_requests": _CONNECTIONS}]},
        "load_assignment": {"cluster_name": "engines", "endpoints": [{"lb_endpoints": endpoints}]},
    }
    listener = {
        "name": "front",
        "address": address("127.0.0.1", port),
        "tcp_backlog_size": 4_096,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ]
            }
        ],
    }
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}})


def litellm(replicas: Sequence[str]) -> str:
    models = [
        {
            "model_name": MODEL,
            "litellm_params": {
                "model": f"openai/{MODEL}",
                "api_base": f"http://{replica}/v1",
                "api_key": "sk-bench",
            },
        }
        for replica in replicas
    ]
    return json.dumps({"model_list": models, "router_settings": {"num_retries": 0}})


def headrace(port: int, replicas: Sequence[str], **sections: object) -> str:
    """Everything as it ships, but for the address, the model, the replicas and these sections."""
    backends = [
        {"name": f"r{n}", "url": f"http://{replica}", "serves": [MODEL]}
        for n, replica in enumerate(replicas)
    ]
    tree = {"server": {"host": "127.0.0.1", "port": port}, "models": [{"name": MODEL}]}
    return json.dumps({**tree, "backends": backends, **sections})
