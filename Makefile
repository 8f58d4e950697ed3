# Every target works from a clean clone: what a machine lacks is fetched into ignored folders, or named in one line by tools/setup.

CARGO ?= cargo
# Cargo.lock is committed, and only a change that says so may move it.
LOCKED := --locked

.DEFAULT_GOAL := help
.PHONY: help setup setup-lint setup-browser setup-fuzz setup-stores demo test screenshots peers prove fuzz bench compare count lint dist clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s  %s\n", $$1, $$2 }' Makefile

setup: ## check that this machine can build; install what only a system package gives, if root
	@tools/setup

setup-lint:
	@tools/setup lint

setup-browser:
	@tools/setup browser

setup-fuzz:
	@tools/setup fuzz

setup-stores:
	@tools/setup stores

demo: setup ## run the gateway, an app behind it, a vendor and an identity provider in one process, on loopback; prints the page to open
	$(CARGO) run $(LOCKED) -- demo

test: setup-browser setup-stores ## run the tests, check the files in deploy/, try real clients and apps, walk through the demo and a real sign-in in a headless Chromium
	$(CARGO) test $(LOCKED)
	tools/model/check
	tools/check-deploy
	tools/peers
	tools/browser

screenshots: setup-browser ## make the pictures in docs/images anew
	$(CARGO) build $(LOCKED)
	tools/browser screenshots

peers: setup ## try the gateway between real clients and real apps: curl, websockets, nginx, HAProxy, Caddy, Node
	$(CARGO) build $(LOCKED)
	tools/peers

prove: setup setup-stores ## run the proofs that take longer than a test may
	tools/prove

fuzz: setup-fuzz ## fuzz the way from a credential to a session, for FUZZ_SECONDS (60)
	tools/fuzz

bench: setup ## measure, with the program built as it ships
	$(CARGO) bench $(LOCKED) --profile dist

compare: setup ## measure the program that ships beside other servers that do the same: HAProxy, nginx, Envoy, Caddy, Fastify, Express, FastAPI, bare Pingora
	tools/compare

count: setup ## count the instructions of a request on each of its ways, beside the committed figures
	tools/count

lint: setup-lint ## formatting, clippy and rustdoc, warnings as errors
	$(CARGO) fmt --check
	$(CARGO) clippy $(LOCKED) --all-targets -- -D warnings
	$(CARGO) clippy $(LOCKED) --no-default-features --lib --bins -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(LOCKED) --no-deps

dist: setup ## build the program that ships: target/dist/valet; SIMULATORS=no leaves demo and simulate out, as the container does
	$(CARGO) build $(LOCKED) --profile dist --bin valet $(if $(filter no,$(SIMULATORS)),--no-default-features)

clean: ## remove what was built and fetched
	$(CARGO) clean
	rm -rf .tools node_modules fuzz/target
