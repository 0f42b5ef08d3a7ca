# Stands in for python:3.11-slim-bookworm: Debian's own Python 3.11, at the same place.
FROM regulus-test/debian
COPY certificates /usr/local/share/ca-certificates
RUN update-ca-certificates
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-pip python3-venv \
    && ln -s /usr/bin/python3 /usr/local/bin/python && rm -rf /var/lib/apt/lists/*
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
