#!/usr/bin/env bash
# Builds the image of the container action and runs it as GitHub's runner does,
# against a simulated account on this machine.
#
#   scripts/image-check.sh [local|registry]
#
# local (the default) builds the Dockerfile with the classic builder and with bases
# from parts that are here: a Debian made with mmdebstrap, and this machine's Go.
# registry builds it as it is, with the bases that it names by digest.
#
# A Docker engine that answers is used. Where dockerd is installed and we are root,
# one is started for the check and taken down again; it has no bridge and writes no
# iptables rules. Without either, or without what local needs, one line says so and
# the check passes; with SHOPFLEET_JUDGES=require-image it fails.
set -euo pipefail
cd "$(dirname "$0")/.."
bases=${1:-local}

# What one may weigh, in bytes: unpacked, and compressed as a registry keeps it.
unpacked_limit=60000000
compressed_limit=30000000
image=shopfleet-image-check:$$
suite=trixie # the Debian that the Dockerfile names

work=$(mktemp -d)
daemon='' found='' simulator=''

say() { printf 'image-check: %s\n' "$*"; }
fail() { printf 'image-check: FAILED: %s\n' "$*" >&2; exit 1; }
skip() {
  [ "${SHOPFLEET_JUDGES:-}" != require-image ] || fail "$1, and SHOPFLEET_JUDGES=require-image wants this check"
  say "SKIPPED: $1"
  exit 0
}

clean() {
  [ -z "$simulator" ] || { kill "$simulator" && wait "$simulator"; } 2>/dev/null || true
  if [ -n "$daemon" ]; then
    kill "$daemon" 2>/dev/null || true
    wait "$daemon" 2>/dev/null || true
    grep -o " $work/[^ ]*" /proc/self/mounts | sort -r | xargs -r -n 1 umount 2>/dev/null || true
  elif [ -n "$found" ]; then
    docker image rm -f "$image" "$image-base" "$image-go" >/dev/null 2>&1 || true
  fi
  rm -rf --one-file-system "$work" || true # a container's root may own some of it
}
trap clean EXIT
trap 'exit 130' INT TERM

# find_engine leaves a Docker engine that answers in DOCKER_HOST (or the CLI's default).
find_engine() {
  [ "$(uname)" = Linux ] || skip "the check needs Linux"
  command -v docker >/dev/null || skip "there is no docker command"
  if docker info >/dev/null 2>&1; then
    found=yes
    return
  fi
  { command -v dockerd >/dev/null && [ "$(id -u)" = 0 ]; } || skip "no Docker engine answers, and none can be started (that takes dockerd and root)"
  export DOCKER_HOST=unix://$work/docker.sock
  dockerd -H "$DOCKER_HOST" --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/pid" \
    --bridge=none --iptables=false --ip-forward=false --default-ulimit nofile=1024:1024 >"$work/dockerd.log" 2>&1 &
  daemon=$!
  for _ in $(seq 60); do
    if docker info >/dev/null 2>&1; then
      say "started a Docker engine for this check"
      return
    fi
    kill -0 "$daemon" 2>/dev/null || break
    sleep 0.5
  done
  tail -n 5 "$work/dockerd.log" >&2
  skip "dockerd does not start here"
}

# import_bases makes the two base images of local parts.
import_bases() {
  command -v mmdebstrap >/dev/null || skip "mmdebstrap is not installed, which makes the base image from Debian's packages"
  # shellcheck disable=SC2016
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | head -n 1)
  say "making a Debian $suite and a Go image from what is on this machine"
  mmdebstrap --quiet --variant=minbase --include=ca-certificates "$suite" "$work/base.tar" \
    "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" 2>"$work/mmdebstrap.log" ||
    { tail -n 5 "$work/mmdebstrap.log" >&2; fail "making the base image"; }
  docker import "$work/base.tar" "$image-base" >/dev/null
  # The Go image also brings the modules of go.sum, as a proxy of files: the build needs no network.
  modules=$(go env GOMODCACHE)/cache/download
  go mod download
  awk '{ sub("/go.mod$", "", $2); print $1 "/@v/" $2 }' go.sum | sort -u | sed 's/[A-Z]/!\l&/g' |
    while read -r module; do
      for kind in info mod zip; do
        [ ! -e "$modules/$module.$kind" ] || printf './%s\n' "$module.$kind"
      done
    done >"$work/modules"
  tar --append --file "$work/base.tar" --transform 's,^\.,./usr/local/go,' --exclude ./test --exclude ./api --exclude ./doc \
    -C "$(go env GOROOT)" .
  tar --append --file "$work/base.tar" --transform 's,^\.,./modules,' -C "$modules" --files-from "$work/modules"
  docker import --change 'ENV PATH=/usr/local/go/bin:/usr/sbin:/usr/bin' --change 'ENV GOTOOLCHAIN=local' \
    --change 'ENV GOPROXY=file:///modules' "$work/base.tar" "$image-go" >/dev/null
  rm "$work/base.tar"
}

