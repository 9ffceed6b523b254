# Model versions from datasets, promoted on evidence alone. From the root of the repository:
#   docker build --file deploy/images/trainer.Dockerfile --tag flotilla/trainer .
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
ARG UV_VERSION=0.13.9
# cpu is small; gpu brings the CUDA libraries.
ARG ACCELERATOR=cpu
ENV UV_PROJECT_ENVIRONMENT=/app UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir "uv==${UV_VERSION}" && mkdir /writable-models /writable-datasets
WORKDIR /src
COPY pyproject.toml uv.lock ./
COPY libs/common/pyproject.toml libs/common/
COPY services/trainer/pyproject.toml services/trainer/
RUN uv sync --frozen --no-dev --no-editable --package flotilla-trainer --extra ${ACCELERATOR} --no-install-workspace
COPY libs/common libs/common
COPY services/trainer services/trainer
RUN uv sync --frozen --no-dev --no-editable --package flotilla-trainer --extra ${ACCELERATOR}

FROM ${PYTHON}
ARG REVISION=unknown
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="flotilla/trainer" \
      org.opencontainers.image.description="Model versions from datasets, promoted on evidence alone" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /app /app
COPY --from=build --chown=10001:10001 /writable-models /models
COPY --from=build --chown=10001:10001 /writable-datasets /datasets
ENV PATH=/app/bin:${PATH} PYTHONUNBUFFERED=1 LISTEN_HOST=0.0.0.0
USER 10001:10001
VOLUME ["/models", "/datasets"]
EXPOSE 4502
HEALTHCHECK --interval=10s --timeout=5s CMD ["python", "-m", "common.alive", "TRAINER_PORT", "4502"]
ENTRYPOINT ["python", "-m", "trainer"]
