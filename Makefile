# make        builds bin/ore
# make demo   builds, then runs a BLAST search on four machines
# make test   proves that it works; what CI runs
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unreleased)
BUILD = CGO_ENABLED=0 $(GO) build -trimpath

# What has goroutines and needs no machine is tested under the race detector, too.
RACE = ./cache ./cache/evict ./cache/flight ./cache/forecast ./cache/index ./chain ./chain/pulse ./cluster/... ./deb/fetch ./deb/resolve ./engine ./guest/wire ./image ./image/chunk/... ./install/load ./install/queue ./install/workplace ./namespace/janitor ./netboot/dhcp ./netboot/keep ./netboot/relay ./netboot/roster ./netboot/tftp ./node ./node/agent ./node/installing ./node/kit ./node/lazy ./plan/... ./site/bound ./site/keeper ./site/learn ./site/race ./vm/home ./vm/process ./vnet/ethernet ./vnet/trunk/...

.PHONY: all build demo test test-system soak bench lint fuzz man clean

all: build

build: bin/ore

# ore-init is the first process of every machine; ore carries it inside.
site/init/ore-init: FORCE
	$(BUILD) -ldflags='-s -w' -o $@ ./cmd/ore-init

bin/ore: site/init/ore-init FORCE
	$(BUILD) -ldflags='-s -w -X main.version=$(VERSION)' -o $@ ./cmd/ore

FORCE:

demo: build
	./examples/blast/demo

# What the tests need beside Go is installed by test/needs (as root) or named.
test: build
	./test/needs
	$(GO) vet ./...
	$(GO) test -vet=off -timeout 60m ./...
	$(GO) test -vet=off -timeout 60m -race $(RACE)

test-system: build
	./test/needs system
	$(GO) test -tags system -timeout 120m -p 1 ./...

soak: build
	./test/needs
	$(GO) test -tags soak -timeout 120m -p 1 -run Soak ./...

bench: build
	./test/needs
	./bench/run

lint:
	$(GO) vet ./...
	test -z "$$(gofmt -l .)"

# Every fuzz test for a while; FUZZTIME says how long each.
FUZZTIME ?= 20s
fuzz:
	./test/fuzz $(FUZZTIME)

man: build
	bin/ore man bin/man

clean:
	rm -rf bin site/init/ore-init
