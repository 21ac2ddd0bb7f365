# Two images from one file:
#   docker build --target api -t inkling-api .    answers; no torch; jobs wait for a worker on the same volume
#   docker build -t inkling .                     everything: the API with a worker beside it, or the worker alone
#   docker build --target ray -t inkling-ray .    a node of a Ray cluster that trains, or its head: docs/scale.md
# docker-compose.yml runs `api` and a worker from `all`, or a cluster. scripts/docker-check.sh and cluster-check.sh try it.

# The virtual environment has no pip of its own: the image's pip fills it, and stays behind. Every archive must have a hash
# that requirements/ knows (scripts/lock.sh). What never runs goes again: the packages' own tests, the Fortran compiler, and the tools with which
# ONNX Runtime makes models.
FROM python:3.11-slim AS packages-api
RUN python -m venv --without-pip /opt/venv
WORKDIR /requirements
COPY requirements/api.txt .
RUN pip --python /opt/venv install --no-cache-dir --require-hashes --no-deps -r api.txt \
 && cd /opt/venv/lib/python3.11/site-packages \
 && rm -rf onnxruntime/transformers onnxruntime/quantization onnxruntime/tools numpy/f2py numpy/distutils sqlalchemy/testing \
 && find . -type d -name tests -prune -exec rm -rf {} + \
 && find . -name '*.pyi' -delete

# torch last and alone: its index is the builder's choice, each with archives of its own, so no list could have their
# hashes; of CUDA's packages, which one build needs and the other does not, the same is true. All else is there by then.
FROM packages-api AS packages-all
COPY requirements/train.txt requirements/data.txt ./
RUN pip --python /opt/venv install --no-cache-dir --require-hashes --no-deps -r train.txt \
 && pip --python /opt/venv install --no-cache-dir --require-hashes --no-deps -r data.txt
COPY constraints.txt .
ARG TORCH_INDEX_URL=""
RUN pip --python /opt/venv install --no-cache-dir -c constraints.txt \
    ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} torch \
 && cd /opt/venv/lib/python3.11/site-packages \
 && rm -rf torch/include torch/test \
 && find . -type d -name tests -prune -exec rm -rf {} +

# The code, readable by every user whatever the checkout's umask was, and compiled: the running user cannot write here.
# Hash-based, so that a copy's new file times do not make the compiled files stale.
FROM python:3.11-slim AS code
WORKDIR /opt/inkling
COPY ml ml
COPY app app
RUN chmod -R a+rX,go-w . && python -m compileall -q --invalidation-mode unchecked-hash .

# What both images share. They listen on every address, so without a key they start only with INKLING_ALLOW_OPEN=true:
#   docker run --rm -v inkling:/data inkling python -m app keys create me --scope admin
FROM python:3.11-slim AS runtime
# Numbers, not names, in USER: an orchestrator can then see that this is not root. Any other number works too, known to
# the image or not: as group 0, which is how OpenShift runs it, on a fresh volume; else on a volume that it may write.
RUN groupadd --gid 10001 inkling \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin inkling \
 && install -d -o 10001 -g 0 -m 0770 /data
# HOME is what is always writable, also for a user who has none.
# ONNX Runtime reports its use to its makers unless told not to when it is loaded; without a network that also delays
# the end of the process by seconds.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    ORT_DISABLE_TELEMETRY=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    INKLING_HOST=0.0.0.0 \
    INKLING_DATA_DIR=/data
WORKDIR /opt/inkling
# After the folder has its owner: a new named volume takes the owner over.
VOLUME /data
EXPOSE 8000
USER 10001:10001
STOPSIGNAL SIGTERM
# Without the proxy that a user's Docker settings may put into every container.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --start-interval=1s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + os.environ.get('INKLING_PORT', '8000') + '/health/ready', timeout=4)"]

FROM runtime AS api
COPY --from=packages-api /opt/venv /opt/venv
COPY --from=code /opt/inkling /opt/inkling
CMD ["python", "-m", "app", "serve", "--no-worker"]

# Ray has an environment of its own, so that what it pins is none of the trainer's business.
FROM python:3.11-slim AS packages-ray
RUN python -m venv --without-pip /opt/ray
COPY requirements/ray.txt .
RUN pip --python /opt/ray install --no-cache-dir --require-hashes --no-deps -r ray.txt

FROM runtime AS ray
COPY --from=packages-ray /opt/ray /opt/ray
COPY --from=packages-all /opt/venv /opt/venv
COPY --from=code /opt/inkling /opt/inkling
ENV PYTHONPATH=/opt/inkling \
    RAY_AUTH_MODE=token \
    RAY_USAGE_STATS_ENABLED=0 \
    RAY_JOB_START_TIMEOUT_SECONDS=86400
HEALTHCHECK NONE
CMD ["/opt/ray/bin/ray", "--help"]

# Stop it with `docker stop -t 40` while it trains: the worker then has the time to write a checkpoint.
FROM runtime AS all
COPY --from=packages-all /opt/venv /opt/venv
COPY --from=code /opt/inkling /opt/inkling
CMD ["python", "-m", "app", "serve"]
