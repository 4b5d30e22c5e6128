# One command runs the main job (make demo), one passes the tests (make test).
# Both install what is missing by apt and keep everything else in STATE.

STATE ?= $(CURDIR)/.holdfast
GO    ?= go

RUN_TOOLS  = qemu-system-x86 ovmf swtpm swtpm-tools
TEST_TOOLS = iproute2 skopeo umoci cryptsetup-bin gdisk fdisk dosfstools mtools sbsigntool \
             systemd systemd-boot-efi cpio binutils openssl squashfs-tools python3-jsonschema faketime \
             bash-completion zsh fish chromium curl podman buildah containerd apache2-utils docker-registry \
             xz-utils e2fsprogs gcc libc6-dev softhsm2 libsofthsm2 libblkid-dev \
             busybox-static udev dmsetup mdadm xfsprogs btrfs-progs tftpd-hpa \
             genisoimage clevis-tpm2 clevis-luks tpm2-tools nftables runc initramfs-tools-core

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
KERNEL      = $(STATE)/test/kernel
KUBO        = $(STATE)/test/kubo/ipfs
COSIGN      = $(STATE)/test/cosign
ORAS        = $(STATE)/test/oras/oras
SKOPEO      = $(STATE)/test/skopeo/skopeo
HELM        = $(STATE)/test/helm/helm
IGNITION    = $(STATE)/test/ignition/upstream
UNSYSTEMD   = $(STATE)/test/ignition/without-systemd
TEST        = HOLDFAST_STATE=$(STATE) HOLDFAST_TEST_IGNITION=$(IGNITION) HOLDFAST_TEST_KERNEL=$(KERNEL) HOLDFAST_TEST_KUBO=$(KUBO) HOLDFAST_TEST_ORAS=$(ORAS) HOLDFAST_TEST_SKOPEO=$(SKOPEO) CGO_ENABLED=0 \
              $(GO) test -trimpath -count=1 -timeout 30m $(TESTFLAGS)
FUZZ        = $(GO) run ./test/fuzz
FUZZFLAGS   = -state $(STATE)/fuzz
# How many mutations of its inputs each fuzz target sees in make test.
MUTATIONS  ?= 300
BUILD       = CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w'

.PHONY: demo test build kube test-cluster pkcs11 lint bench bench-cluster conformance conformance-kubernetes conformance-critest blackbox units fuzz fuzz-corpus fuzz-report soak clean tools test-tools

demo:
	@$(MAKE) --no-print-directory -j2 tools build
	@bin/holdfast demo --state $(STATE)

# The booted proofs run alone: they want both processors, and make the machine
# image that others look at.
test:
	@$(MAKE) --no-print-directory -j2 test-tools build
	@$(MAKE) --no-print-directory pkcs11
	@$(MAKE) --no-print-directory $(KERNEL) $(KUBO) $(ORAS) $(SKOPEO) $(UNSYSTEMD)
	$(TEST) -p 1 ./test/chain ./test/provision
	$(TEST) $$($(GO) list ./... | grep -v -e test/chain -e test/provision -e test/kube -e test/cluster)
	$(FUZZ) run $(FUZZFLAGS) -plain -time $(MUTATIONS)x

build:
	@mkdir -p bin
	$(BUILD) -o bin/holdfast ./cmd/holdfast
	$(BUILD) -o bin/holdfast-node ./cmd/holdfast-node

# Kubernetes, containerd, CNI plugins and gVisor into $(STATE)/kube: a quarter of an
# hour of a processor when nothing is built, a second when all is.
KUBE = HOLDFAST_TEST_KUBE=1 HOLDFAST_TEST_HELM=$(HELM) $(TEST) -v
kube:
	$(KUBE) -run 'Tell' ./test/kube

# What needs Kubernetes built, as root. TESTFLAGS=-short leaves out what takes a
# minute or more beyond that, and gVisor and helm with it.
test-cluster: build
	@$(call install,$(RUN_TOOLS) iproute2 nftables procps runc)
	@$(MAKE) --no-print-directory kube $(if $(findstring -short,$(TESTFLAGS)),,$(HELM))
	cd kube && CGO_ENABLED=0 $(GO) test -trimpath -vet=off -count=1 -timeout 20m $(TESTFLAGS) ./agent/...
	$(KUBE) -p 1 ./test/kube ./test/cluster
	$(KUBE) -run Sample ./test/conformance
	$(KUBE) -run Clusters ./test/guide
	cd kube/shim && $(KUBE) ./...

