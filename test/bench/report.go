package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"
	"text/template"
)

// A bar is what a metric shall not exceed.
type bar struct {
	Bench, Metric, What string
	Most                float64
	Limit               string // what is known to stand in the way
}

// The floor is one RSA-2048 quote verification, a chain of one RSA-2048
// certificate, one ECDH on P-256 and one ES256 signature, in the same run.
const handshakeLimit = "about a fifth of it is its signatures and the credential that activation wants, a sixth rows of the state, a sixth the collector " +
	"of garbage; JSON, what proofs need, cookies and the audit log share the rest"

var bars = []bar{
	{"ImageBuild/machine", "ratio", "machine image, against mmdebstrap and mksquashfs of the same packages", 1.0 / 3,
		"a third goes to hashes and checks of what is kept and of the disk, a quarter to the go command, which says whether process 1 changed"},
	{"ImageBuild/container", "ratio", "container image, against mmdebstrap and mksquashfs of the same packages", 1.0 / 3,
		"what is kept of packages and layers is hashed and unpacked to be believed"},
	{"DecryptUnpack", "ratio", "500 MB decrypted and unpacked, against skopeo and tar", 0.5, ""},
	{"DecryptUnpack", "over-floor", "the same, against AES-CTR, HMAC-SHA256 and zstd alone", 1.25, ""},
	{"RunOverFloor", "median-over-s", "seconds from run to the first output, over the bare boot: median", 4, ""},
	{"RunOverFloor", "p90-over-s", "the same, 90th percentile", 6, ""},
	{"Registry/1M", "push-over-olareg", "4 clients push blobs of 1 MiB, time against olareg", 1,
		"both hash and write every byte once; ours gives each blob one name more, in the pool that keeps one copy of it"},
	{"Registry/1M", "pull-over-olareg", "they pull them, against olareg", 1, ""},
	{"Registry/100M", "push-over-olareg", "2 clients push blobs of 100 MiB, time against olareg", 1, ""},
	{"Registry/100M", "pull-over-olareg", "they pull them, against olareg", 1, ""},
	{"Registry/1M", "guarded-push-over-olareg", "1 MiB pushed with a password, against olareg without one", 1 / 0.95, ""},
	{"Registry/1M", "guarded-pull-over-olareg", "1 MiB pulled with a password, against olareg without one", 1 / 0.95, ""},
	{"Registry/100M", "guarded-push-over-olareg", "100 MiB pushed with a password, against olareg without one", 1 / 0.95, ""},
	{"Registry/100M", "guarded-pull-over-olareg", "100 MiB pulled with a password, against olareg without one", 1 / 0.95, ""},
	{"Registry/1M", "push-over-distribution", "1 MiB pushed, time against CNCF distribution", 1 / 1.5, ""},
	{"Registry/1M", "pull-over-distribution", "1 MiB pulled, time against CNCF distribution", 1 / 1.5, ""},
	{"Registry/100M", "push-over-distribution", "100 MiB pushed, time against CNCF distribution", 1 / 1.5, ""},
	{"Registry/100M", "pull-over-distribution", "100 MiB pulled, time against CNCF distribution", 1 / 1.5,
		"both hand whole files to the kernel; what is left is loopback and the client, which shares the processors with the server"},
	{"RegistryMemory", "rest-MiB", "memory of serve at rest with the swarm up, in MiB", 80, ""},
	{"RegistryStart", "start-s", "seconds until serve answers over a million blobs", 2, ""},
	{"BlockTransfer/100MiB", "ratio", "a blob of 100 MiB from one node to another, against kubo 0.39", 0.5,
		"both ends hash every byte more than once, as a block and in the whole, and encrypt it twice under a swarm's key, " +
			"and on one machine they share its processors"},
	{"BlockTransfer/256KiB", "ratio", "400 blobs of 256 KiB from one node to another, against kubo 0.39", 0.5, ""},
	{"Handshake/proves=true/known=false/clients=16", "over-floor", "full handshake (auth, attest) of a TPM that was never seen, as installed: with what proofs need kept: processor time over that of its signatures", 2,
		handshakeLimit},
	{"Handshake/proves=false/known=false/clients=16", "over-floor", "full handshake (auth, attest) of a TPM that was never seen: processor time over that of its signatures", 2,
		handshakeLimit},
	{"Handshake/proves=true/known=true/clients=16", "over-floor", "full handshake (auth, attest) of a TPM that comes again, as installed: with what proofs need kept: processor time over that of its signatures", 2,
		handshakeLimit},
	{"Handshake/proves=false/known=true/clients=16", "over-floor", "full handshake (auth, attest) of a TPM that comes again: processor time over that of its signatures", 2,
		handshakeLimit},
	{"PolicyChange", "p99-ms", "ms until a policy that another process set has its effect, compiling included", 1000, ""},
	{"Provision/empty", "time-ratio", "a config that asks for nothing, time against upstream's engine", 1, ""},
	{"Provision/empty", "memory-ratio", "the same, peak memory", 0.5, ""},
	{"Provision/1000x100KB", "time-ratio", "1,000 files of 100 KB from a server, time against upstream's engine", 1, ""},
	{"Provision/1000x100KB", "memory-ratio", "the same, peak memory", 0.5, ""},
	{"Provision/2GB", "time-ratio", "a file of 2 GB from a server, time against upstream's engine", 1, ""},
	{"Provision/2GB", "memory-ratio", "the same, peak memory", 0.5, ""},
	{"Provision/disk", "time-ratio", "a disk with three partitions and filesystems, time against upstream's engine", 1, ""},
	{"Provision/disk", "memory-ratio", "the same, peak memory", 0.5, ""},
	{"EngineSize", "added-MB", "the engine in holdfast-node, in MB", 4, ""},
	{"Sizes", "uki-MB", "UKI, in MB", 20, ""},
	{"Sizes", "node-MB", "holdfast-node, in MB", 16, ""},
}

