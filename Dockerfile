# The image of the container action (action.yml): shopfleet, git, certificates.
#
# GitHub runs it as root, with HOME=/github/home and the runner's workspace, which
# belongs to another user, at /github/workspace; shopfleet tells git so by its
# environment. Nothing here asks a question, and there is no shell to ask it with.
#
# `make image-check` builds this file and runs the image as the runner does. Where there is
# no registry it puts local images in place of the two bases; the rest is built as it is.
# So no BuildKit is needed, and none of buildx's automatic arguments. The bases stand in
# FROM itself, not in an ARG: Dependabot updates only those (dependabot-core issue 2057).

FROM golang:1.26.9-alpine@sha256:cdfd4fe2da6b225d8b40c6b7a105736e548e83ff56d5d8f9394446eeb5eb84e0 AS build
WORKDIR /src
COPY . .
ARG VERSION=devel
RUN CGO_ENABLED=0 \
    go build -trimpath -buildvcs=false -tags noworld $(cat scripts/build-flags) -ldflags "-s -w -X main.version=${VERSION}" -o /shopfleet ./cmd/shopfleet

FROM debian:trixie-20261005-slim@sha256:a29215f6a35e51e22adffa17f89e9d2ef06214e64a2bad10d765c46aea49f11f AS git
RUN apt-get update && \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates git
COPY scripts/image-rootfs.sh /image-rootfs.sh
RUN sh /image-rootfs.sh /rootfs

FROM scratch
ARG VERSION=devel
ARG REVISION=
LABEL org.opencontainers.image.title="shopfleet" \
      org.opencontainers.image.description="Deploy and look after a fleet of single-tenant shops on Cloudflare" \
      org.opencontainers.image.source="https://github.com/kvick/shopfleet" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/usr/local/bin:/usr/bin \
    GIT_TERMINAL_PROMPT=0
COPY --from=git /rootfs/ /
COPY --from=build /shopfleet /usr/local/bin/shopfleet
ENTRYPOINT ["/usr/local/bin/shopfleet"]
