package attack

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/keys"
	"holdfast/internal/wiring/machine"
)

// A rogue registry answers as its operator likes, with the site's own one
// behind it. Its certificate is good: it was the registry all along.
type rogue func(w http.ResponseWriter, r *http.Request, genuine http.Handler)

// rogue starts one, until the lab is closed. Of another ring the certificate
// is another's.
func (s *site) rogue(ring *keys.Ring, h rogue) (api.Endpoint, error) {
	behind, err := url.Parse(s.services.RegistryURL())
	if err != nil {
		return api.Endpoint{}, err
	}
	client, err := machine.Pinned(s.endpoint(s.services.RegistryURL()))
	if err != nil {
		return api.Endpoint{}, err
	}
	genuine := httputil.NewSingleHostReverseProxy(behind)
	genuine.Transport = client.Transport
	return s.serve(ring, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h(w, r, genuine) }))
}

func (s *site) serve(ring *keys.Ring, h http.Handler) (api.Endpoint, error) {
	cert, err := ring.Server(time.Now(), "127.0.0.1")
	if err != nil {
		return api.Endpoint{}, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return api.Endpoint{}, err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan error, 1)
	go func() {
		done <- server.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}))
	}()
	s.lab.Later(func() error {
		err := server.Close()
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	})
	return s.endpoint("https://" + l.Addr().String()), nil
}

// on is a rogue where the request's path has part in it.
func on(part string, h http.HandlerFunc) rogue {
	return func(w http.ResponseWriter, r *http.Request, genuine http.Handler) {
		if strings.Contains(r.URL.Path, part) {
			h(w, r)
			return
		}
		genuine.ServeHTTP(w, r)
	}
}
