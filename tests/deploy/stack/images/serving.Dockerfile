# Stands in for tensorflow/serving: a program of the same name that runs the embedded server, which takes its flags.
FROM regulus-test/debian
RUN printf '#!/bin/sh\nexec /opt/embedded/bin/python -m service.cli.main modelserver "$@"\n' \
        > /usr/bin/tensorflow_model_server \
    && chmod 0755 /usr/bin/tensorflow_model_server
