package wiring

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// serveNodes answers on the socket by which nodes of clusters reach the registry:
// a network of theirs would be one more way in. They may read, and no more. Of two
// that serve one installation, the first has the socket.
func (s *Services) serveNodes(i Installation, registry http.Handler) error {
	path := i.registrySocket()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if c, err := dialUnix(path); err == nil {
		return c.Close()
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l, err := listenUnix(path)
	if err != nil {
		return fmt.Errorf("registry of nodes: %w", err)
	}
	server := &http.Server{Handler: readingOnly(registry), ReadHeaderTimeout: 20 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: quietLog}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	s.ends = append(s.ends, func() error {
		err := server.Close()
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	})
	return nil
}

// readingOnly refuses all that would change something.
func readingOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "nodes may read only", http.StatusMethodNotAllowed)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func dialUnix(path string) (c net.Conn, err error) {
	err = shortened(path, func(short string) error {
		c, err = net.Dial("unix", short)
		return err
	})
	return c, err
}
