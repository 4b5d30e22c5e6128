package wiring

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"syscall"
	"time"
)

// drainTime is how long requests under way may take when a server stops.
const drainTime = 10 * time.Second

// quietLog drops what net/http says of clients that break off or do not speak
// TLS: it is about them, not about us.
var quietLog = log.New(io.Discard, "", 0)

// A server answers on one address until it is closed.
type server struct {
	name string
	url  string
	port uint16
	http *http.Server
	done chan error
}

// A PortTakenError says that another program listens where we were to.
type PortTakenError struct{ Service, Address string }

func (e *PortTakenError) Error() string {
	return fmt.Sprintf("%s: %s is taken by another program", e.Service, e.Address)
}

// listen starts answering on address; with certificates it speaks TLS.
func listen(name, address string, h http.Handler, certs *certificates) (*server, error) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, &PortTakenError{Service: name, Address: address}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	scheme := "http"
	if certs != nil {
		scheme = "https"
		l = tls.NewListener(l, &tls.Config{
			GetCertificate: certs.get, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		})
	}
	addr := l.Addr().(*net.TCPAddr)
	s := &server{
		name: name, url: scheme + "://" + addr.String(), port: uint16(addr.Port), done: make(chan error, 1),
		http: &http.Server{
			Handler: h, ReadHeaderTimeout: 20 * time.Second, IdleTimeout: 2 * time.Minute,
			MaxHeaderBytes: 64 << 10, ErrorLog: quietLog,
		},
	}
	go func() { s.done <- s.http.Serve(l) }()
	return s, nil
}

// close drains the server: requests under way are answered, new ones are not
// taken. A client that takes longer than wait is cut off.
func (s *server) close(wait time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err != nil {
		return fmt.Errorf("stop %s: %w", s.name, err)
	}
	return nil
}

// isLoopback says whether only this machine can reach address.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
