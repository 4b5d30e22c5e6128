package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"holdfast/internal/atomicfile"
)

// groups are the special interest groups whose conformance tests are run.
var groups = []string{"sig-api-machinery", "sig-auth", "sig-network", "sig-node"}

func groupOf(test string) string {
	group, _, _ := strings.Cut(strings.TrimPrefix(test, "["), "]")
	return group
}

// A record is what all runs of the end-to-end tests came to, the last one of
// each test: runs are of a part.
type record struct {
	Version string                        `json:"version"` // of Kubernetes
	Tests   []string                      `json:"tests"`   // the conformance tests of groups
	Nodes   map[string]map[string]outcome `json:"nodes"`   // by number of nodes and test
	Runtime runtimeRecord                 `json:"runtime"`
}

// A runtimeRecord is what the last run of critest came to.
type runtimeRecord struct {
	Suite   string             `json:"suite"`   // version of cri-tools
	Runtime string             `json:"runtime"` // version of containerd
	Tests   map[string]outcome `json:"tests"`
}

func loadRecord(path string) (*record, error) {
	r := &record{Nodes: map[string]map[string]outcome{}}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, r)
	}
	return r, err
}

func (r *record) save(path string) error {
	raw, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(path, append(raw, '\n'), 0o644)
}

// is makes the record one of these tests. Of another version nothing is kept.
func (r *record) is(version string, all []string) {
	if r.Version != version {
		r.Version, r.Nodes = version, map[string]map[string]outcome{}
	}
	r.Tests = slices.DeleteFunc(slices.Clone(all), func(t string) bool { return !slices.Contains(groups, groupOf(t)) })
	slices.Sort(r.Tests)
}

// chosen are the tests that match; with rest only those that have no outcome, or a bad one.
func (r *record) chosen(match *regexp.Regexp, nodes string, rest bool) []string {
	return slices.DeleteFunc(slices.Clone(r.Tests), func(t string) bool {
		return !match.MatchString(t) || rest && r.Nodes[nodes][t].Passed
	})
}

func (r *record) add(nodes string, new map[string]outcome) {
	if r.Nodes[nodes] == nil {
		r.Nodes[nodes] = map[string]outcome{}
	}
	maps.Copy(r.Nodes[nodes], new)
}

// section is the page's part.
func (r *record) section() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Conformance to Kubernetes

Written by `+"`make conformance-kubernetes FOCUS=REGEX [NODES=2] [REST=1]`"+`, which makes a cluster, and keeps what each test came to
in `+"`docs/conformance-kubernetes.json`"+`: runs are of a part, and a test's last run counts. The tests are those of
`+"`k8s.io/kubernetes/test/e2e`"+` %s, unmodified; their images are composed here of the recipes in `+"`test/conformance/images`"+`, and pulled
from the installation's registry. The sample API server is of the same release, where upstream's image has one of 1.29; the image
that is mounted as a volume has the two files that its test reads.

| group | nodes | conformance tests | attempted | passed | failed |
|---|---|---|---|---|---|
`, r.Version)
	for _, nodes := range slices.Sorted(maps.Keys(r.Nodes)) {
		for _, group := range groups {
			r.row(&b, group, nodes)
		}
	}
	r.failures(&b)
	return b.String()
}

func (r *record) row(b *strings.Builder, group, nodes string) {
	var all, attempted, passed int
	for _, t := range r.Tests {
		if groupOf(t) != group {
			continue
		}
		all++
		if o, done := r.Nodes[nodes][t]; done {
			attempted++
			if o.Passed {
				passed++
			}
		}
	}
	fmt.Fprintf(b, "| %s | %s | %d | %d | %d | %d |\n", group, nodes, all, attempted, passed, attempted-passed)
}

func (r *record) failures(b *strings.Builder) {
	var lines []string
	for nodes, tests := range r.Nodes {
		for t, o := range tests {
			if !o.Passed {
				lines = append(lines, o.line(t+" (nodes: "+nodes+")", reasons[t]))
			}
		}
	}
	list(b, lines)
}

// line tells of a failure.
func (o outcome) line(what, why string) string {
	return fmt.Sprintf("- %s: %s\n  The test says: `%s`\n", what, or(why, "not explained yet."), strings.ReplaceAll(o.Said, "`", "'"))
}

func list(b *strings.Builder, lines []string) {
	if len(lines) == 0 {
		return
	}
	slices.Sort(lines)
	fmt.Fprintf(b, "\nThose that failed:\n\n%s", strings.Join(lines, ""))
}

// runtimeSection is the page's part about critest.
func (r *record) runtimeSection() string {
	var b strings.Builder
	var lines []string
	passed := 0
	for t, o := range r.Runtime.Tests {
		if o.Passed {
			passed++
		} else {
			lines = append(lines, o.line(t, reasons[t]))
		}
	}
	fmt.Fprintf(&b, `# Conformance of the container runtime

Written by `+"`make conformance-critest`"+`: `+"`critest`"+` of cri-tools %s, unmodified, against the containerd %s that nodes have, with Debian's
runc and settings like theirs, in namespaces of its own. The images that it names are variants of `+"`test/conformance/images`"+` in a registry
of this program, which stands for gcr.io and registry.k8s.io there.

- **%d tests, %d passed, %d failed**
`, r.Runtime.Suite, r.Runtime.Runtime, len(r.Runtime.Tests), passed, len(lines))
	list(&b, lines)
	b.WriteString(sealedOnly)
	return b.String()
}

// sealedOnly is why the runtime class is in no list.
const sealedOnly = `
None of them applies to the runtime class ` + "`holdfast`" + `: the tests make up their pods as they go, and a pod that nobody sealed is refused before it
has a machine (` + "`TestTheNodeFetchesNoLayerAndRunsNothingUnsealed`" + `). What they ask of a runtime (start, stop, status, logs, exec, attach, port-forward, exit codes,
signals, limits) is asked of sealed pods by the same calls of CRI in ` + "`kube/shim/shimtest`" + `, which ` + "`make test-cluster`" + ` runs.
`

// reasons tell why tests fail that are known to.
var reasons = map[string]string{
	"[k8s.io] Image Manager public image with digest should be pulled and removed [Conformance]": "asks for upstream's image by its digest; none of another registry is here.",
	"[k8s.io] Security Context bucket runtime should support MaskedPaths":                        "hides /bin/ls from the shell, and the shell of Debian's busybox has its own.",
}