build() {
  local version
  version=$(git describe --tags --always --dirty 2>/dev/null || echo devel)
  local flags=(--tag "$image" --build-arg "VERSION=$version" --file "$work/Dockerfile")
  case $bases in
  local)
    import_bases
    export DOCKER_BUILDKIT=0
    flags+=(--network host)
    sed -E "s,^FROM golang:[^ ]+,FROM $image-go,; s,^FROM debian:$suite-[^ ]+,FROM $image-base," Dockerfile >"$work/Dockerfile"
    ! grep -q '^FROM .*@sha256:' "$work/Dockerfile" || fail "the Dockerfile has a base that this check does not know"
    ;;
  registry) cp Dockerfile "$work/Dockerfile" ;;
  *) fail "bases are local or registry, not $bases" ;;
  esac
  docker build "${flags[@]}" . >"$work/build.log" 2>&1 || { tail -n 20 "$work/build.log" >&2; fail "building the image"; }
}

measure() {
  local container unpacked compressed
  # The files of the image as one archive: what engines report as size differs by how they store it.
  container=$(docker create "$image")
  unpacked=$(docker export "$container" | wc -c)
  compressed=$(docker export "$container" | gzip | wc -c)
  docker rm "$container" >/dev/null
  say "unpacked $((unpacked / 1000)) kB of $((unpacked_limit / 1000)) kB, compressed $((compressed / 1000)) kB of $((compressed_limit / 1000)) kB"
  if [ "$unpacked" -gt "$unpacked_limit" ] || [ "$compressed" -gt "$compressed_limit" ]; then
    fail "the image is too large"
  fi
}

inside() { # run a command of the image on no workspace
  timeout 60 docker run --rm --network host --entrypoint "$1" "$image" "${@:2}" 2>&1
}

