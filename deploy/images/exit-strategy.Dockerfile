# Closes positions by rule. From the root of the repository:
#   docker build --file deploy/images/exit-strategy.Dockerfile --tag flotilla/exit-strategy .
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
ARG UV_VERSION=0.13.9
ENV UV_PROJECT_ENVIRONMENT=/app UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir "uv==${UV_VERSION}" && mkdir /writable-spool
WORKDIR /src
COPY pyproject.toml uv.lock ./
COPY libs/common/pyproject.toml libs/common/
COPY services/exit_strategy/pyproject.toml services/exit_strategy/
RUN uv sync --frozen --no-dev --no-editable --package flotilla-exit-strategy --no-install-workspace
COPY libs/common libs/common
COPY services/exit_strategy services/exit_strategy
RUN uv sync --frozen --no-dev --no-editable --package flotilla-exit-strategy

FROM ${PYTHON}
ARG REVISION=unknown
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="flotilla/exit-strategy" \
      org.opencontainers.image.description="Closes positions by rule" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /app /app
COPY --from=build --chown=10001:10001 /writable-spool /spool
ENV PATH=/app/bin:${PATH} PYTHONUNBUFFERED=1 LISTEN_HOST=0.0.0.0
USER 10001:10001
VOLUME ["/spool"]
EXPOSE 4503
HEALTHCHECK --interval=10s --timeout=5s CMD ["python", "-m", "common.alive", "EXIT_STRATEGY_PORT", "4503"]
ENTRYPOINT ["python", "-m", "exit_strategy"]
