# The dependencies of the pipeline, not its code: that comes from the working tree.
#
#     make image               for GPUs: the CUDA build of torch, as the default index has it
#     make image DEVICE=cpu PIP_EXTRA_INDEX_URL=...
#
# DEVICE=cpu insists on a CPU build of torch, which is much smaller and lies in an index of its own.
FROM python:3.11-slim-bookworm

ARG DEVICE=cuda
ARG PIP_EXTRA_INDEX_URL=
ENV PYTHONDONTWRITEBYTECODE=1

COPY envs/requirements.txt envs/requirements.lock /opt/cmit/
RUN set -eu; \
    case "$DEVICE" in \
      cuda) extra= ;; \
      cpu) extra="$(grep '^torch==' /opt/cmit/requirements.txt)+cpu" ;; \
      *) echo "DEVICE is cpu or cuda, not $DEVICE" >&2; exit 1 ;; \
    esac; \
    if [ "$(uname -m)" = x86_64 ] || [ "$(uname -m)" = aarch64 ]; then \
      pip install --no-cache-dir --require-hashes --no-deps -r /opt/cmit/requirements.lock; \
    fi; \
    pip install --no-cache-dir -r /opt/cmit/requirements.txt $extra

ARG VERSION
LABEL org.opencontainers.image.title="cmit-pipeline" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --create-home --uid 1000 cmit
USER cmit
WORKDIR /home/cmit
