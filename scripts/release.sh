#!/usr/bin/env bash
# The steps of a release. .github/workflows/release.yml says in which order and with
# which rights; docs/release.md says what comes of it.
#
#   release.sh version VERSION                       is it a version, new, and on main?
#   release.sh image VERSION IMAGE DIGEST...         the platforms' images become one, tagged
#   release.sh commit VERSION IMAGE@DIGEST           action.yml names the image; commit, tag
#   release.sh binaries VERSION DIRECTORY            the CLI for every platform, of the commit at HEAD
#   release.sh checksums DIRECTORY                   checksums.txt over what is there
#   release.sh publish VERSION DIRECTORY IMAGE@DIGEST  push the tag, make the GitHub release
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'release: %s\n' "$*" >&2; exit 1; }
output() { printf '%s\n' "$1" >>"${GITHUB_OUTPUT:-/dev/stdout}"; }

number='(0|[1-9][0-9]*)'
version() {
  [[ $1 =~ ^v$number\.$number\.$number(-[0-9A-Za-z]+(\.[0-9A-Za-z]+)*)?$ ]] || fail "not a version like v1.2.3 or v1.2.3-rc.1: $1"
}
digest() { [[ $1 =~ ^sha256:[0-9a-f]{64}$ ]] || fail "not a digest: $1"; }
image() {
  [[ $1 =~ ^[a-z0-9][a-z0-9./-]*@ ]] || fail "not an image with a digest: $1"
  digest "${1#*@}"
}
untagged() { ! git rev-parse --quiet --verify "refs/tags/$1" >/dev/null || fail "the tag $1 exists already"; }

case ${1:-} in
version)
  version "$2"
  untagged "$2"
  [ "${GITHUB_REF:-refs/heads/main}" = refs/heads/main ] || fail "releases are made from main, not $GITHUB_REF"
  output "version=$2"
  ;;

image)
  version "$2"
  tag=$3:$2
  sources=()
  for one in "${@:4}"; do
    digest "$one"
    sources+=("$3@$one")
  done
  [ ${#sources[@]} -gt 0 ] || fail "no image to make $tag of"
  docker buildx imagetools create --tag "$tag" "${sources[@]}"
  made=$(docker buildx imagetools inspect "$tag" --format '{{.Manifest.Digest}}')
  digest "$made"
  [ "$(docker run --rm "$3@$made" version)" = "shopfleet $2" ] || fail "$3@$made is not $2"
  output "digest=$made"
  ;;

commit)
  version "$2"
  image "$3"
  untagged "$2"
  [ "$(grep -c '^  image: Dockerfile$' action.yml)" = 1 ] || fail "action.yml has no line '  image: Dockerfile'"
  sed -i.was "s,^  image: Dockerfile\$,  image: docker://$3," action.yml
  rm action.yml.was
  who=(-c user.name='github-actions[bot]' -c user.email='41898282+github-actions[bot]@users.noreply.github.com')
  # The parent's date, so that the commit is the same whichever job makes it.
  date=$(git show --no-patch --format=%cI HEAD)
  export GIT_AUTHOR_DATE=$date GIT_COMMITTER_DATE=$date
  git "${who[@]}" commit --quiet --message "release: $2" --message "action.yml names the image of this release." -- action.yml
  git "${who[@]}" tag --annotate --message "shopfleet $2" "$2"
  output "commit=$(git rev-parse HEAD)"
  ;;

binaries)
  version "$2"
  mkdir -p "$3"
  commit=$(git rev-parse HEAD)
  mapfile -t flags <scripts/build-flags
  for platform in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64; do
    os=${platform%/*} arch=${platform#*/} suffix=
    [ "$os" != windows ] || suffix=.exe
    CGO_ENABLED=0 GOOS=$os GOARCH=$arch "${GO:-go}" build -trimpath -buildvcs=false \
      "${flags[@]}" -ldflags "-s -w -X main.version=$2 -X main.commit=$commit" \
      -o "$3/shopfleet-$os-$arch$suffix" ./cmd/shopfleet
  done
  ;;

checksums)
  cd "$2"
  rm -f checksums.txt
  sums=$(sha256sum -- *)
  printf '%s\n' "$sums" >checksums.txt
  ;;

publish)
  version "$2"
  image "$4"
  # The token goes to git by its environment, not by an argument or a file.
  GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=http.https://github.com/.extraheader \
    GIT_CONFIG_VALUE_0="Authorization: Basic $(printf 'x-access-token:%s' "$GH_TOKEN" | base64 | tr -d '\n')" \
    git push --quiet origin "refs/tags/$2"
  commit=$(git rev-parse "refs/tags/$2^{commit}")
  flags=(--verify-tag --title "$2" --generate-notes --draft)
  [[ $2 != *-* ]] || flags+=(--prerelease)
  gh release create "$2" "${flags[@]}" --notes "Pin the action by this release's commit:

    uses: kvick/shopfleet@$commit # $2

Its image is \`$4\`. docs/release.md tells how to verify both." "$3"/*
  # What is published can no longer be changed where immutable releases are on: all files first.
  gh release edit "$2" --draft=false
  ;;

*) fail "unknown step: ${1:-}" ;;
esac
