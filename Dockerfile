FROM debian:bookworm AS build
WORKDIR /postrider
# First only what installs packages, so that a change of the code does not install them again.
COPY tools/setup tools/setup
RUN tools/setup --build
COPY . .
RUN cmake --preset release -DBUILD_TESTING=OFF \
  && cmake --build --preset release --target postrider \
  && strip -o /usr/local/bin/postrider build/release/postrider

FROM debian:bookworm-slim
RUN apt-get update \
  && apt-get install -y --no-install-recommends \
    ca-certificates libabsl20220623 libc-ares2 libcurl4 libgrpc++1.51 libgrpc29 libidn2-0 \
    libjemalloc2 libprometheus-cpp-core1.0 libprotobuf32 libspdlog1.10 libsqlite3-0 libssl3 libstdc++6 \
  && rm -rf /var/lib/apt/lists/* \
  && useradd --system --uid 10001 --user-group --no-create-home --home-dir /var/lib/postrider \
    --shell /usr/sbin/nologin postrider \
  && install -d -o postrider -g postrider -m 0700 /var/lib/postrider
COPY --from=build /usr/local/bin/postrider /usr/local/bin/postrider
COPY LICENSE /usr/share/doc/postrider/copyright
USER 10001:10001
VOLUME /var/lib/postrider
EXPOSE 7411 7412
# There is no curl in the image, and bash can ask as well. Whoever serves HTTP elsewhere gives
# --health-cmd, or --no-healthcheck.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["bash", "-c", \
  "exec 3<>/dev/tcp/127.0.0.1/7412 && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [[ $status == 200 ]]"]
ENTRYPOINT ["postrider"]
# No variables are set: they would win over a file. /var/lib/postrider is taken where it is there.
CMD ["serve", "--listen", "0.0.0.0:7411", "--http-listen", "0.0.0.0:7412", "--insecure"]
