package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// rule is what one rule of a policy in namespace allows: any of its peers on
// any of its ports. A port's name is looked up at who is connected to: that is
// target, or each peer when target is nil.
func (r *renderer) rule(namespace, field string, peers []networking.NetworkPolicyPeer, ports []networking.NetworkPolicyPort, target *core.Pod) []string {
	fixed, named := portMatches(ports, target)
	var all []string
	for _, from := range r.peers(namespace, field, peers) {
		for _, port := range fixed {
			all = append(all, strings.TrimSpace(from+" "+port))
		}
	}
	if target == nil {
		for _, port := range named {
			all = append(all, r.namedAt(namespace, field, peers, port)...)
		}
	}
	return all
}

// peers are matches on the other end's address.
func (r *renderer) peers(namespace, field string, peers []networking.NetworkPolicyPeer) []string {
	if len(peers) == 0 {
		return []string{""}
	}
	var all []string
	for _, peer := range peers {
		if peer.IPBlock != nil {
			all = append(all, block(field, peer.IPBlock)...)
			continue
		}
		var addresses []string
		for _, p := range r.selected(namespace, peer) {
			addresses = append(addresses, r.address(p).String())
		}
		if len(addresses) > 0 {
			slices.Sort(addresses)
			all = append(all, fmt.Sprintf("ip %s { %s }", field, strings.Join(slices.Compact(addresses), ", ")))
		}
	}
	return all
}

// selected are the pods that a peer means, which have an address.
func (r *renderer) selected(namespace string, peer networking.NetworkPolicyPeer) []*core.Pod {
	var all []*core.Pod
	for _, p := range r.Pods {
		in := p.Namespace == namespace
		if peer.NamespaceSelector != nil {
			of, known := r.labels[p.Namespace]
			in = known && selects(peer.NamespaceSelector, of)
		}
		if in && r.address(p).IsValid() && (peer.PodSelector == nil || selects(peer.PodSelector, p.Labels)) {
			all = append(all, p)
		}
	}
	return all
}

// block matches addresses outside and inside the cluster. One of IPv6 is of no
// pod here.
func block(field string, b *networking.IPBlock) []string {
	whole, err := netip.ParsePrefix(b.CIDR)
	if err != nil || !whole.Addr().Is4() {
		return nil
	}
	match := fmt.Sprintf("ip %s %s", field, whole.Masked())
	for _, except := range b.Except {
		if part, err := netip.ParsePrefix(except); err == nil && part.Addr().Is4() {
			match += fmt.Sprintf(" ip %s != %s", field, part.Masked())
		}
	}
	return []string{match}
}

// portMatches are matches on the port connected to. Names that target does not
// know allow nothing; without a target they are given back.
func portMatches(ports []networking.NetworkPolicyPort, target *core.Pod) (fixed []string, named []networking.NetworkPolicyPort) {
	if len(ports) == 0 {
		return []string{""}, nil
	}
	for _, p := range ports {
		protocol := protocolOf(p.Protocol)
		switch {
		case p.Port == nil:
			fixed = append(fixed, "meta l4proto "+protocol)
		case p.Port.Type == intstr.Int && p.EndPort != nil:
			fixed = append(fixed, fmt.Sprintf("%s dport %d-%d", protocol, p.Port.IntVal, *p.EndPort))
		case p.Port.Type == intstr.Int:
			fixed = append(fixed, fmt.Sprintf("%s dport %d", protocol, p.Port.IntVal))
		case target == nil:
			named = append(named, p)
		default:
			for _, number := range numbers(target, p) {
				fixed = append(fixed, fmt.Sprintf("%s dport %d", protocol, number))
			}
		}
	}
	return fixed, named
}

// namedAt allows a named port of each peer that has it.
func (r *renderer) namedAt(namespace, field string, peers []networking.NetworkPolicyPeer, port networking.NetworkPolicyPort) []string {
	if len(peers) == 0 {
		peers = []networking.NetworkPolicyPeer{anyPod}
	}
	var all []string
	for _, peer := range peers {
		if peer.IPBlock != nil {
			continue // an address has no names
		}
		for _, p := range r.selected(namespace, peer) {
			for _, number := range numbers(p, port) {
				all = append(all, fmt.Sprintf("ip %s %s %s dport %d", field, r.address(p), protocolOf(port.Protocol), number))
			}
		}
	}
	return all
}

// numbers are those of a named port of a pod.
func numbers(p *core.Pod, port networking.NetworkPolicyPort) []int32 {
	var all []int32
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		for _, has := range c.Ports {
			if has.Name == port.Port.StrVal && protocolOf(&has.Protocol) == protocolOf(port.Protocol) {
				all = append(all, has.ContainerPort)
			}
		}
	}
	return all
}

func protocolOf(p *core.Protocol) string {
	if p == nil {
		return "tcp"
	}
	return strings.ToLower(string(cmp.Or(*p, core.ProtocolTCP)))
}
