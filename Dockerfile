# The gateway alone: receive, segment, deliver. Research use only. How to build and run it: docs/operator/containers.md
#
#   docker build -t segloop .                      with the shipped students, which carry terms of their own
#   docker build -t segloop-bare --target code .   without them: set SEGLOOP_MODEL_REPOSITORY to a folder of yours

FROM debian:bookworm-slim AS build
# Only where the default package index is not the one to use. It stays out of the image: this stage is left behind.
ARG PIP_INDEX_URL
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv ca-certificates \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/segloop
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY constraints constraints
COPY contracts contracts
COPY serving serving
COPY client client
# Editable: the gateway finds the shipped students beside its own code, as in a checkout.
RUN python3 -m venv .venv \
 && .venv/bin/python -m pip install --disable-pip-version-check --no-input --no-cache-dir \
    --constraint constraints/all.txt --editable '.[gateway,cpu]' \
 && .venv/bin/python -m compileall -q contracts serving client

FROM debian:bookworm-slim AS code
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --no-create-home --home-dir /var/lib/segloop --shell /usr/sbin/nologin segloop \
 && install -d -o segloop -g segloop -m 0700 /var/lib/segloop
COPY --from=build /opt/segloop /opt/segloop
COPY scripts/alive.py /opt/segloop/scripts/alive.py
WORKDIR /opt/segloop
# Off loopback the gateway wants tokens, calling AE titles and TLS, and says which of them is missing (exit code 2).
ENV PATH=/opt/segloop/.venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    SEGLOOP_HOME=/var/lib/segloop \
    SEGLOOP_HTTP_HOST=0.0.0.0 \
    SEGLOOP_DICOM_HOST=0.0.0.0
VOLUME /var/lib/segloop
EXPOSE 8080 11112
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["python", "scripts/alive.py"]
CMD ["python", "-m", "serving"]
LABEL org.opencontainers.image.title="segloop" \
      org.opencontainers.image.description="DICOM segmentation gateway. Research use only." \
      org.opencontainers.image.licenses="Apache-2.0"

FROM code AS gateway
# The weights are not under the code's licence: see TERMS.md and card.md beside each of them.
COPY model_repository model_repository
LABEL org.opencontainers.image.licenses="Apache-2.0 AND CC-BY-NC-SA-4.0 AND LicenseRef-model-repository-TERMS"
