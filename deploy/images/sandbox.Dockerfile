# Simulated neighbours of the fleet, for paper. From the root of the repository:
#   docker build --file deploy/images/sandbox.Dockerfile --tag flotilla/sandbox .
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
ARG UV_VERSION=0.13.9
ENV UV_PROJECT_ENVIRONMENT=/app UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir "uv==${UV_VERSION}"
WORKDIR /src
COPY pyproject.toml uv.lock ./
COPY libs/common/pyproject.toml libs/common/
COPY deploy/sandbox/pyproject.toml deploy/sandbox/
RUN uv sync --frozen --no-dev --no-editable --package flotilla-sandbox --no-install-workspace
COPY libs/common libs/common
COPY deploy/sandbox deploy/sandbox
RUN uv sync --frozen --no-dev --no-editable --package flotilla-sandbox

FROM ${PYTHON}
ARG REVISION=unknown
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="flotilla/sandbox" \
      org.opencontainers.image.description="Simulated neighbours of the fleet, for paper" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /app /app
ENV PATH=/app/bin:${PATH} PYTHONUNBUFFERED=1 LISTEN_HOST=0.0.0.0
USER 10001:10001
EXPOSE 4900 4800 4400
HEALTHCHECK --interval=10s --timeout=5s CMD ["python", "-m", "common.alive", "POSITION_MANAGER_PORT", "4800", "/health"]
ENTRYPOINT ["python", "-m", "sandbox"]
