package policy

import (
	"net/netip"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pod(namespace, name, address string) *core.Pod {
	return &core.Pod{
		ObjectMeta: meta.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + name), Labels: map[string]string{"app": name}},
		Spec: core.PodSpec{NodeName: "here", Containers: []core.Container{{Ports: []core.ContainerPort{
			{Name: "web", ContainerPort: 8080, Protocol: core.ProtocolTCP}}}}},
		Status: core.PodStatus{Phase: core.PodRunning, PodIP: address},
	}
}

func policyOf(t *testing.T, text string) *networking.NetworkPolicy {
	t.Helper()
	p := &networking.NetworkPolicy{ObjectMeta: meta.ObjectMeta{Namespace: "shop", Name: "test"}}
	check(t, yaml.UnmarshalStrict([]byte(text), &p.Spec))
	return p
}

// world has a web front and its database in one namespace, and a stranger.
func world(policies ...*networking.NetworkPolicy) World {
	return World{
		Node: "here", Policies: policies,
		Namespaces: []*core.Namespace{
			{ObjectMeta: meta.ObjectMeta{Name: "shop", Labels: map[string]string{"kubernetes.io/metadata.name": "shop"}}},
			{ObjectMeta: meta.ObjectMeta{Name: "other", Labels: map[string]string{"kubernetes.io/metadata.name": "other"}}},
		},
		Pods: []*core.Pod{pod("shop", "web", "10.0.0.1"), pod("shop", "db", "10.0.0.2"), pod("other", "web", "10.0.0.3")},
	}
}

// chain gives the rules of one chain, by line.
func chain(t *testing.T, rules, name string) []string {
	t.Helper()
	_, rest, found := strings.Cut(rules, "\tchain "+name+" {\n")
	if !found {
		return nil
	}
	body, _, _ := strings.Cut(rest, "\t}\n")
	return strings.Split(strings.ReplaceAll(strings.TrimSuffix(body, "\n"), "\t", ""), "\n")
}

func TestRulesFollowFromPolicies(t *testing.T) {
	for _, c := range []struct{ name, policy, chain, want string }{
		{"deny all", `{podSelector: {}, policyTypes: [Ingress]}`, "in_10_0_0_2", "ip saddr 10.0.0.2 return|drop"},
		{"another direction is free", `{podSelector: {}, policyTypes: [Ingress]}`, "out_10_0_0_2", ""},
		{"another namespace is free", `{podSelector: {}, policyTypes: [Ingress]}`, "in_10_0_0_3", ""},
		{"not selected is free", `{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}`, "in_10_0_0_1", ""},
		{"all may", `{podSelector: {}, policyTypes: [Ingress], ingress: [{}]}`, "in_10_0_0_2", "ip saddr 10.0.0.2 return|return|drop"},
		{"a pod of the same namespace", `{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 6379}]}]}`,
			"in_10_0_0_2", "ip saddr 10.0.0.2 return|ip saddr { 10.0.0.1 } tcp dport 6379 return|drop"},
		{"a namespace", `{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress], ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: other}}}]}]}`,
			"in_10_0_0_2", "ip saddr 10.0.0.2 return|ip saddr { 10.0.0.3 } return|drop"},
		{"a pod of any namespace", `{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress], ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}]}]}`,
			"in_10_0_0_2", "ip saddr 10.0.0.2 return|ip saddr { 10.0.0.1, 10.0.0.3 } return|drop"},
		{"nobody is such a pod", `{podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {app: none}}}]}]}`, "in_10_0_0_1", "ip saddr 10.0.0.1 return|drop"},
		{"a block with a hole", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 192.0.2.9/24, except: [192.0.2.128/25]}}]}]}`,
			"out_10_0_0_1", "ip daddr 10.0.0.1 return|ip daddr 192.0.2.0/24 ip daddr != 192.0.2.128/25 return|drop"},
		{"a range, and a whole protocol", `{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 30000, endPort: 30010}, {protocol: UDP}]}]}`,
			"out_10_0_0_1", "ip daddr 10.0.0.1 return|meta l4proto udp return|tcp dport 30000-30010 return|drop"},
		{"a port's name is its own pod's", `{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: web}]}]}`, "in_10_0_0_1", "ip saddr 10.0.0.1 return|tcp dport 8080 return|drop"},
		{"a name that no port has", `{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: nil}]}]}`, "in_10_0_0_1", "ip saddr 10.0.0.1 return|drop"},
		{"a port's name is the peer's", `{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: web}]}]}`,
			"out_10_0_0_1", "ip daddr 10.0.0.1 return|ip daddr 10.0.0.2 tcp dport 8080 return|drop"},
	} {
		rules := Render(world(policyOf(t, c.policy)))
		if got := strings.Join(chain(t, rules, c.chain), "|"); got != c.want {
			t.Errorf("%s: got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestPodsWithoutAnAddressOfTheirOwnHaveNoRules(t *testing.T) {
	w := world(policyOf(t, `{podSelector: {}, policyTypes: [Ingress]}`))
	w.Pods[0].Spec.HostNetwork = true
	w.Pods[1].Status.Phase = core.PodSucceeded
	if rules := Render(w); strings.Contains(rules, "chain in_") {
		t.Errorf("got\n%swant no chain of a pod", rules)
	}
}

func TestAnAddressCountsBeforeThePodsStatusTellsIt(t *testing.T) {
	w := world(policyOf(t, `{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}`))
	w.Pods[1].Status.PodIP = ""
	w.Given = map[types.UID]netip.Addr{"shopdb": netip.MustParseAddr("10.0.0.9")}
	if got := chain(t, Render(w), "in_10_0_0_9"); len(got) != 2 {
		t.Errorf("got %q, want the chain of the address that it was given", got)
	}
}

func TestPoliciesAddUp(t *testing.T) {
	rules := Render(world(
		policyOf(t, `{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: 1}]}]}`),
		policyOf(t, `{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: 2}]}]}`)))
	if got := strings.Join(chain(t, rules, "in_10_0_0_1"), "|"); got != "ip saddr 10.0.0.1 return|tcp dport 1 return|tcp dport 2 return|drop" {
		t.Errorf("got %s, want both", got)
	}
}
