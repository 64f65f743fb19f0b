# SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial
#
# `make test` is the check for every change, `make test-long` the one by hand
# before a piece of work is called done. The work is in scripts/.

.PHONY: help test test-long bench bench-voice bench-overlay demo fuzz lint licences api sbom vuln reproducible clean
.DEFAULT_GOAL := help

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

test: ## everything a change must pass, within 10 minutes on two cores
	@sh scripts/test.sh

test-long: ## cross builds, vet for all systems, the long tests, fuzz rounds
	@sh scripts/test-long.sh

bench: ## the benchmarks, as a table
	@sh scripts/bench.sh

bench-voice: ## voice over bad networks beside plain Opus; writes docs/voice/
	@set -e; . scripts/common.sh; detect; go run -tags "$$TAGS" ./internal/tools/voicebench -out docs/voice $(VOICE)

bench-overlay: ## the overlay in a simulated Internet, up to a million nodes; writes docs/overlay/
	@go run ./internal/tools/meshsim -run standard -out docs/overlay $(OVERLAY)

demo: ## two people call each other, in one process; writes demo-out/
	@go run ./examples/demo

fuzz: ## every fuzz target for FUZZTIME (default 20s)
	@sh scripts/fuzz.sh

lint: ## formatting, vet for Linux and Windows, shell scripts
	@sh scripts/lint.sh

licences: ## write THIRD_PARTY_LICENSES.md anew
	@go run ./internal/tools/licences

api: ## write api.txt anew: what programs may rely on
	@go run ./internal/tools/api

sbom: ## the modules in a build, as CycloneDX and SPDX, into bin/
	@go run ./internal/tools/sbom -out bin $(SBOM)

vuln: ## govulncheck, where its database can be reached
	@sh scripts/vuln.sh

reproducible: ## build twice in different places and compare
	@sh scripts/reproducible.sh

clean: ## remove what the other targets left behind
	rm -rf demo-out bin
	find . -name '*.test' -type f -exec rm -f {} +
	find . -name '*.prof' -type f -exec rm -f {} +
