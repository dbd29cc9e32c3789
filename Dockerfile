# docker build -t spo .                                        # CPU
# docker build -t spo:gpu --build-arg TORCH=cu130 .            # GPU: run it with --gpus all
# docker run --rm -v "$PWD/data:/spo/data" spo doctor          # what the sandbox may use: sandbox/README.md
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ ca-certificates \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /spo
COPY . .
ARG TORCH=cpu
ENV UV_TORCH_BACKEND=${TORCH}
RUN ./run spo --version
VOLUME /spo/data
ENTRYPOINT ["./run", "spo"]
CMD ["--help"]
