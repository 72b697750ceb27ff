# SPDX-License-Identifier: GPL-2.0
#
# The front door; `make help` lists every target. The module itself is described in Kbuild, and everything is built
# in the toolchain's userland (scripts/in-toolchain).

KERNEL ?= 7.3.4+deb13-amd64
export KERNEL

# On a Debian that runs a kernel of the right kind, plain `make` builds the module for that one.
RUNNING := $(shell uname -r)
.DEFAULT_GOAL := $(if $(filter 7.%+deb13-amd64,$(RUNNING)),running,help)

IN := scripts/in-toolchain
JOBS := $(shell nproc)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.* ## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nKERNEL=%s is the Debian kernel that is built for; set it to choose another.\n' '$(KERNEL)'

demo: ## see it work: programs survive a kill and a reboot
	@scripts/demo

check: ## run the tests: lint, host tests, guest tests on Debian's kernel (12 minutes on two cores)
	@scripts/check

check-long: ## run all guest tests with all of their rounds, on Debian's kernel, and 50 power cuts (1 hour)
	@scripts/check long power

stress: ## 50 rounds of checkpoint, kill and restart of a program, on Debian's kernel (ROUNDS: another number)
	@scripts/vm --timeout 0 -- /usr/lib/geist/tests/stress $(or $(ROUNDS),50)

check-debug: ## run the guest tests on the debug kernel, whose build takes 10 minutes
	@scripts/check debug

bench: ## measure geist against criu in a virtual machine; figures in build/bench.txt and .json (half an hour; QUICK=1: increments only, a few minutes)
	@scripts/bench $(if $(QUICK),--part increments --part sizes)

fuzz: ## feed arbitrary bytes to the readers of the file formats (10 minutes; SECONDS: another time)
	@scripts/fuzz $(SECONDS)

soak: ## the long run: 50,000 versions on both kernels, 300 power cuts (many hours)
	@scripts/soak

lint: ## check formatting, warnings, unsafe code, text
	@scripts/lint

format: ## format all Rust code
	@$(IN) rustfmt $(shell git ls-files --cached --others --exclude-standard '*.rs')

module: ## build geist.ko for the stock kernel, in build/stock
	@scripts/build-module stock

module-debug: ## build geist.ko for the debug kernel, in build/debug
	@scripts/build-module debug

client: ## build the command-line client, build/client/geist
	@scripts/build-client

tests: ## build the guest's test programs, in build/tests
	@$(IN) make --no-print-directory -C tools/testing O=/geist/build/tests -j$(JOBS)

# SHIP_KERNEL says for which kernel.
SHIP_KERNEL := stock
ship: client tests ## build all that scripts/vm takes into the guest
	@scripts/build-module $(SHIP_KERNEL)

toolchain: ## get the compilers (once; kept in the cache)
	@scripts/toolchain

kernel: ## prepare the stock kernel's tree for building modules (once)
	@scripts/kernel stock

debug-kernel: ## build the debug kernel: KASAN, lockdep, ... (once; 10 minutes)
	@scripts/kernel debug

guest: ## make the guest's root file system (once)
	@scripts/guest image

running: ## build module and client for the kernel that this machine runs (plain `make` where that works)
	@scripts/install --build-only

install: ## build and install module and client on this machine (as root)
	@scripts/install

uninstall: ## remove what `make install` installed
	@scripts/install --remove

clean: ## remove what was built in the checkout
	rm -rf build

distclean: clean ## remove the cache, too: toolchain, kernels, guest
	@scripts/clean-cache

.PHONY: help demo check check-long check-debug stress bench fuzz soak lint format module module-debug client tests ship toolchain kernel debug-kernel guest \
	running install uninstall clean distclean
