package cluster

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"
)

// meanwhile is a host where another program makes the same networks at the same
// moment.
type meanwhile struct {
	Machines
	taken []netip.Prefix
	left  int // networks that others have first
}

func (h *meanwhile) Check() error                   { return nil }
func (h *meanwhile) Taken() ([]netip.Prefix, error) { return h.taken, nil }
func (h *meanwhile) Alive(Handle) (bool, error)     { return false, nil }

var errUp = errors.New("the network is up")

func (h *meanwhile) Connect(n Network) error {
	if h.left == 0 {
		return errUp
	}
	h.left--
	h.taken = append(h.taken, n.Subnet)
	return ErrTaken
}

func TestANetworkThatAnotherTookMeanwhileIsDrawnAgain(t *testing.T) {
	for others, want := range map[int]error{0: errUp, 1: errUp, 3: errUp, 4: ErrTaken} {
		h := &meanwhile{left: others}
		f, err := New(Config{Dir: t.TempDir(), Machines: h, Now: time.Now,
			Components: func(context.Context, Extras) (*Components, error) { return &Components{}, nil }})
		check(t, err)
		if _, err := f.Create(t.Context(), Wish{Name: "lab"}); !errors.Is(err, want) {
			t.Errorf("%d others: got %v, want %v", others, err, want)
		}
		s, err := f.load("lab")
		if err != nil {
			t.Errorf("%d others: %v", others, err)
			continue
		}
		s.Nodes[0].Machine, h.left = Handle("1"), 1 // it has data: it stays what it is
		check(t, f.save(s))
		if _, err := f.Create(t.Context(), Wish{Name: "lab"}); !errors.Is(err, ErrTaken) {
			t.Errorf("with data: got %v, want %v", err, ErrTaken)
		}
		if again, err := f.load("lab"); err != nil || again.Network.ID != s.Network.ID {
			t.Errorf("with data: got %v, %v, want the cluster that there was", again, err)
		}
	}
}
