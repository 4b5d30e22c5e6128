package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// listening is a host whose ports programs have.
type listening struct {
	Machines
	on uint16
}

var errListens = errors.New("a program listens there")

func (h listening) PortFree(p Published) error {
	if p.Host.Port() == h.on {
		return errListens
	}
	return nil
}

func port(host, proto string) Published {
	return Published{Host: netip.MustParseAddrPort(host), Port: 80, Proto: proto}
}

// A port of this machine leads to one cluster at most.
func TestPortsThatOthersHaveAreNotPublished(t *testing.T) {
	f := &Fleet{Config{Dir: t.TempDir(), Machines: listening{on: 22}}}
	other := &Spec{Name: "other", Nodes: []Node{{Name: "other-1"}}, Network: Network{ID: "0123abcd", Published: []Published{port("127.0.0.1:8080", "tcp"), port("0.0.0.0:53", "udp")}}}
	check(t, f.save(other))
	if _, err := f.load("other"); err != nil {
		t.Fatal(err)
	}
	for words, c := range map[string]struct {
		ports []Published
		want  string
	}{
		"free":                   {[]Published{port("127.0.0.1:8081", "tcp"), port("127.0.0.1:8081", "udp"), port("127.0.0.2:8081", "tcp")}, ""},
		"another address":        {[]Published{port("127.0.0.2:8080", "tcp")}, ""},
		"another protocol":       {[]Published{port("127.0.0.1:8080", "udp")}, ""},
		"twice":                  {[]Published{port("127.0.0.1:1", "tcp"), port("127.0.0.1:1", "tcp")}, "is published, too"},
		"all and one":            {[]Published{port("127.0.0.1:1", "tcp"), port("0.0.0.0:1", "tcp")}, "is published, too"},
		"a cluster's":            {[]Published{port("127.0.0.1:8080", "tcp")}, "cluster other has"},
		"all addresses of one's": {[]Published{port("0.0.0.0:8080", "tcp")}, "cluster other has"},
		"of one that has all":    {[]Published{port("127.0.0.9:53", "udp")}, "cluster other has"},
		"a program's":            {[]Published{port("127.0.0.1:22", "tcp")}, errListens.Error()},
	} {
		had := []Published{port("127.0.0.1:9", "tcp")}
		s := &Spec{Name: "mine", Network: Network{Published: had}}
		err := f.republish(s, c.ports)
		if c.want == "" && (err != nil || len(s.Network.Published) != len(c.ports)) {
			t.Errorf("%s: got %v, %v, want them published", words, s.Network.Published, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || fmt.Sprint(s.Network.Published) != fmt.Sprint(had)) {
			t.Errorf("%s: got %v, %v, want %q and what there was", words, s.Network.Published, err, c.want)
		}
	}
	if err := f.republish(other, other.Network.Published); err != nil {
		t.Errorf("its own once more: %v", err)
	}
}
