# One image for every command: `docker run crosscurrent worker --bootstrap-servers ...`
#
# The base is a release of Python by its digest: change both together (`docker buildx imagetools inspect python:TAG`).
ARG PYTHON=python:3.13.15-slim-trixie@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

FROM ${PYTHON} AS build

# Which of requirements/*.lock: `worker`, `trainer` (with the CPU build of PyTorch) or `replay` (with a data set).
ARG KIND=worker
WORKDIR /src
COPY requirements requirements
# Nothing is installed whose hash is not in the lock, and nothing is built but this project.
RUN python -m venv /opt/crosscurrent \
    && /opt/crosscurrent/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: \
        -r "requirements/$KIND.lock" \
    && pip install --no-cache-dir --disable-pip-version-check --root-user-action ignore --require-hashes \
        --only-binary :all: -r requirements/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY models models
COPY streams streams
RUN pip wheel --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir /wheel . \
    && /opt/crosscurrent/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps /wheel/*.whl \
    && /opt/crosscurrent/bin/pip check

FROM ${PYTHON}

# A system user without a login: the process needs only its own files and the network.
RUN useradd --system --uid 10001 --create-home crosscurrent
COPY --from=build /opt/crosscurrent /opt/crosscurrent
# Kernels are compiled here, once, and again at a start only where the processor is another one.
ENV PATH=/opt/crosscurrent/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/var/cache/crosscurrent
# A volume takes the content and the owner of the folder it is mounted over. Both have to be writable, also where the
# rest of the container is read-only.
RUN install -d -o crosscurrent "$NUMBA_CACHE_DIR" /var/lib/crosscurrent/snapshots
USER crosscurrent
RUN python -m streams.warm

ENTRYPOINT ["crosscurrent"]
CMD ["--help"]
