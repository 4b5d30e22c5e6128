package container

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"

	"holdfast/internal/api"
)

// relay carries connections until ctx ends. The socket is looked up for each: the
// host's service may come and go.
func relay(ctx context.Context, work *sync.WaitGroup, r api.Relay) error {
	var cfg net.ListenConfig
	l, err := cfg.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", r.Port))
	if err != nil {
		return err
	}
	work.Go(func() {
		defer context.AfterFunc(ctx, func() { _ = l.Close() })()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { carry(ctx, c, r.Socket) })
		}
	})
	return nil
}

func carry(ctx context.Context, from net.Conn, socket string) {
	defer from.Close()
	var d net.Dialer
	to, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return // the caller sees a connection that ends
	}
	defer to.Close()
	defer context.AfterFunc(ctx, func() { _ = from.Close(); _ = to.Close() })()
	var both sync.WaitGroup
	both.Go(func() { pour(to, from) })
	both.Go(func() { pour(from, to) })
	both.Wait()
}

// pour copies until one side has said all, and tells the other.
func pour(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
