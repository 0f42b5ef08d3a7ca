# Stands in for prom/alertmanager: Debian's Alertmanager, called the same way.
FROM regulus-test/debian
RUN apt-get update && apt-get install -y --no-install-recommends prometheus-alertmanager \
    && rm -rf /var/lib/apt/lists/* && install -d -o nobody -g nogroup /alertmanager
USER nobody
ENTRYPOINT ["/usr/bin/prometheus-alertmanager"]
