# vLLM's own image, with what streams weights from S3 and a user that is not root.
#   docker build --file deploy/docker/engine.Dockerfile --tag headrace/engine .

ARG VLLM=v0.32.0

FROM vllm/vllm-openai:${VLLM}
ARG STREAMER=0.17.0
ARG STREAMER_S3=0.17.1
RUN pip install --no-cache-dir --no-deps \
        "runai-model-streamer==${STREAMER}" "runai-model-streamer-s3==${STREAMER_S3}" \
    && pip install --no-cache-dir "boto3>=1.40" "humanize>=4.12" \
    && groupadd --gid 10001 vllm \
    && useradd --uid 10001 --gid 10001 --no-log-init --create-home vllm \
    && mkdir -p /cache && chown 10001:10001 /cache
# What is compiled, and what is pulled, goes where a volume is.
ENV VLLM_CACHE_ROOT=/cache/vllm HF_HOME=/cache/huggingface VLLM_NO_USAGE_STATS=1
USER 10001:10001
WORKDIR /home/vllm
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["vllm", "serve"]
