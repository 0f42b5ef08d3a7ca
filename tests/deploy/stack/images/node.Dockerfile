# The node as it ships, with what its stand-in for TensorFlow Serving needs.
FROM regulus/node:0.1.0
COPY --from=regulus/embedded:0.1.0 /opt/regulus /opt/embedded
