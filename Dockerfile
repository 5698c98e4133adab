# The images of the project, all from this file:
#   docker build --target operator         -t deepspeed-operator .
#   docker build --target worker           -t deepspeed-worker .        CPU
#   docker build --target worker-cuda      -t deepspeed-worker-cuda .   NVIDIA GPUs
#   docker build --target worker-base      -t deepspeed-worker-base .   for programs of your own, docs/images.md
#   docker build --target worker-base-cuda -t deepspeed-worker-base-cuda .
# No image has both backends. Without a registry: the base images are build arguments, and the stages with programs can be
# replaced by folders (--build-context build-cpu=FOLDER and so on); tests/cluster/images.sh does both.
ARG SDK_IMAGE=mcr.microsoft.com/dotnet/sdk:10.0-noble
ARG RUNTIME_IMAGE=mcr.microsoft.com/dotnet/runtime-deps:10.0-noble

FROM ${SDK_IMAGE} AS source
WORKDIR /source
COPY . .

FROM source AS build-operator
RUN dotnet publish src/Operator -c Release -r linux-x64 --self-contained -o /out/operator

FROM source AS build-cpu
RUN dotnet publish src/WorkerImage -c Release -r linux-x64 --self-contained -p:LibTorch=cpu -o /out/worker \
 && tests/cluster/split-libtorch.sh /out/worker /out/libtorch

FROM source AS build-cuda
RUN dotnet publish src/WorkerImage -c Release -r linux-x64 --self-contained -p:LibTorch=cuda -o /out/worker \
 && tests/cluster/split-libtorch.sh /out/worker /out/libtorch

# Process 1 of workers: hands signals on and buries processes whose parent died. A program that is process 1 itself gets
# only the signals it has asked for, and most ask for none.
FROM ${SDK_IMAGE} AS init
RUN apt-get update && apt-get install -y --no-install-recommends tini && cp /usr/bin/tini-static /tini

FROM ${RUNTIME_IMAGE} AS operator
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="deepspeed-operator" \
      org.opencontainers.image.description="Kubernetes operator for DeepSpeedJob" \
      org.opencontainers.image.vendor="DeepSpeedSharp" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The root file system may be read-only: no diagnostics socket, no profiler files.
ENV DOTNET_EnableDiagnostics=0 \
    DOTNET_gcServer=0
COPY --from=build-operator /out/operator/ /app/
WORKDIR /app
USER 65532:65532
EXPOSE 8080 8081
ENTRYPOINT ["/app/deepspeed-operator"]

FROM ${RUNTIME_IMAGE} AS worker-common
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.vendor="DeepSpeedSharp" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Waiting OpenMP threads sleep instead of spinning: several workers often share a machine's cores.
ENV DOTNET_EnableDiagnostics=0 \
    DOTNET_gcServer=0 \
    OMP_WAIT_POLICY=PASSIVE \
    MALLOC_ARENA_MAX=4 \
    LD_LIBRARY_PATH=/app
COPY --from=init /tini /sbin/tini
WORKDIR /workspace
USER 1000:1000
EXPOSE 9400 29500
ENTRYPOINT ["/sbin/tini", "--"]

# The large native libraries have a layer of their own below the program's, so that a new program does not ship them again.
FROM worker-common AS worker-base
LABEL org.opencontainers.image.title="deepspeed-worker-base" \
      org.opencontainers.image.description="What training programs on DeepSpeedSharp need on CPUs: copy yours to /app"
COPY --from=build-cpu /out/libtorch/ /app/

FROM worker-common AS worker-base-cuda
LABEL org.opencontainers.image.title="deepspeed-worker-base-cuda" \
      org.opencontainers.image.description="What training programs on DeepSpeedSharp need on NVIDIA GPUs: copy yours to /app"
# What the container runtime of NVIDIA lays into the container.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-cuda /out/libtorch/ /app/

FROM worker-base AS worker
LABEL org.opencontainers.image.title="deepspeed-worker" \
      org.opencontainers.image.description="Training worker of DeepSpeedSharp for CPUs"
COPY --from=build-cpu /out/worker/ /app/
# Text for the sample job, which trains a small model on bytes.
COPY src /workspace/src
ENTRYPOINT ["/sbin/tini", "--", "/app/deepspeed-worker"]

FROM worker-base-cuda AS worker-cuda
LABEL org.opencontainers.image.title="deepspeed-worker-cuda" \
      org.opencontainers.image.description="Training worker of DeepSpeedSharp for NVIDIA GPUs"
COPY --from=build-cuda /out/worker/ /app/
COPY src /workspace/src
ENTRYPOINT ["/sbin/tini", "--", "/app/deepspeed-worker"]
