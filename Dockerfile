# Two images from one file:
#   docker build --target operator -t deepspeed-operator .
#   docker build --target worker   -t deepspeed-worker   [--build-arg LIBTORCH=cuda] .
# Without a registry: the base images are build arguments, and the stage `build` can be replaced by a folder with the
# published programs (--build-context build=FOLDER); tests/cluster/images.sh does both.
ARG SDK_IMAGE=mcr.microsoft.com/dotnet/sdk:10.0-noble
ARG RUNTIME_IMAGE=mcr.microsoft.com/dotnet/runtime-deps:10.0-noble

FROM ${SDK_IMAGE} AS build
# cpu or cuda: the native backend that the worker brings along.
ARG LIBTORCH=cpu
WORKDIR /source
COPY . .
RUN dotnet publish src/Operator -c Release -r linux-x64 --self-contained -o /out/operator \
 && dotnet publish src/WorkerImage -c Release -r linux-x64 --self-contained -p:LibTorch=${LIBTORCH} -o /out/worker \
 && tests/cluster/split-libtorch.sh /out/worker /out/libtorch

FROM ${RUNTIME_IMAGE} AS operator
LABEL org.opencontainers.image.title="deepspeed-operator" \
      org.opencontainers.image.description="Kubernetes operator for DeepSpeedJob" \
      org.opencontainers.image.licenses="Apache-2.0"
# The root file system may be read-only: no diagnostics socket, no profiler files.
ENV DOTNET_EnableDiagnostics=0 \
    DOTNET_gcServer=0
COPY --from=build /out/operator/ /app/
WORKDIR /app
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/app/deepspeed-operator"]

FROM ${RUNTIME_IMAGE} AS worker
LABEL org.opencontainers.image.title="deepspeed-worker" \
      org.opencontainers.image.description="Training worker of DeepSpeedSharp" \
      org.opencontainers.image.licenses="Apache-2.0"
# Waiting OpenMP threads sleep instead of spinning: several workers often share a machine's cores.
ENV DOTNET_EnableDiagnostics=0 \
    DOTNET_gcServer=0 \
    OMP_WAIT_POLICY=PASSIVE \
    MALLOC_ARENA_MAX=4
# The large native libraries have a layer of their own below the program's, so that a new program does not ship them again.
COPY --from=build /out/libtorch/ /app/
COPY --from=build /out/worker/ /app/
# Text for the sample job, which trains a small model on bytes.
COPY src /workspace/src
WORKDIR /workspace
USER 1000:1000
ENTRYPOINT ["/app/deepspeed-worker"]
