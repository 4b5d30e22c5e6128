package access

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// source is who sends a request as far as brakes are concerned: of IPv6 the
// network, as one machine has all of its addresses.
func (r *Rules) source(q *http.Request) string {
	at, err := netip.ParseAddrPort(q.RemoteAddr)
	if err != nil {
		return q.RemoteAddr
	}
	ip := r.behind(at.Addr().Unmap(), q).WithZone("")
	if ip.Is6() {
		if network, err := ip.Prefix(64); err == nil {
			return network.String()
		}
	}
	return ip.String()
}

// behind is for whom a proxy asks: the last address that no proxy of ours has
// put there for another. Anybody may have written what stands before it.
func (r *Rules) behind(ip netip.Addr, q *http.Request) netip.Addr {
	list := strings.Split(strings.Join(q.Header.Values("X-Forwarded-For"), ","), ",")
	for _, word := range slices.Backward(list) {
		next, err := netip.ParseAddr(strings.TrimSpace(word))
		if err != nil || !r.isProxy(ip) {
			return ip
		}
		ip = next.Unmap()
	}
	return ip
}

func (r *Rules) isProxy(ip netip.Addr) bool {
	return slices.ContainsFunc(r.proxies, func(p netip.Prefix) bool { return p.Contains(ip.WithZone("")) })
}

// isSecure says whether the client speaks TLS, to us or to our proxy.
func (r *Rules) isSecure(q *http.Request) bool {
	at, err := netip.ParseAddrPort(q.RemoteAddr)
	return q.TLS != nil || err == nil && r.isProxy(at.Addr().Unmap()) && q.Header.Get("X-Forwarded-Proto") == "https"
}
