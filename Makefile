# The two commands of the README are `go run ./cmd/shopfleet demo` and `make test`.
# Everything else here is for people who change shopfleet.

GO      ?= go
JUDGE   := testdata/judge
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
# The commit that `shopfleet init` pins the action to; none when files differ from it.
COMMIT  ?= $(shell git diff --quiet HEAD 2>/dev/null && git rev-parse HEAD)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
# What waits for networks is in no hurry: without inlining the binary is 1.1 MB smaller.
FLAGS   := $(shell cat scripts/build-flags)

.PHONY: test
test: $(JUDGE)/node_modules/.package-lock.json go-judges ## set up and pass all tests
	$(GO) vet ./...
	$(GO) test -timeout 30m ./...

# The judges are the real tools that vouch for shopfleet: wrangler, workerd and
# the node they need, at the versions in package-lock.json. Where npm is missing
# their tests are skipped with a visible line; with SHOPFLEET_JUDGES=require a
# missing judge is a failure.
$(JUDGE)/node_modules/.package-lock.json: $(JUDGE)/package.json $(JUDGE)/package-lock.json
	@if command -v npm >/dev/null 2>&1; then \
	  cd $(JUDGE) && npm ci --no-audit --no-fund --loglevel=error && touch node_modules/.package-lock.json; \
	elif [ "$$SHOPFLEET_JUDGES" = require ]; then \
	  echo "make: npm is not installed, and SHOPFLEET_JUDGES=require wants the judges" >&2; exit 1; \
	else \
	  echo "make: npm is not installed: tests that need wrangler or workerd are skipped" >&2; \
	fi

# act and actionlint run and read workflows; a test that builds them alone would wait a
# minute. They stay in Go's build cache, at the versions of $(JUDGE)/go.mod.
.PHONY: go-judges
go-judges:
	@for judge in act actionlint; do \
	  $(GO) -C $(JUDGE) tool -n $$judge >/dev/null && continue; \
	  if [ "$$SHOPFLEET_JUDGES" = require ]; then exit 1; fi; \
	  echo "make: $$judge cannot be built: tests that need it are skipped" >&2; \
	done

.PHONY: judges
judges: $(JUDGE)/node_modules/.package-lock.json go-judges ## set up wrangler, workerd, node, act and actionlint for the tests

.PHONY: bench
bench: $(JUDGE)/node_modules/.package-lock.json ## measure, side by side with wrangler: make bench [ONLY=word]
	@bin=$$(mktemp -d) && trap 'rm -rf "$$bin"' EXIT && \
	  $(GO) test -c -o "$$bin/bench" ./cmd/shopfleet && cd cmd/shopfleet && SHOPFLEET_FIGURES='$(ONLY)' "$$bin/bench"

.PHONY: build
build: ## build the static binary ./shopfleet
	CGO_ENABLED=0 $(GO) build -trimpath $(FLAGS) -ldflags '$(LDFLAGS)' -o shopfleet ./cmd/shopfleet

.PHONY: race
race: $(JUDGE)/node_modules/.package-lock.json go-judges ## the tests under the race detector
	$(GO) test -race ./...

.PHONY: mutants
mutants: ## which tests notice when a rule of admission is missing
	scripts/admission-mutants.sh

# With SHOPFLEET_JUDGES=require-image a machine that cannot do this fails.
.PHONY: image-check
image-check: $(JUDGE)/node_modules/.package-lock.json ## build the action's image and run it as GitHub does: make image-check [BASES=registry]
	scripts/image-check.sh $(BASES)

# Tools are built at the versions of $(JUDGE)/go.mod.
.PHONY: lint
lint: ## gofmt, vet, staticcheck, actionlint, and shellcheck where it is installed
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')) && if [ -n "$$unformatted" ]; then echo "not as gofmt writes it:" $$unformatted >&2; exit 1; fi
	$(GO) vet ./...
	$$($(GO) -C $(JUDGE) tool -n staticcheck) ./...
	$$($(GO) -C $(JUDGE) tool -n actionlint)
	@if command -v shellcheck >/dev/null; then shellcheck .ci/run scripts/*.sh; else echo "make: shellcheck is not installed: scripts are not linted"; fi

.PHONY: vulnerabilities
vulnerabilities: ## known vulnerabilities in what shopfleet really calls (asks vuln.go.dev)
	$$($(GO) -C $(JUDGE) tool -n govulncheck) ./...

.PHONY: golden
golden: ## rewrite golden files and generated data; read the diff
	$(GO) test ./internal/fleet ./internal/wrangler ./internal/report ./cmd/shopfleet -update

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
