package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sample is a part of the conformance tests that is quick and looks into many corners.
var sample = []string{
	"[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition creating/deleting custom resource definition objects works [Conformance]",
	"[sig-api-machinery] Garbage collector should not be blocked by dependency circle [Conformance]",
	"[sig-api-machinery] ResourceQuota should create a ResourceQuota and ensure its status is promptly calculated. [Conformance]",
	"[sig-api-machinery] Servers with support for Table transformation should return a 406 for a backend which does not implement metadata [Conformance]",
	"[sig-api-machinery] Watchers should be able to start watching from a specific resource version [Conformance]",
	"[sig-auth] Certificates API [Privileged:ClusterAdmin] should support CSR API operations [Conformance]",
	"[sig-auth] ServiceAccounts should mount an API token into pods [Conformance]",
	"[sig-auth] ServiceAccounts should run through the lifecycle of a ServiceAccount [Conformance]",
	"[sig-auth] SubjectReview should support SubjectReview API operations [Conformance]",
	"[sig-network] DNS should provide DNS for the cluster [Conformance]",
	"[sig-network] EndpointSlice should support creating EndpointSlice API operations [Conformance]",
	"[sig-network] Ingress API should support creating Ingress API operations [Conformance]",
	"[sig-network] Services should serve a basic endpoint from pods [Conformance]",
	"[sig-network] Services should find a service from listing all namespaces [Conformance]",
	"[sig-node] ConfigMap should be consumable via the environment [NodeConformance] [Conformance]",
	"[sig-node] Downward API should provide pod UID as env vars [NodeConformance] [Conformance]",
	"[sig-node] Kubelet when scheduling a busybox command in a pod should print the output to logs [NodeConformance] [Conformance]",
	"[sig-node] Pods should get a host IP [NodeConformance] [Conformance]",
	"[sig-node] PodTemplates should run the lifecycle of PodTemplates [Conformance]",
	"[sig-node] Security Context when creating containers with AllowPrivilegeEscalation should not allow privilege escalation when false [LinuxOnly] [NodeConformance] [Conformance]",
}

func TestASampleOfConformancePasses(t *testing.T) {
	if os.Getenv("HOLDFAST_TEST_KUBE") == "" || os.Geteuid() != 0 {
		t.Skip("runs Kubernetes' own tests against a cluster: run HOLDFAST_TEST_KUBE=1 HOLDFAST_STATE=FOLDER go test ./test/conformance as root")
	}
	e, err := newEndToEnd("../..", os.Getenv("HOLDFAST_STATE"), t.TempDir())
	if err == nil {
		err = e.open(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := e.run(t.Context(), sample)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range sample {
		switch o, done := got[name]; {
		case !done:
			t.Errorf("%s: not run", name)
		case !o.Passed:
			t.Errorf("%s: %s", name, o.Said)
		default:
			t.Logf("%4.1f s %s", o.Seconds, name)
		}
	}
}

// The page says why each test failed that did.
func TestEachFailureOfKubernetesTestsIsExplained(t *testing.T) {
	r, err := loadRecord(filepath.Join("..", "..", "docs", recordFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, tests := range append(slices.Collect(maps.Values(r.Nodes)), r.Runtime.Tests) {
		for name, o := range tests {
			if !o.Passed && reasons[name] == "" {
				t.Errorf("%s: %s", name, o.Said)
			}
		}
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "conformance.md"))
	if err != nil {
		t.Fatal(err)
	}
	for section, kept := range map[string]int{r.section(): len(r.Nodes), r.runtimeSection(): len(r.Runtime.Tests)} {
		title, _, _ := strings.Cut(section, "\n")
		if kept == 0 && strings.Contains(string(page), title) {
			t.Errorf("docs/conformance.md has %q, and there is no record of it", title)
		}
		if kept > 0 && !strings.Contains(string(page), strings.TrimSpace(section)) {
			t.Errorf("docs/conformance.md does not say what the record has; want\n%s", section)
		}
	}
}

func TestAReportTellsWhatCameToItsEnd(t *testing.T) {
	got, err := outcomes([]byte(`[{"SpecReports":[
		{"LeafNodeType":"It","ContainerHierarchyTexts":["[sig-node] Pods"],"LeafNodeText":"should a","State":"passed","RunTime":1260000000},
		{"LeafNodeType":"It","ContainerHierarchyTexts":["[sig-node] Pods"],"LeafNodeText":"should b","State":"failed","Failure":{"Message":"want\n  1|2"}},
		{"LeafNodeType":"It","ContainerHierarchyTexts":["[sig-node] Pods"],"LeafNodeText":"should c","State":"timedout"},
		{"LeafNodeType":"It","ContainerHierarchyTexts":["[sig-node] Pods"],"LeafNodeText":"should d","State":"skipped"},
		{"LeafNodeType":"SynchronizedBeforeSuite","State":"passed"}]}]`))
	if err != nil || len(got) != 2 {
		t.Fatalf("got %v, %v", got, err)
	}
	if want := (outcome{Passed: true, Seconds: 1.2}); got["[sig-node] Pods should a"] != want {
		t.Errorf("got %+v, want %+v", got["[sig-node] Pods should a"], want)
	}
	if want := (outcome{Said: "want 1/2"}); got["[sig-node] Pods should b"] != want {
		t.Errorf("got %+v, want %+v", got["[sig-node] Pods should b"], want)
	}
	if _, err := outcomes([]byte(`[{"SpecReports":[{"LeafNodeType":"SynchronizedBeforeSuite","State":"failed","Failure":{"Message":"no node"}}]}]`)); err == nil {
		t.Error("a suite that did not begin passes for one without tests")
	}
}
