# One image for every command: `docker run crosscurrent worker --bootstrap-servers ...`
FROM python:3.13-slim AS build

# `completejourney` adds the data set that `replay completejourney` sends, `learning` what the trainer learns with.
ARG EXTRAS=""
# https://download.pytorch.org/whl/cpu brings torch without CUDA: 0.2 GB to download instead of 2.7 GB.
ARG PIP_EXTRA_INDEX_URL=""
WORKDIR /src
RUN python -m venv /opt/crosscurrent
COPY pyproject.toml README.md LICENSE ./
COPY models models
COPY streams streams
RUN /opt/crosscurrent/bin/pip install --no-cache-dir --disable-pip-version-check ".${EXTRAS:+[$EXTRAS]}"

FROM python:3.13-slim

# A system user without a login: the process needs only its own files and the network.
RUN useradd --system --create-home crosscurrent
COPY --from=build /opt/crosscurrent /opt/crosscurrent
# Kernels are compiled here, once, and again at a start only where the processor is another one.
ENV PATH=/opt/crosscurrent/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/var/cache/crosscurrent
# A volume takes the owner of the folder it is mounted over.
RUN install -d -o crosscurrent "$NUMBA_CACHE_DIR" /var/lib/crosscurrent/snapshots
USER crosscurrent
RUN python -m models.warm

ENTRYPOINT ["crosscurrent"]
CMD ["--help"]
