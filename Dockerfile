# denoised with the shipped checkpoint, on the CPU; with --build-arg CUDA_IMAGE=nvidia/cuda:...-devel-... on a GPU as well.
ARG CUDA_IMAGE=debian:12-slim

# The CUDA Toolkit's compiler and static runtime, as plain files; nothing where the image has none.
FROM ${CUDA_IMAGE} AS cuda
RUN mkdir -p /toolkit && if [ -d /usr/local/cuda/bin ]; then cp -rL /usr/local/cuda/. /toolkit; fi

FROM debian:12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends bash git ca-certificates
WORKDIR /src
COPY scripts scripts
RUN scripts/setup.sh
COPY --from=cuda /toolkit /usr/local/cuda
COPY . .
RUN cmake --preset release -DDENOISED_BUILD_TESTS=OFF \
 && cmake --build --preset release \
 && cmake --install build/release --prefix /opt/denoised --strip \
 && ldd /opt/denoised/bin/* | awk '$3 ~ /^\// { print $3 }' | sort -u > /libraries

# The shared libraries that the programs load, and nothing else of the build; the C library is the base image's own.
FROM build AS libraries
RUN mkdir /runtime && grep -vE '/(libc|libm|libdl|librt|libpthread|ld-linux[^/]*)\.so' /libraries | xargs cp -L -t /runtime

FROM debian:12-slim
COPY --from=libraries /runtime /usr/local/lib/denoised
COPY --from=build /opt/denoised /usr/local
RUN echo /usr/local/lib/denoised > /etc/ld.so.conf.d/denoised.conf && ldconfig \
 && useradd --system --uid 10001 denoised
USER 10001
ENV DENOISED_CHECKPOINT=/usr/local/share/denoised/mnist.pt \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
EXPOSE 50051 9464
STOPSIGNAL SIGTERM
# Asks at --listen, with TLS if it is on, when both come by DENOISED_ variables; where flags set them, `docker run
# --health-cmd` has to name them too. While it drains a server is unhealthy, which Docker only shows. Kubernetes has probes of its own.
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 CMD ["/usr/local/bin/denoised", "--healthcheck"]
ENTRYPOINT ["/usr/local/bin/denoised"]
