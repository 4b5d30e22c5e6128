package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
)

var idForm = regexp.MustCompile(`^[0-9a-f]{8}$`)

// Where networks are looked for, in this order. Pods and services are seen inside
// nodes only, so every cluster may have the same; but not one that this machine knows
// by another meaning.
var (
	subnets  = candidates("10.89.0.0/16", 24)
	pods     = candidates("10.244.0.0/14", 16)
	services = candidates("10.96.0.0/13", 16)
)

func candidates(of string, bits int) []netip.Prefix {
	all := netip.MustParsePrefix(of)
	var out []netip.Prefix
	for p := netip.PrefixFrom(all.Addr(), bits); all.Contains(p.Addr()); p = after(p) {
		out = append(out, p)
	}
	return out
}

// after is the prefix of the same size behind p.
func after(p netip.Prefix) netip.Prefix {
	a := p.Addr().As4()
	for i, carry := (p.Bits()-1)/8, byte(1)<<((8-p.Bits()%8)%8); i >= 0; i-- {
		a[i] += carry
		if a[i] >= carry {
			break
		}
		carry = 1
	}
	return netip.PrefixFrom(netip.AddrFrom4(a), p.Bits())
}

var errNoNetwork = errors.New("no network is free")

// free is the first of all that meets none of taken.
func free(all, taken []netip.Prefix) (netip.Prefix, error) {
	for _, p := range all {
		meets := false
		for _, t := range taken {
			meets = meets || p.Overlaps(t)
		}
		if !meets {
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("%w: this machine knows all from %s to %s", errNoNetwork, all[0], all[len(all)-1])
}

// plan makes the description of a new cluster and keeps it, so that no other
// cluster takes the same networks.
func (f *Fleet) plan(ctx context.Context, name string, nodes int, x Extras) (s *Spec, err error) {
	err = f.alone(ctx, func() error {
		s, err = f.draw(name, nodes)
		if err != nil {
			return err
		}
		s.Extras = x
		return f.save(s)
	})
	return s, err
}

func (f *Fleet) draw(name string, nodes int) (*Spec, error) {
	taken, err := f.Machines.Taken()
	if err != nil {
		return nil, err
	}
	for _, resolver := range f.Resolvers {
		taken = append(taken, netip.PrefixFrom(resolver, resolver.BitLen()))
	}
	s := &Spec{Name: name, Created: f.Now().UTC()}
	id := make([]byte, 4)
	_, _ = rand.Read(id)
	s.Network.ID, s.Network.MTU = hex.EncodeToString(id), f.MTU
	names, err := f.names()
	if err != nil {
		return nil, err
	}
	others := taken
	for _, other := range names { // one that is down has no bridge now
		if o, err := f.load(other); err == nil {
			others = append(others, o.Network.Subnet)
		}
	}
	if s.Network.Subnet, err = free(subnets, others); err != nil {
		return nil, err
	}
	if s.Pods, err = free(pods, taken); err != nil {
		return nil, err
	}
	if s.Services, err = free(services, taken); err != nil {
		return nil, err
	}
	s.Network.Gateway = nth(s.Network.Subnet, 1)
	part := netip.PrefixFrom(s.Pods.Addr(), 24)
	for i := 1; i <= nodes; i++ {
		s.Nodes = append(s.Nodes, Node{Name: fmt.Sprintf("%s-%d", name, i), Index: i, Address: nth(s.Network.Subnet, 1+i), Pods: part})
		part = after(part)
	}
	return s, nil
}
