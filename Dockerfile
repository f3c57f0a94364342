# The tidemark image: one static binary, CA roots and licences.
#
# Needs BuildKit, the default builder since Docker 23.
#
#   docker build -t tidemark .
#   docker build -t tidemark --build-arg VERSION=1.2.3 --build-arg REVISION=$(git rev-parse HEAD) --platform linux/arm64 .

# Runs on the builder's own platform and cross-compiles: no emulation.
FROM --platform=$BUILDPLATFORM golang:1.26.8 AS build
WORKDIR /src
# A separate layer: dependencies change less often than code.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
ARG REVISION=
ARG TARGETOS
ARG TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags "-s -w -X tidemark/app.version=$VERSION -X tidemark/app.revision=$REVISION" -o /out/tidemark .
# The licences of all linked modules are part of the image.
RUN go list -deps -f '{{with .Module}}{{.Path}} {{.Dir}}{{end}}' . | sort -u | while read -r path dir; do \
      mkdir -p "/out/licenses/$path" && \
      find "$dir" -maxdepth 1 -type f \( -iname 'LICENSE*' -o -iname 'COPYING*' -o -iname 'NOTICE*' -o -iname 'COPYRIGHT*' -o -iname 'PATENTS*' \) ! -name '*.go' \
        -exec cp {} "/out/licenses/$path/" \; ; \
    done && cp /usr/local/go/LICENSE /out/licenses/ && \
    mkdir -p /out/licenses/lightweight-charts && cp LICENSE THIRD_PARTY_NOTICES.md /out/licenses/lightweight-charts/
RUN mkdir /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/licenses /licenses
COPY --from=build /out/tidemark /tidemark
# A named volume mounted here inherits the owner.
COPY --from=build --chown=65532:65532 /out/data /data
# No time zone database: times are UTC, and the program has its own for quiet hours.
USER 65532:65532
WORKDIR /data
VOLUME /data
# The image has no /tmp. HTTP_ADDR is reachable from outside the container, so the
# service does not start without API_KEYS, or ALLOW_ANONYMOUS=true if the port is
# published to this machine only.
ENV HTTP_ADDR=0.0.0.0:8080 \
    DATABASE_URL=sqlite:///data/tidemark.db \
    TMPDIR=/data
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=6s --start-period=20s --retries=3 CMD ["/tidemark", "healthcheck"]
# SIGTERM (the default) finishes running work within STOP_TIMEOUT (30 s): allow more
# than docker's default of 10 s, with docker stop -t 35.
ENTRYPOINT ["/tidemark"]
CMD ["serve"]