# The HSM's helper holds a vendor's C library: it alone needs a C compiler.
pkcs11:
	@mkdir -p bin
	CGO_ENABLED=1 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w' -o bin/holdfast-pkcs11 ./cmd/holdfast-pkcs11

lint:
	@test -z "$$(gofmt -l cmd internal test)" || { gofmt -l cmd internal test; echo "run gofmt -w"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

# Peers beside ours, in turn: wants a quiet machine, and writes docs/benchmarks.md.
BENCH = HOLDFAST_STATE=$(STATE) HOLDFAST_TEST_IGNITION=$(IGNITION) HOLDFAST_TEST_KUBO=$(KUBO) CGO_ENABLED=0 $(GO) test -trimpath -run '^$$' -bench . -timeout 60m
bench: test-tools build $(KUBO) $(UNSYSTEMD)
	@$(call install,mmdebstrap zstd)
	{ $(BENCH) -benchtime 5x ./test/bench && $(BENCH) -benchtime 7x ./test/ignition && $(BENCH) -benchtime $(RUNS)x ./test/chain && \
	  $(BENCH) -benchtime 3x ./internal/... || echo FAIL; } | $(GO) run ./test/bench
RUNS ?= 20

# A turn of FUZZTIME for each target that is below the bar. Accounts add up in
# test/fuzz/record.json; docs/fuzzing.md tells how. A parser that takes 8 GiB
# of addresses has failed.
FUZZTIME ?= 1m
fuzz:
	@ulimit -v 8388608; $(FUZZ) run $(FUZZFLAGS) -time $(FUZZTIME)

fuzz-corpus:
	@$(FUZZ) corpus $(FUZZFLAGS)

fuzz-report:
	@$(FUZZ) coverage $(FUZZFLAGS) && $(FUZZ) report

soak: test-tools build $(KUBO) $(COSIGN) $(KERNEL)
	HOLDFAST_COSIGN=$(COSIGN) $(TEST) -v -run TestCosign ./test/clients
	HOLDFAST_SOAK=1 $(GO) test -count=1 -timeout 30m ./internal/attack
	HOLDFAST_SOAK=1 $(GO) test -count=1 -timeout 30m -v -run 'AMillion|AtRest' ./internal/broker
	$(MAKE) fuzz FUZZTIME=5m
	HOLDFAST_SOAK=1 $(TEST) -timeout 90m -v -run TestAttacksOnMachinesAreHeld ./test/chain
	$(GO) test -race -count=1 -timeout 60m ./internal/...
	HOLDFAST_SOAK=1 $(TEST) -v -run 'HoweverItIsBuilt|TreesOfDpkgDeb|WhatAptChooses' ./test/repro ./internal/deb
	HOLDFAST_SOAK=1 $(TEST) -timeout 90m ./test/robust
	HOLDFAST_SOAK=1 $(TEST) -timeout 90m -v -run TestAPowerCut ./test/provision ./test/initramfs
	HOLDFAST_SOAK=1 $(KUBE) -timeout 120m -run 'TestThreeHundred|OfVersion2' ./test/cluster
	HOLDFAST_SOAK=1 $(TEST) -timeout 60m -run 'TestAnImage|TestAnIdle|TestAPowerCut|TestAServiceKilled' ./test/chain

# A cluster's times and memory, beside the same components by hand and a run without Kubernetes: wants root and
# a quiet machine, and prints.
bench-cluster: build
	@$(call install,$(RUN_TOOLS) iproute2 nftables runc util-linux)
	@$(MAKE) --no-print-directory kube
	HOLDFAST_TEST_KUBE=1 $(BENCH) -benchtime 5x -v -bench 'CreateToReady|PlainPod' ./test/cluster
	HOLDFAST_TEST_KUBE=1 $(BENCH) -benchtime 1x -v -bench 'IdleMemory|ConfidentialPod' ./test/cluster
	$(BENCH) -benchtime 3x -v -bench RunOverFloor ./test/chain

# An official suite, from a checkout that somebody brings; writes its part of docs/conformance.md.
conformance:
	@test -n "$(SUITE)" || { echo "give SUITE=DIR, a checkout of opencontainers/distribution-spec or ipfs/gateway-conformance"; exit 2; }
	$(GO) run ./test/conformance -suite $(SUITE)

# Kubernetes' end-to-end tests, as root, against a cluster that is made for them: the conformance tests that
# FOCUS matches, of sig-api-machinery, sig-auth, sig-network and sig-node. REST=1 leaves out those that passed.
conformance-kubernetes: build
	@$(call install,iproute2 nftables)
	$(GO) run ./test/conformance -kubernetes -state $(STATE) -focus '$(FOCUS)' -nodes $(or $(NODES),1) $(if $(REST),-rest)

# critest against the containerd that nodes have, as root, in namespaces of its own.
conformance-critest: build
	@$(call install,iproute2 nftables runc)
	$(GO) run ./test/conformance -critest -state $(STATE)

# Upstream's tests of its Ignition engine, run on ours in a machine: about
# twenty minutes. RUN=REGEX runs those that go test -run would, as RUN=/luks;
# FULL=1 each with every version of the config: hours, so in parts, as
# FULL=1 RUN='/.*_3.4.0'.
BLACKBOX = $(if $(FULL),,-test.short) $(if $(RUN),-test.run=$(RUN)) -test.timeout=6h
blackbox: test-tools build $(KERNEL) $(UNSYSTEMD)
	HOLDFAST_BLACKBOX="$(BLACKBOX)" $(TEST) -timeout 7h -v ./test/blackbox

# How many units of Debian's daemons machines without systemd run: 75 MB of
# packages, of which their units stay. Writes its part of docs/formats/units.md.
DAEMONS = apache2 apt-cacher-ng bind9 chrony collectd-core containerd cron dnsmasq dovecot-core etcd-server fail2ban frr haproxy hostapd \
          irqbalance isc-dhcp-server keepalived knot lighttpd lldpd mariadb-server memcached mosquitto nfs-kernel-server nginx-common ntpsec \
          openssh-server openvpn postfix postgresql-common prometheus-node-exporter redis-server rsync rsyslog smartmontools snmpd squid stunnel4 \
          tftpd-hpa tinyproxy tor transmission-daemon unbound varnish vsftpd wireguard-tools xinetd zabbix-agent
units:
	@rm -rf $(STATE)/test/units && mkdir -p $(STATE)/test/units && cd $(STATE)/test/units && apt-get -q update && \
	apt-get -q -o APT::Sandbox::User=root download $(DAEMONS) && for d in *.deb; do p=$${d%%_*} && mkdir $$p && \
	dpkg-deb --fsys-tarfile $$d >$$d.tar && tar -tf $$d.tar >$$d.files && \
	{ ! grep -E '^\./(usr/)?lib/systemd/system/.' $$d.files >$$d.units || tar -x -f $$d.tar -C $$p --no-recursion -T - <$$d.units; } && rm $$d* || exit 1; done
	$(GO) run ./test/units -page docs/formats/units.md $(STATE)/test/units

# The IPFS node of others: two minutes of one processor when nothing is built. A
# dependency needs a newer version for this Go.
$(KUBO):
	@rm -rf $(@D) && mkdir -p $(@D) && cd $(@D) && $(GO) mod init kubo && \
	$(GO) mod edit -require=github.com/ipfs/kubo@v0.39.0 -require=github.com/cockroachdb/swiss@v0.0.0-20251224182025-b0f6560f979b && \
	CGO_ENABLED=0 $(GO) build -mod=mod -trimpath -ldflags '-s -w' -o $@ github.com/ipfs/kubo/cmd/ipfs

# The program that others attach things to images with: seconds.
$(ORAS):
	@rm -rf $(@D) && mkdir -p $(@D) && cd $(@D) && $(GO) mod init oras && \
	$(GO) mod edit -require=oras.land/oras@v1.3.2 && \
	CGO_ENABLED=0 $(GO) build -mod=mod -trimpath -ldflags '-s -w' -o $@ oras.land/oras/cmd/oras

# The program that charts are installed with, on the libraries of kube/: of its
# 930 packages, 830 are compiled by then.
HELM_WITH = api apiextensions-apiserver apimachinery apiserver cli-runtime client-go component-base kubectl
$(HELM): kube/go.mod
	@rm -rf $(@D) && mkdir -p $(@D) && cd $(@D) && $(GO) mod init helm && \
	$(GO) mod edit -require=helm.sh/helm/v3@v3.19.0 $(HELM_WITH:%=-require=k8s.io/%@v0.36.3) \
	  $$(awk '/^\t(golang.org\/x|github.com\/spf13\/pflag|github.com\/containerd\/errdefs )/ {print "-require=" $$1 "@" $$2}' $(CURDIR)/kube/go.mod) && \
	CGO_ENABLED=0 $(GO) build -mod=mod -trimpath -ldflags '-s -w' -o $@ helm.sh/helm/v3/cmd/helm

# A skopeo that knows key providers: 50 seconds of one processor when nothing is
# built. Debian 12's is older.
$(SKOPEO):
	@rm -rf $(@D) && mkdir -p $(@D) && cd $(@D) && $(GO) mod init skopeo && \
	$(GO) mod edit -require=github.com/containers/skopeo@v1.14.4 && CGO_ENABLED=0 $(GO) build -mod=mod -trimpath -ldflags '-s -w' \
	  -tags 'containers_image_openpgp exclude_graphdriver_btrfs exclude_graphdriver_devicemapper' -o $@ github.com/containers/skopeo/cmd/skopeo

# The engine that ours is measured against, with its own tests as a program: two
# minutes when nothing is built. It holds C libraries.
$(IGNITION):
	@rm -rf $(@D)/src && mkdir -p $(@D) && $(GO) mod download github.com/coreos/ignition/v2 && \
	cp -r "$$($(GO) list -m -f '{{.Dir}}' github.com/coreos/ignition/v2)" $(@D)/src && chmod -R u+w $(@D)/src && cd $(@D)/src && \
	CGO_ENABLED=1 $(GO) test -mod=mod -c -ldflags '-s -w' -o ../blackbox.test ./tests && \
	CGO_ENABLED=1 $(GO) build -mod=mod -ldflags '-s -w -X github.com/coreos/ignition/v2/internal/distro.selinuxRelabel=false' -o $@ ./internal

# The same where no systemd waits for devices: that package of it is a stand-in.
$(UNSYSTEMD): $(IGNITION) test/ignition/testdata/systemd.go.txt
	@cp test/ignition/testdata/systemd.go.txt $(@D)/src/internal/systemd/systemd.go && cd $(@D)/src && CGO_ENABLED=1 \
	$(GO) build -mod=mod -ldflags '-s -w -X github.com/coreos/ignition/v2/internal/distro.selinuxRelabel=false' -o $@ ./internal

# The program that others sign with: 3.5 minutes of one processor when nothing
# is built, so make test reads what it wrote, and make soak runs it.
$(COSIGN):
	GOBIN=$(@D) CGO_ENABLED=0 $(GO) install -trimpath -ldflags '-s -w' github.com/sigstore/cosign/v3/cmd/cosign@v3.1.2

# A kernel that tests boot without firmware, unpacked from Debian's package.
$(KERNEL):
	@rm -rf $@.new && mkdir -p $@.new && cd $@.new && apt-get -q update && \
	apt-get -q -o APT::Sandbox::User=root download \
	  $$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: //p') && \
	dpkg-deb -x linux-image-*.deb . && rm linux-image-*.deb && mv $@.new $@

clean:
	rm -rf bin $(STATE)

tools:
	@$(call install,$(RUN_TOOLS))

test-tools:
	@$(call install,$(RUN_TOOLS) $(TEST_TOOLS))

# install names the Debian packages that are missing and gets only those.
define install
missing=""; for p in $(1); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
if [ -n "$$missing" ]; then echo "installing:$$missing"; \
  export DEBIAN_FRONTEND=noninteractive; apt-get -q update && apt-get -q install -y --no-install-recommends $$missing; fi
endef