type report struct {
	Machine string   `json:"machine"`
	Results []Result `json:"results"`
}

func (r report) json() ([]byte, error) {
	raw, err := json.MarshalIndent(r, "", "  ")
	return append(raw, '\n'), err
}

// A row is a bar and what was measured.
type row struct {
	bar
	Got  float64
	Runs int
	Held string
}

// rows are those of machines' provisioning, or all others.
func (r report) rows(provisioning bool) (list []row) {
	for _, b := range bars {
		if provisioning != (strings.HasPrefix(b.Bench, "Provision/") || b.Bench == "EngineSize") {
			continue
		}
		for _, one := range r.Results {
			got, ok := one.Metrics[b.Metric]
			if one.Name != b.Bench || !ok {
				continue
			}
			held := "yes"
			if got > b.Most {
				held = "**no**"
			}
			list = append(list, row{b, got, one.Runs, held})
		}
	}
	return list
}

// firsts tell of builds that find packages alone.
func (r report) firsts() (list []string) {
	for _, one := range r.Results {
		if m := one.Metrics; m["first-s"] > 0 {
			list = append(list, fmt.Sprintf("%s: %.2f s, %.2f of the peer's %.2f s", strings.TrimPrefix(one.Name, "ImageBuild/"), m["first-s"], m["first-ratio"], m["theirs-s"]))
		}
	}
	return list
}

const pageText = `# Benchmarks

Measured on {{.Machine}}. Peers run in turn with ours, in the same run; figures are medians, and ratios are
those of pairs. "make bench" makes this page. What Kubernetes costs to build
is [on a page of its own](kubernetes-build.md), and how fast the broker is [on another](broker-speed.md).

| what | got | at most | held | runs |
|---|---|---|---|---|
{{range .Rows}}| {{.What}} | {{printf "%.2f" .Got}} | {{printf "%.2f" .Most}} | {{.Held}} | {{.Runs}} |
{{end}}
Images are built from packages that were downloaded before. In the table, the last build of the same packages left its
unpacked packages, packed layers and initramfs, process 1 and blocks of the root in the cache: each is hashed when it is
read, layers and initramfs are also unpacked and compared, and the image is written and synced anew. Beside them, and
without a bar, is the first build after the download, which finds nothing but the packages ("first-s", "first-ratio");
Go's own cache is warm in both. mksquashfs packs at the level that ours is about equal to: 7 for the machine's root, 11 for a
container's layers; "floor-s" is its time alone.
{{range .Firsts}}
- First build, {{.}}.
{{end}}{{range .Rows}}{{if ne .Held "yes"}}
Not held, {{.What}}: {{.Limit}}.
{{end}}{{end}}
Where the time of a run goes, from the machine's start to each stage's end:

![a bar for each stage](run-time.svg)

{{.Provisioning}}## All figures

| benchmark | figures |
|---|---|
{{range .Results}}| {{.Package}} {{.Name}} | {{figures .Metrics}} |
{{end}}`

func (r report) page() ([]byte, error) {
	t, err := template.New("page").Funcs(template.FuncMap{"figures": figures}).Parse(pageText)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = t.Execute(&out, map[string]any{"Machine": r.Machine, "Rows": r.rows(false), "Provisioning": provisioningText(r.rows(true)), "Firsts": r.firsts(), "Results": r.Results})
	return out.Bytes(), err
}

func figures(m map[string]float64) string {
	var list []string
	for unit, value := range sorted(m) {
		list = append(list, fmt.Sprintf("%.4g %s", value, unit))
	}
	return strings.Join(list, ", ")
}

// describe tells what the figures were measured on.
func describe() (string, error) {
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	model := "a processor without a name"
	for text := range strings.Lines(string(raw)) {
		if name, value, ok := strings.Cut(text, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
		}
	}
	return fmt.Sprintf("%d processors (%s), %s, machines emulated unless KVM works", runtime.NumCPU(), model, runtime.Version()), nil
}
