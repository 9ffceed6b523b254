# Live feature vectors in, trading signals out. From the root of the repository:
#   docker build --file deploy/images/inference.Dockerfile --tag flotilla/inference .
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
ARG UV_VERSION=0.13.9
ENV UV_PROJECT_ENVIRONMENT=/app UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir "uv==${UV_VERSION}"
WORKDIR /src
COPY pyproject.toml uv.lock ./
COPY libs/common/pyproject.toml libs/common/
COPY services/inference/pyproject.toml services/inference/
RUN uv sync --frozen --no-dev --no-editable --package flotilla-inference --no-install-workspace
COPY libs/common libs/common
COPY services/inference services/inference
RUN uv sync --frozen --no-dev --no-editable --package flotilla-inference

FROM ${PYTHON}
ARG REVISION=unknown
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="flotilla/inference" \
      org.opencontainers.image.description="Live feature vectors in, trading signals out" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /app /app
ENV PATH=/app/bin:${PATH} PYTHONUNBUFFERED=1 LISTEN_HOST=0.0.0.0
USER 10001:10001
EXPOSE 4501
HEALTHCHECK --interval=10s --timeout=5s CMD ["python", "-m", "common.alive", "INFERENCE_PORT", "4501"]
ENTRYPOINT ["python", "-m", "inference"]