look() {
  local got
  got=$(docker image inspect --format '{{json .Config.Entrypoint}} {{.Config.User}}' "$image")
  [ "$got" = '["/usr/local/bin/shopfleet"] ' ] || fail "entrypoint and user: $got"
  inside /usr/bin/git version | grep -q '^git version' || fail "git does not start"
  # Nothing listens there: an answer about the connection says that git has all it needs for https.
  got=$(inside /usr/bin/git ls-remote https://127.0.0.1:9/ || true)
  [[ $got == *onnect* ]] || fail "git does not speak https: $got"
  ! inside /bin/sh -c true >/dev/null || fail "the image has a shell"
}

# start_world plays the account and GitHub, leaves what a client needs to know in "$work/env.sh", and
# makes Helm's repository, which belongs to the runner's user.
start_world() {
  go build -o "$work/shopfleet" ./cmd/shopfleet
  local workerd
  workerd=$(find "$PWD"/testdata/judge/node_modules/@cloudflare/workerd-*/bin/workerd 2>/dev/null | head -n 1) || true
  (cd "$work" && SHOPFLEET_WORKERD=${SHOPFLEET_WORKERD:-$workerd} exec ./shopfleet sim --github --checkout workspace >env.sh 2>sim.log) &
  simulator=$!
  for _ in $(seq 100); do
    ! grep -q GITHUB_TOKEN "$work/env.sh" 2>/dev/null || break
    kill -0 "$simulator" 2>/dev/null || { tail -n 5 "$work/sim.log" >&2; fail "the simulated account does not start"; }
    sleep 0.1
  done
  chown -R 1001:1001 "$work/workspace"
  cp -a "$work/workspace" "$work/hostile"
}

# runner WORKSPACE SHOP COMMAND EXIT_CODE STATUS runs one step of the action, with the command
# line that the runner writes, and holds it to the exit code and to the output status.
# What the step printed is in "$work/printed", its file commands in "$work/temp/_runner_file_commands".
runner() {
  local workspace=$1 shop=$2 command=$3 want=$4 status=$5 code=0 head line variables=() names=() args=() mounts=()
  local temp=$work/temp
  rm -rf "$temp"
  mkdir -p "$temp"/{_github_home,_github_workflow,_runner_file_commands}
  touch "$temp"/_runner_file_commands/{output,summary,env,state,path}
  head=$(git --git-dir "$workspace/.git" -c safe.directory='*' rev-parse "refs/heads/shops/$shop")
  printf '{"ref":"refs/heads/shops/%s","after":"%s","repository":{"full_name":"kvick/helm"}}\n' "$shop" "$head" >"$temp/_github_workflow/event.json"
  chown -R 1001:1001 "$temp"

  variables=(
    HOME=/github/home GITHUB_WORKSPACE=/github/workspace
    GITHUB_OUTPUT=/github/file_commands/output GITHUB_STEP_SUMMARY=/github/file_commands/summary
    GITHUB_ENV=/github/file_commands/env GITHUB_STATE=/github/file_commands/state GITHUB_PATH=/github/file_commands/path
    GITHUB_EVENT_PATH=/github/workflow/event.json GITHUB_EVENT_NAME=push GITHUB_ACTOR=mechanic
    GITHUB_REPOSITORY=kvick/helm GITHUB_REPOSITORY_OWNER=kvick
    "GITHUB_REF=refs/heads/shops/$shop" "GITHUB_REF_NAME=shops/$shop" GITHUB_REF_TYPE=branch "GITHUB_SHA=$head"
    GITHUB_SERVER_URL=https://github.com GITHUB_RUN_ID=1 GITHUB_RUN_NUMBER=1 GITHUB_RUN_ATTEMPT=1
  )
  # Every input is there, with its default when the step does not say it.
  while IFS= read -r line; do
    variables+=("$line")
  done < <(awk '
    /^[a-z]/ { inputs = $1 == "inputs:" }
    inputs && /^  [a-z-]+:$/ { name = toupper(substr($1, 1, length($1) - 1)) }
    inputs && /^    default: / { sub("^    default: ", ""); gsub("\"", ""); if ($0 ~ /^\$/) $0 = ""; print "INPUT_" name "=" $0 }' action.yml)
  variables+=("INPUT_COMMAND=$command" "INPUT_SHOP=$shop" "INPUT_SECRETS=$secrets")
  while IFS= read -r line; do
    line=${line#export }
    [[ $line != CLOUDFLARE_API_TOKEN=* ]] || line=INPUT_CLOUDFLARE-API-TOKEN=${line#*=}
    [[ $line != GITHUB_TOKEN=* ]] || line=INPUT_GITHUB-TOKEN=${line#*=}
    variables+=("$line")
  done <"$work/env.sh"
  for line in "${variables[@]}"; do names+=(-e "${line%%=*}"); done

  # The runner passes the words of runs.args in action.yml.
  args=("$(sed -n 's/^  args: \[\([a-z]*\)\]$/\1/p' action.yml)")
  line=${DOCKER_HOST:-unix:///var/run/docker.sock}
  [[ $line != unix://* ]] || mounts=(-v "${line#unix://}:/var/run/docker.sock")

  env "${variables[@]}" timeout 300 docker run --network host \
    --name "shopfleet_check_$$" --label shopfleet-image-check --workdir /github/workspace --rm \
    "${names[@]}" -e GITHUB_ACTIONS=true -e CI=true "${mounts[@]}" \
    -v "$temp:/github/runner_temp" -v "$temp/_github_home:/github/home" -v "$temp/_github_workflow:/github/workflow" \
    -v "$temp/_runner_file_commands:/github/file_commands" -v "$workspace:/github/workspace" \
    "$image" "${args[@]}" >"$work/printed" 2>&1 || code=$?
  [ "$code" = "$want" ] || { cat "$work/printed" >&2; fail "$command $shop: exit code $code, want $want"; }
  [ "$(output status)" = "$status" ] || fail "$command $shop: output status is '$(output status)', want $status"
  [ "$(output exit-code)" = "$want" ] || fail "$command $shop: output exit-code is '$(output exit-code)', want $want"
  grep -q "$shop" "$temp/_runner_file_commands/summary" || fail "$command $shop: GITHUB_STEP_SUMMARY says nothing of the shop"
  grep -v '^::add-mask::' "$work/printed" >"$temp/log" || true
  for line in $secrets; do
    ! grep -rqF "${line#*=}" "$temp" || fail "$command $shop: the value of ${line%%=*} is in the log or in the step's files"
  done
}

# output is what the step left under a name for the steps after it; a value has a line of its own.
output() { awk -v name="$1<<" 'found { print; exit } index($0, name) == 1 { found = 1 }' "$work/temp/_runner_file_commands/output"; }

# listing tells a tree's files with owner, mode, size and time.
listing() { find "$1" -path "$1/.git/objects" -prune -o -printf '%p %U %m %s %T@\n' | sort; }

# set_traps gives a workspace the settings and files that make git run a program of the
# workspace's choice. The trap needs no shell: there is none.
set_traps() {
  mkdir "$work/trap"
  cat >"$work/trap/main.go" <<'GO'
package main

import (
	"fmt"
	"os"
)

func main() {
	f, err := os.OpenFile("/github/runner_temp/sprung", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err == nil {
		fmt.Fprintln(f, os.Args)
	}
}
GO
  CGO_ENABLED=0 go build -o "$1/.git/trap" "$work/trap/main.go"
  local trap=/github/workspace/.git/trap name
  mkdir -p "$1/.git/hooks" "$1/.git/info"
  for name in post-checkout reference-transaction post-index-change pre-commit pre-push; do
    cp "$1/.git/trap" "$1/.git/hooks/$name"
  done
  cat >>"$1/.git/config" <<CONFIG
[core]
	fsmonitor = $trap
	hooksPath = /github/workspace/.git/hooks
	sshCommand = $trap
	gitProxy = $trap
	pager = $trap
	editor = $trap
	askPass = $trap
	alternateRefsCommand = $trap
[alias]
	cat-file = !$trap
	log = !$trap
	show = !$trap
[filter "trap"]
	process = $trap
	clean = $trap
	smudge = $trap
	required = true
[diff]
	external = $trap
[diff "trap"]
	command = $trap
	textconv = $trap
[merge "trap"]
	driver = $trap
[credential]
	helper = $trap
[gpg]
	program = $trap
[protocol "ext"]
	allow = always
[remote "origin"]
	url = ext::$trap
	uploadpack = $trap
	promisor = true
[extensions]
	partialClone = origin
CONFIG
  sed -i 's/repositoryformatversion = 0/repositoryformatversion = 1/' "$1/.git/config"
  echo '* filter=trap diff=trap merge=trap' >"$1/.git/info/attributes"
  chown -R 1001:1001 "$1"
}

hostile() {
  local workspace=$work/hostile
  set_traps "$workspace"
  runner "$workspace" mike-s-bikes deploy 0 released
  [ ! -e "$work/temp/sprung" ] || fail "a program of the workspace ran: $(cat "$work/temp/sprung")"
  # The traps are good: plain git falls into them.
  local command
  for command in 'status' 'log -p -1' 'diff main' 'checkout -f main' 'fetch origin'; do
    # shellcheck disable=SC2086
    timeout 60 docker run --rm --workdir /github/workspace -v "$work/temp:/github/runner_temp" -v "$workspace:/github/workspace" \
      -e GIT_CONFIG_COUNT=1 -e GIT_CONFIG_KEY_0=safe.directory -e GIT_CONFIG_VALUE_0=/github/workspace \
      --network host --entrypoint /usr/bin/git "$image" $command >/dev/null 2>&1 || true
  done
  [ -e "$work/temp/sprung" ] || fail "the traps do not work: plain git ran nothing"
  say "a workspace with a hostile .git had nothing run (its trap ran $(wc -l <"$work/temp/sprung") times under plain git)"
}

find_engine
build
measure
look
start_world
before=$(listing "$work/workspace")

secrets=''
runner "$work/workspace" swicked plan 1 findings # the secrets are missing: a finding
secrets=$'SESSION_KEY=0123456789abcdef0123456789abcdef\nOAUTH_CLIENT_SECRET=oauth-0f5e\nSTRIPE_SECRET_KEY=stripe-7d41\nTWILIO_ACCOUNT_SID=twilio-93ac'
runner "$work/workspace" swicked deploy 0 released
url=$(sed -n 's/^export SHOPFLEET_EDGE_URL=//p' "$work/env.sh")
curl -fsS -H 'Host: helm-swicked.kvick.bike' "$url/build_info.json" >/dev/null || fail "the shop does not answer"
runner "$work/workspace" swicked deploy 0 unchanged # nothing to do
[ "$before" = "$(listing "$work/workspace")" ] || fail "the workspace is not as it was before"
say "deployed swicked as the runner would, from a workspace of uid 1001"
hostile
say ok
