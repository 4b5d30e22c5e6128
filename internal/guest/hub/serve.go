package hub

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// How much a workload may ask at once: it is the machine's memory that answers.
const (
	maxConnections = 64
	maxHeader      = 16 << 10
	patience       = time.Minute // with a request, and with a connection that says nothing
	drain          = time.Second
)

// Serve answers at address until stop is called.
func Serve(address string, h http.Handler) (stop func(), err error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	server := &http.Server{
		Handler: h, MaxHeaderBytes: maxHeader, ReadTimeout: patience, IdleTimeout: patience,
		ErrorLog: log.New(io.Discard, "", 0), // what a workload sends is no news of the machine
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(newBounded(l)); !errors.Is(err, http.ErrServerClosed) {
			_ = server.Close()
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), drain)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
		<-done
	}, nil
}

// bounded accepts no more connections at once than it has places.
type bounded struct {
	net.Listener
	places chan struct{}
	closed chan struct{}
}

func newBounded(l net.Listener) *bounded {
	return &bounded{Listener: l, places: make(chan struct{}, maxConnections), closed: make(chan struct{})}
}

func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.places <- struct{}{}:
	case <-b.closed:
		return nil, net.ErrClosed
	}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.places
		return nil, err
	}
	return &placed{Conn: c, places: b.places}, nil
}

func (b *bounded) Close() error {
	select {
	case <-b.closed:
	default:
		close(b.closed)
	}
	return b.Listener.Close()
}

// placed gives its place back once.
type placed struct {
	net.Conn
	places chan struct{}
	once   sync.Once
}

func (p *placed) Close() error {
	p.once.Do(func() { <-p.places })
	return p.Conn.Close()
}
