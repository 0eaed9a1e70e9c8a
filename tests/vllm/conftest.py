"""Fixtures of the tests with real vLLM: one engine, one gateway in front of it, and SDK clients."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import anthropic
import openai
import pytest

from tests.vllm import rig
from tests.vllm.rig import Server


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> rig.Say:
    """Print at once, past pytest's capture: the start takes a minute, and silence looks broken."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def write(text: str) -> None:
        hidden = capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()
        with hidden:
            print(f"[vllm] {text}", flush=True)

    return write


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where both servers write their logs."""
    return tmp_path_factory.mktemp("vllm")


@pytest.fixture(scope="session")
def vllm(request: pytest.FixtureRequest, logs: Path, say: rig.Say) -> Iterator[Server]:
    """A real vLLM. Opt-in means wanted: if it cannot be had, the tests fail and do not skip."""
    server = Server("vllm", rig.free_port(), logs / "vllm.log")
    with needed(request):
        env = rig.build_env(say)
        environ = {**rig.VLLM_ENV, "VLLM_CACHE_ROOT": str(env / "cache")}
        command = rig.vllm_command(env, server.port)
        process = rig.start(server, command, ready="/health", say=say, env=environ)
    yield server
    rig.stop(process)


@pytest.fixture(scope="session")
def gateway(
    request: pytest.FixtureRequest, vllm: Server, logs: Path, say: rig.Say
) -> Iterator[Server]:
    """The gateway as a user starts it, in front of that vLLM."""
    server = Server("gateway", rig.free_port(), logs / "gateway.log")
    with needed(request):
        command = rig.gateway_command(logs / "headrace.yaml", server.port, vllm)
        process = rig.start(server, command, ready="/ready", say=say)
    yield server
    rig.stop(process)


@contextlib.contextmanager
def needed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Around what no test can do without: when it fails, that is said once and the session ends."""
    try:
        yield
    except BaseException:
        request.session.shouldfail = "the tests with real vLLM need what just failed"
        raise


@pytest.fixture
def oai(gateway: Server) -> Iterator[openai.OpenAI]:
    """The official OpenAI client, pointed at the gateway."""
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def claude(gateway: Server) -> Iterator[anthropic.Anthropic]:
    """The official Anthropic client, pointed at the gateway."""
    with anthropic.Anthropic(base_url=gateway.url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def idle(vllm: Server) -> Server:
    """The vLLM, once it works on nothing: what another test left over would be counted."""
    rig.wait_until(lambda: vllm.metric("vllm:num_requests_running") == 0, "the engine is idle")
    return vllm
