# syntax=docker/dockerfile:1
# The server and the client as Debian's packages, on a Debian, with the shipped checkpoint; and the trainer.
#
#   docker build -t denoised --build-arg REVISION=$(git rev-parse --short=12 HEAD) .
#   docker build -t denoised:cuda --target cuda .        serves on GPUs too, where the nvidia runtime lends one
#   docker build -t denoised:trainer --target trainer .  learns such a checkpoint: the trainer's package, with LibTorch
#
# BASE is a Debian 12 or 13. Whatever the programs are linked with is a package of it: scanners see them, their licences are
# in /usr/share/doc, and building anew brings their mends.
ARG BASE=debian:12-slim

FROM ${BASE} AS tools
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates
WORKDIR /src
ENV CCACHE_DIR=/ccache
COPY scripts scripts
RUN scripts/setup.sh --serving --packages

FROM tools AS build
COPY . .
ARG REVISION=
RUN --mount=type=cache,target=/ccache \
    scripts/package.sh --serving -DDENOISED_CUDA=OFF -DDENOISED_REVISION=${REVISION}

FROM ${BASE} AS runtime
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin denoised
STOPSIGNAL SIGTERM
ARG REVISION=
LABEL org.opencontainers.image.title="denoised" \
      org.opencontainers.image.description="gRPC server that draws handwritten digits by diffusion" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.revision="${REVISION}"

FROM runtime AS server
ENV DENOISED_CHECKPOINT=/usr/share/denoised/mnist.pt
EXPOSE 50051 9464
# Asks at --listen, with TLS if it is on, when both come by DENOISED_ variables; where flags set them, `docker run
# --health-cmd` has to name them too. While it drains a server is unhealthy, which Docker only shows. Kubernetes has
# probes of its own.
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 CMD ["/usr/bin/denoised", "--healthcheck"]
ENTRYPOINT ["/usr/bin/denoised"]

FROM server AS cpu
RUN --mount=type=bind,from=build,source=/src,target=/src /src/deploy/debian/install_in_image.sh denoised denoised-client
USER 10001

# The kernel for GPUs is compiled by NVIDIA's compiler from PyPI, of which nothing stays.
FROM tools AS build-cuda
RUN scripts/setup.sh --serving --packages --cuda
COPY . .
ARG REVISION=
RUN --mount=type=cache,target=/ccache \
    scripts/package.sh --serving -DDENOISED_CUDA=ON -DDENOISED_REVISION=${REVISION}

FROM server AS cuda
RUN --mount=type=bind,from=build-cuda,source=/src,target=/src /src/deploy/debian/install_in_image.sh denoised denoised-client
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001

# Debian's LibTorch, which has no CUDA.
FROM tools AS build-trainer
RUN scripts/setup.sh --packages
COPY . .
ARG REVISION=
RUN --mount=type=cache,target=/ccache \
    scripts/package.sh --trainer -DDENOISED_CUDA=OFF -DDENOISED_REVISION=${REVISION}

FROM runtime AS trainer
RUN --mount=type=bind,from=build-trainer,source=/src,target=/src /src/deploy/debian/install_in_image.sh denoised-trainer
LABEL org.opencontainers.image.title="denoised-trainer" \
      org.opencontainers.image.description="trainer of models for denoised, which draws handwritten digits by diffusion"
ENTRYPOINT ["/usr/bin/denoise-train"]
USER 10001

# What a build without --target makes.
FROM cpu
