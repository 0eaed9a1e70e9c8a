"""
A stand-in for a Terraform provider: it has the real one's schema and nothing else, so that init,
validate, plan and test run where no registry is reached. Terraform starts it as a program, in an
environment of its own; the schema is the file $HEADRACE_PROVIDER_SCHEMA.

https://developer.hashicorp.com/terraform/plugin/terraform-plugin-protocol (version 6)
"""

# ruff: noqa: ARG002, N802 - names and arguments are the protocol's

import base64
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import msgpack
from tf.gen import (
    grpc_controller_pb2,
    grpc_controller_pb2_grpc,
    grpc_stdio_pb2_grpc,
)
from tf.gen import tfplugin_pb2 as wire
from tf.gen import tfplugin_pb2_grpc as service
from tf.runner import _self_signed_cert, _ShutdownInterceptor

NESTING = {"single": 1, "list": 2, "set": 3, "map": 4, "group": 5}  # of blocks
SHAPES = {"single": 1, "list": 2, "set": 3, "map": 4}  # of attributes
UNKNOWN = msgpack.ExtType(0, b"\x00")
SCHEMA: dict[str, Any] = json.loads(
    Path(os.environ["HEADRACE_PROVIDER_SCHEMA"]).read_text(encoding="utf-8")
)
# What data sources must say for a plan to make sense.
ANSWERS: dict[str, Any] = {
    "names": ["us-east-1a", "us-east-1b", "us-east-1c", "us-east-1d"],
    "account_id": "123456789012",
    "partition": "aws",
    "region": "us-east-1",
}


class Provider(service.ProviderServicer):  # type: ignore[misc]
    """Everything validates that fits the schema; what AWS would answer is unknown."""

    def GetMetadata(self, request: Any, context: Any) -> None:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "")

    def GetProviderSchema(self, request: Any, context: Any) -> Any:
        return wire.GetProviderSchema.Response(
            provider=_schema(SCHEMA["provider"] or {"attributes": {}}),
            resource_schemas={name: _schema(block) for name, block in SCHEMA["resource"].items()},
            data_source_schemas={name: _schema(block) for name, block in SCHEMA["data"].items()},
            server_capabilities=wire.ServerCapabilities(get_provider_schema_optional=False),
        )

    def ValidateProviderConfig(self, request: Any, context: Any) -> Any:
        return wire.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, request: Any, context: Any) -> Any:
        return wire.ValidateResourceConfig.Response()

    def ValidateDataResourceConfig(self, request: Any, context: Any) -> Any:
        return wire.ValidateDataResourceConfig.Response()

    def ConfigureProvider(self, request: Any, context: Any) -> Any:
        return wire.ConfigureProvider.Response()

    def UpgradeResourceState(self, request: Any, context: Any) -> Any:
        state = wire.DynamicValue(json=request.raw_state.json)
        return wire.UpgradeResourceState.Response(upgraded_state=state)

    def ReadResource(self, request: Any, context: Any) -> Any:
        return wire.ReadResource.Response(new_state=request.current_state)

    def PlanResourceChange(self, request: Any, context: Any) -> Any:
        wanted = _decode(request.proposed_new_state)
        if wanted is not None and _decode(request.prior_state) is None:
            block = SCHEMA["resource"][request.type_name]
            _fill(block, wanted, lambda _name, _entry: UNKNOWN)
        return wire.PlanResourceChange.Response(planned_state=_encode(wanted))

    def ApplyResourceChange(self, request: Any, context: Any) -> None:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "the stand-in for a provider makes nothing")

    def ReadDataSource(self, request: Any, context: Any) -> Any:
        state = _decode(request.config)
        _fill(SCHEMA["data"][request.type_name], state, _answer)
        return wire.ReadDataSource.Response(state=_encode(state))

    def GetFunctions(self, request: Any, context: Any) -> Any:
        return wire.GetFunctions.Response()

    def StopProvider(self, request: Any, context: Any) -> Any:
        return wire.StopProvider.Response()


