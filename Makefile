# The two commands of the README are `go run ./cmd/shopfleet demo` and `make test`.
# Everything else here is for people who change shopfleet.

GO      ?= go
JUDGE   := testdata/judge
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.version=$(VERSION)

.PHONY: test
test: $(JUDGE)/node_modules/.package-lock.json ## set up and pass all tests
	$(GO) vet ./...
	$(GO) test ./...

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

.PHONY: judges
judges: $(JUDGE)/node_modules/.package-lock.json ## install wrangler, workerd and node for the tests

.PHONY: bench
bench: $(JUDGE)/node_modules/.package-lock.json ## measure, side by side with wrangler: make bench [ONLY=word]
	@bin=$$(mktemp -d) && trap 'rm -rf "$$bin"' EXIT && \
	  $(GO) test -c -o "$$bin/bench" ./cmd/shopfleet && cd cmd/shopfleet && SHOPFLEET_FIGURES='$(ONLY)' "$$bin/bench"

.PHONY: build
build: ## build the static binary ./shopfleet
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o shopfleet ./cmd/shopfleet

.PHONY: race
race: $(JUDGE)/node_modules/.package-lock.json ## the tests under the race detector
	$(GO) test -race ./...

.PHONY: golden
golden: ## rewrite golden files and generated data; read the diff
	$(GO) test ./internal/fleet ./internal/wrangler ./internal/report ./cmd/shopfleet -update

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
