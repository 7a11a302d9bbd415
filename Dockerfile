# syntax=docker/dockerfile:1
# The daemon with the modules that come with it. Build: docker build -t postrider .
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
ENV CARGO_TARGET_DIR=/target
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/target \
    cargo xtask dist && cp -r /target/dist /dist

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 postrider \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/postrider --shell /usr/sbin/nologin postrider \
    && install -d -o postrider -g postrider -m 0750 /var/lib/postrider /run/postrider
COPY --from=build /dist/postrider /usr/local/bin/postrider
# Destination files are mounted beside them, one by one; who mounts a directory puts the modules there, too.
COPY --from=build /dist/modules/ /etc/postrider/plugins/
ENV POSTRIDER_DATA_DIR=/var/lib/postrider \
    POSTRIDER_PLUGINS_DIR=/etc/postrider/plugins \
    POSTRIDER_LISTEN=0.0.0.0:7411,unix:/run/postrider/api.sock \
    POSTRIDER_URL=unix:/run/postrider/api.sock
USER 10001
VOLUME /var/lib/postrider
EXPOSE 7411
# Longer than the setting `grace` is what a stop needs: docker stop --time 30.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["postrider", "health"]
ENTRYPOINT ["postrider"]
CMD ["serve"]
