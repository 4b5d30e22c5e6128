package platform

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"

	"holdfast/internal/ignition"
)

// userData is where both the metadata service and the config drive have it
// (Nova, "Metadata", OpenStack format).
const userData = "openstack/latest/user_data"

// openstack looks for a config drive, which is labelled config-2, and asks the
// metadata service, at once: whichever answers first counts, as upstream has it.
// A machine that has one of them and no user data has an empty config. Without
// the network neither may be all.
func openstack(ctx context.Context, c Config, ask ignition.Ask) (ignition.Provided, error) {
	drive := func(ctx context.Context) (ignition.Provided, error) {
		found, err := c.await(ctx, labelled("config-2"))
		if err != nil {
			return ignition.Provided{}, err
		}
		p, err := read(found[0], userData)
		p.Origin = nil // its maker is the cloud's, not this machine's owner
		return p, err
	}
	tries := []func(context.Context) (ignition.Provided, error){drive}
	for _, base := range services(c.Metadata) {
		tries = append(tries, func(ctx context.Context) (ignition.Provided, error) {
			return served(ctx, ask, base+"/"+userData, nil)
		})
	}
	p, err := first(ctx, tries)
	if err != nil {
		return ignition.Provided{}, fmt.Errorf("neither a config drive nor a metadata service: %w", err)
	}
	return p, nil
}

// services are that of IPv4 and, on each network that has IPv6, the link-local
// one (Nova, "Metadata service", IPv6).
func services(base string) []string {
	list := []string{base}
	networks, err := net.Interfaces()
	if base != linkLocal || err != nil {
		return list
	}
	for _, n := range networks {
		if n.Flags&net.FlagUp == 0 || n.Flags&net.FlagLoopback != 0 {
			continue
		}
		addresses, _ := n.Addrs()
		for _, a := range addresses {
			if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() == nil {
				list = append(list, "http://[fe80::a9fe:a9fe%25"+url.PathEscape(n.Name)+"]")
				break
			}
		}
	}
	return list
}

// first tries all at once and gives what answers first; the network that is
// missing is told before all else that went wrong.
func first(ctx context.Context, tries []func(context.Context) (ignition.Provided, error)) (ignition.Provided, error) {
	ctx, cancel := context.WithCancel(ctx)
	type answer struct {
		p   ignition.Provided
		err error
	}
	answers := make(chan answer, len(tries))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, try := range tries {
		wg.Go(func() {
			p, err := try(ctx)
			answers <- answer{p, err}
		})
	}
	var whole []error
	for range tries {
		a := <-answers
		if a.err == nil || errors.Is(a.err, ignition.ErrNeedNet) {
			return a.p, a.err
		}
		whole = append(whole, a.err)
	}
	return ignition.Provided{}, errors.Join(whole...)
}
