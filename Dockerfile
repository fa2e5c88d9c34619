# Built by `make image` from what `make dist` made: the image holds the very binary of the archive.
FROM debian:bookworm-slim

RUN useradd --system --uid 10001 --home-dir /var/lib/roomcast --create-home roomcast
COPY roomcast /usr/local/bin/roomcast
COPY LICENSE-MIT LICENSE-APACHE THIRD-PARTY.txt /usr/share/doc/roomcast/

USER 10001
WORKDIR /var/lib/roomcast
# Inside a container nothing is reachable until a port is published, so listening on all addresses is safe here.
ENV ROOMCAST_HTTP_SERVER_ADDRESS=0.0.0.0 \
    ROOMCAST_DATA_DIR=/var/lib/roomcast
VOLUME /var/lib/roomcast
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=4s --start-period=5s CMD ["roomcast", "health"]
ENTRYPOINT ["roomcast"]
CMD ["serve"]