def main() -> None:
    """Serve until Terraform says that it is done: one line on standard output tells it where."""
    shutdown = _ShutdownInterceptor()
    server = grpc.server(
        futures.ThreadPoolExecutor(8),
        interceptors=[shutdown],
        options=[("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)],
    )
    shutdown.server = server

    class Controller(grpc_controller_pb2_grpc.GRPCControllerServicer):  # type: ignore[misc]
        def Shutdown(self, request: Any, context: Any) -> Any:
            shutdown.stopped = True
            return grpc_controller_pb2.Empty()

    class Output(grpc_stdio_pb2_grpc.GRPCStdioServicer):  # type: ignore[misc]
        def StreamStdio(self, request: Any, context: Any) -> Iterator[Any]:
            return iter([])

    service.add_ProviderServicer_to_server(Provider(), server)
    grpc_controller_pb2_grpc.add_GRPCControllerServicer_to_server(Controller(), server)
    grpc_stdio_pb2_grpc.add_GRPCStdioServicer_to_server(Output(), server)
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/provider.sock"
        chain, credentials = _self_signed_cert()
        server.add_secure_port(f"unix://{socket}", credentials)
        server.start()
        certificate = base64.b64encode(chain).decode().rstrip("=")
        sys.stdout.write(f"1|6|unix|{socket}|grpc|{certificate}\n")
        sys.stdout.flush()
        while server.wait_for_termination(0.05) and not shutdown.stopped:
            pass


# --- below -------------------------------------------------------------------------------------


def _schema(block: dict[str, Any]) -> Any:
    return wire.Schema(version=0, block=_block(block))


def _block(block: dict[str, Any]) -> Any:
    nested = [
        wire.Schema.NestedBlock(
            type_name=name,
            block=_block(entry["block"]),
            nesting=NESTING[entry["nesting_mode"]],
            min_items=entry.get("min_items", 0),
            max_items=entry.get("max_items", 0),
        )
        for name, entry in sorted(block.get("block_types", {}).items())
    ]
    attributes = list(_attributes(block["attributes"]))
    return wire.Schema.Block(attributes=attributes, block_types=nested)


def _attributes(entries: dict[str, Any]) -> Iterator[Any]:
    for name, entry in sorted(entries.items()):
        flags = {flag: entry.get(flag, False) for flag in ("optional", "required", "computed")}
        attribute = wire.Schema.Attribute(name=name, **flags)
        if "nested_type" in entry:
            inner = entry["nested_type"]
            attributes = list(_attributes(inner["attributes"]))
            shape = SHAPES[inner["nesting_mode"]]
            attribute.nested_type.CopyFrom(wire.Schema.Object(attributes=attributes, nesting=shape))
        else:
            attribute.type = json.dumps(entry["type"]).encode()
        yield attribute


def _decode(value: Any) -> Any:
    if not value.msgpack:
        return None
    return msgpack.unpackb(value.msgpack, ext_hook=msgpack.ExtType, strict_map_key=False)


def _encode(value: Any) -> Any:
    return wire.DynamicValue(msgpack=msgpack.packb(value))


def _fill(block: dict[str, Any], state: dict[str, Any], value: Callable[[str, Any], Any]) -> None:
    for name, entry in block["attributes"].items():
        if entry.get("computed") and state.get(name) is None:
            state[name] = value(name, entry)
    for name, entry in block.get("block_types", {}).items():
        inside = state.get(name) or []
        each = inside if isinstance(inside, list) else [inside]
        for nested in each:
            if isinstance(nested, dict) and entry["nesting_mode"] != "map":
                _fill(entry["block"], nested, value)


def _answer(name: str, entry: dict[str, Any]) -> Any:
    kind = entry.get("type")
    if isinstance(kind, list):
        fits = kind in (["list", "string"], ["set", "string"])
        empty: Any = {} if kind[0] == "map" else [] if kind[0] in {"list", "set"} else None
        return ANSWERS.get(name, empty) if fits else empty
    if kind == "string":
        return ANSWERS.get(name, "data")
    return {"number": 0, "bool": False}.get(str(kind))


if __name__ == "__main__":
    main()
