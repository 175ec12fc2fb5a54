# The image of bedrock-gateway: the program, the system's certificate authorities, glibc, and nothing else.
#
#   docker build -t bedrock-gateway .
#
# tests/deploy runs these very steps without Docker, in a folder that holds only what is copied here.

FROM rust:1.95.0-bookworm AS build
WORKDIR /source

# The dependencies are a layer of their own, built again when Cargo.toml or Cargo.lock change and at no other time. Each
# target that Cargo.toml names needs a file.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches/load \
    && touch src/lib.rs \
    && for file in src/main.rs benches/batch.rs benches/hot_path.rs benches/identify.rs benches/lanes.rs benches/load/main.rs; \
       do echo 'fn main() {}' >"$file"; done \
    && cargo build --release --locked \
    && rm -r src benches

COPY benches benches
COPY data data
COPY migrations migrations
COPY src src
# Files keep the time of their last change, which may be before the layer above: without the touch it would pass for this.
RUN touch src/lib.rs src/main.rs \
    && cargo build --release --locked --offline \
    && mkdir -p target/empty

# The same Debian as above, so the same glibc; without a shell or package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="bedrock-gateway" \
      org.opencontainers.image.description="One REST endpoint in front of AWS Bedrock" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY LICENSE /usr/share/doc/bedrock-gateway/LICENSE
COPY --from=build /source/target/release/bedrock-gateway /usr/local/bin/bedrock-gateway

# The SQLite store and the journal are made in the working directory unless the configuration says otherwise. A volume
# takes its owner over from here.
COPY --from=build --chown=65532:65532 /source/target/empty /data
WORKDIR /data
VOLUME /data

# In a container the loopback address is nobody's. The environment wins over a configuration file.
ENV BEDROCK_GATEWAY__SERVER__LISTEN=0.0.0.0:8080 \
    BEDROCK_GATEWAY__SERVER__OPS_LISTEN=0.0.0.0:9090
EXPOSE 8080 9090

# nonroot, by number: Kubernetes can tell that it is not root.
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/usr/local/bin/bedrock-gateway", "health"]
# It takes SIGTERM itself, also as process 1, and starts no other process.
ENTRYPOINT ["/usr/local/bin/bedrock-gateway"]
CMD ["serve"]
