# Regulus in containers. Three images from one file; `docker compose build` makes those that a stack needs.
#
#   control   the control service and the command line, without TensorFlow
#   embedded  the embedded model server, the model zoo and the load generator
#   node      the agent that runs tensorflow_model_server behind Envoy
#
# Every environment is the part of requirements.lock that the image needs, installed by hash.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG SERVING_IMAGE=tensorflow/serving:2.20.0

FROM ${SERVING_IMAGE} AS serving

# ---- build stages: they have pip, a cache, and the source; none of it reaches an image ----

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# Environments without pip: what serves does not install.
RUN python -m venv --without-pip /opt/regulus
COPY pyproject.toml requirements.lock deploy/docker/install_locked.py ./

FROM build AS wheel
RUN python -m venv --without-pip /opt/tools \
    && python install_locked.py --python /opt/tools/bin/python --only hatchling
COPY README.md LICENSE ./
COPY service ./service
COPY models ./models
RUN pip --python /opt/tools/bin/python wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels .

FROM build AS control-environment
RUN python install_locked.py --python /opt/regulus/bin/python
COPY --from=wheel /wheels /wheels
RUN pip --python /opt/regulus/bin/python install --quiet --no-deps --no-index /wheels/*.whl

FROM build AS embedded-environment
# What is removed are headers for those who compile operations of their own: 430 MB that nothing here reads.
RUN python install_locked.py --python /opt/regulus/bin/python --extra modelserver --extra load \
    && rm -r /opt/regulus/lib/python3.*/site-packages/tensorflow/include
COPY --from=wheel /wheels /wheels
RUN pip --python /opt/regulus/bin/python install --quiet --no-deps --no-index /wheels/*.whl

FROM build AS node-environment
RUN python install_locked.py --python /opt/regulus/bin/python --extra node
COPY --from=wheel /wheels /wheels
RUN pip --python /opt/regulus/bin/python install --quiet --no-deps --no-index /wheels/*.whl

# ---- images ----

FROM ${PYTHON_IMAGE} AS runtime
ENV PATH=/opt/regulus/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 NUMBA_CACHE_DIR=/tmp/numba
# The folders that volumes are mounted on: a new volume takes their owner.
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /tmp regulus \
    && install -d -o regulus -g regulus /var/lib/regulus /run/regulus /run/regulus-agent /models
COPY deploy/docker/healthcheck.py /opt/healthcheck.py
WORKDIR /var/lib/regulus
USER regulus
ENTRYPOINT ["regulus"]

FROM runtime AS control
COPY --from=control-environment /opt/regulus /opt/regulus
EXPOSE 8510
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "/opt/healthcheck.py", "http://127.0.0.1:8510/healthz"]
CMD ["serve"]

FROM runtime AS embedded
COPY --from=embedded-environment /opt/regulus /opt/regulus
EXPOSE 8500 8501 8502
HEALTHCHECK --interval=5s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "/opt/healthcheck.py", "http://127.0.0.1:8502/agent/v1/health"]
CMD ["modelserver", "--help"]

FROM runtime AS node
COPY --from=serving /usr/bin/tensorflow_model_server /usr/local/bin/tensorflow_model_server
COPY --from=node-environment /opt/regulus /opt/regulus
EXPOSE 8500 8501 8502
HEALTHCHECK --interval=5s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "/opt/healthcheck.py", "http://127.0.0.1:8502/agent/v1/health"]
CMD ["node", "--help"]
