// Package policy turns NetworkPolicies into nftables rules of one node.
//
// Render is a pure function of what the API says; a Guard keeps a node's rules
// to it. A pod is let onto the network only when its rules are there: see
// Server.
//
// https://kubernetes.io/docs/concepts/services-networking/network-policies/
package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// A World is what the rules of a node follow from.
type World struct {
	Node       string
	Namespaces []*core.Namespace
	Pods       []*core.Pod
	Policies   []*networking.NetworkPolicy
	// Given are addresses that pods were given here and that their status
	// does not tell yet.
	Given map[types.UID]netip.Addr
}

// table is ours alone; it is replaced as a whole, in one transaction.
const table = "holdfast_policy"

// Render gives the input of "nft -f". Traffic between a pod and the node that
// it runs on is never held: kubelet's probes are that, and NetworkPolicy says so.
func Render(w World) string {
	r := &renderer{World: w, labels: map[string]labels.Set{}}
	for _, n := range w.Namespaces {
		r.labels[n.Name] = n.Labels
	}
	var pods []*core.Pod
	for _, p := range w.Pods {
		if p.Spec.NodeName == w.Node && r.address(p).IsValid() {
			pods = append(pods, p)
		}
	}
	slices.SortFunc(pods, func(a, b *core.Pod) int { return r.address(a).Compare(r.address(b)) })
	for _, p := range pods {
		r.pod(p, networking.PolicyTypeIngress)
		r.pod(p, networking.PolicyTypeEgress)
	}
	return r.table()
}

type renderer struct {
	World
	labels  map[string]labels.Set // of namespaces, by name
	chains  strings.Builder
	in, out []string // elements of the maps from a pod's address to its chain
}

func (r *renderer) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "add table ip %s\ndelete table ip %s\ntable ip %s {\n%s", table, table, table, r.chains.String())
	b.WriteString("\tchain forward {\n\t\ttype filter hook forward priority filter; policy accept;\n\t\tct state established,related accept\n")
	if len(r.out) > 0 {
		fmt.Fprintf(&b, "\t\tip saddr vmap { %s }\n", strings.Join(r.out, ", "))
	}
	if len(r.in) > 0 {
		fmt.Fprintf(&b, "\t\tip daddr vmap { %s }\n", strings.Join(r.in, ", "))
	}
	b.WriteString("\t}\n}\n")
	return b.String()
}

// address is a pod's own; one on its node's network has none.
func (r *renderer) address(p *core.Pod) netip.Addr {
	if p.Spec.HostNetwork || p.Status.Phase == core.PodSucceeded || p.Status.Phase == core.PodFailed {
		return netip.Addr{}
	}
	if a, err := netip.ParseAddr(p.Status.PodIP); err == nil && a.Is4() {
		return a
	}
	return r.Given[p.UID]
}

// pod writes the chain of one direction, if a policy isolates the pod in it.
// What a rule allows returns; the rest is dropped.
func (r *renderer) pod(p *core.Pod, direction networking.PolicyType) {
	isolated, rules := false, []string(nil)
	for _, np := range r.Policies {
		if np.Namespace != p.Namespace || !slices.Contains(np.Spec.PolicyTypes, direction) || !selects(&np.Spec.PodSelector, p.Labels) {
			continue
		}
		isolated = true
		rules = append(rules, r.rules(np, p, direction)...)
	}
	if !isolated {
		return
	}
	a := r.address(p)
	name := "in_" + strings.ReplaceAll(a.String(), ".", "_")
	other := "saddr"
	if direction == networking.PolicyTypeEgress {
		name, other = "out"+name[2:], "daddr"
		r.out = append(r.out, fmt.Sprintf("%s : jump %s", a, name))
	} else {
		r.in = append(r.in, fmt.Sprintf("%s : jump %s", a, name))
	}
	// A pod always reaches itself, by a Service too.
	fmt.Fprintf(&r.chains, "\tchain %s {\n\t\tip %s %s return\n", name, other, a)
	slices.Sort(rules)
	for _, rule := range slices.Compact(rules) {
		fmt.Fprintf(&r.chains, "\t\t%s\n", strings.TrimSpace(rule+" return"))
	}
	r.chains.WriteString("\t\tdrop\n\t}\n")
}

// rules are the matches of one policy, for one pod.
func (r *renderer) rules(np *networking.NetworkPolicy, p *core.Pod, direction networking.PolicyType) []string {
	var all []string
	if direction == networking.PolicyTypeIngress {
		for _, rule := range np.Spec.Ingress {
			all = append(all, r.rule(np.Namespace, "saddr", rule.From, rule.Ports, p)...)
		}
		return all
	}
	for _, rule := range np.Spec.Egress {
		all = append(all, r.rule(np.Namespace, "daddr", rule.To, rule.Ports, nil)...)
	}
	return all
}

// selects says whether a selector matches. One that cannot be read, which the
// API does not take, matches nothing.
func selects(s *meta.LabelSelector, of map[string]string) bool {
	selector, err := meta.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(of))
}
