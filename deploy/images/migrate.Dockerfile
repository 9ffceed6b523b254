# The schema of the fleet, as a job that runs once. From the root of the repository:
#   docker build --file deploy/images/migrate.Dockerfile --tag flotilla/migrate .
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
ARG UV_VERSION=0.13.9
ENV UV_PROJECT_ENVIRONMENT=/app UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir "uv==${UV_VERSION}"
WORKDIR /src
COPY pyproject.toml uv.lock ./
COPY libs/common/pyproject.toml libs/common/
COPY migrations/pyproject.toml migrations/
RUN uv sync --frozen --no-dev --no-editable --package flotilla-migrations --no-install-workspace
COPY libs/common libs/common
COPY migrations migrations
RUN uv sync --frozen --no-dev --no-editable --package flotilla-migrations

FROM ${PYTHON}
ARG REVISION=unknown
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="flotilla/migrate" \
      org.opencontainers.image.description="The schema of the fleet, as a job that runs once" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /app /app
ENV PATH=/app/bin:${PATH} PYTHONUNBUFFERED=1
USER 10001:10001
# It ends by itself: nothing to look after.
HEALTHCHECK NONE
ENTRYPOINT ["python", "-m", "migrations"]
CMD ["upgrade"]
