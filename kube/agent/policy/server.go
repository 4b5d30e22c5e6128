package policy

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// A request is what the CNI plugin holdfast-policy asks: one JSON object, and
// one is the answer.
type request struct {
	Namespace string     `json:"namespace"`
	Name      string     `json:"name"`
	UID       types.UID  `json:"uid"`
	Address   netip.Addr `json:"address"`
}

type answer struct {
	Error string `json:"error,omitempty"`
}

// patience bounds one request.
const patience = 20 * time.Second

// Serve answers at the Unix socket path until ctx ends: each pod's sandbox is
// made only when its rules are there, so no pod has a moment without them.
func (g *Guard) Serve(ctx context.Context, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(err, l.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		all.Go(func() {
			defer c.Close()
			g.answer(ctx, c)
		})
	}
}

func (g *Guard) answer(ctx context.Context, c net.Conn) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_ = c.SetDeadline(time.Now().Add(patience + time.Second))
	var r request
	err := json.NewDecoder(c).Decode(&r)
	if err == nil && !r.Address.Is4() {
		err = errors.New("want an IPv4 address")
	}
	if err == nil {
		err = g.Admit(ctx, r.Namespace, r.Name, r.UID, r.Address)
	}
	var a answer
	if err != nil {
		a.Error = err.Error()
		g.log.Error("pod was not let onto the network", "namespace", r.Namespace, "pod", r.Name, "error", err)
	}
	_ = json.NewEncoder(c).Encode(a)
}
