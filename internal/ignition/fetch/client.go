package fetch

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
	"golang.org/x/net/http/httpproxy"

	"holdfast/internal/ignition/spec"
)

// maxRedirects is net/http's own; upstream follows without end.
const maxRedirects = 10

// settled is a client for one config's settings.
type settled struct {
	settings types.Ignition
	client   *http.Client
}

// client has the timeouts, proxies and authorities of settings.
func (f *Fetcher) client(ctx context.Context, settings types.Ignition) (*http.Client, error) {
	settings = types.Ignition{Timeouts: settings.Timeouts, Proxy: settings.Proxy, Security: settings.Security}
	f.mu.Lock()
	for _, s := range f.clients {
		if reflect.DeepEqual(s.settings, settings) {
			f.mu.Unlock()
			return s.client, nil
		}
	}
	f.mu.Unlock()
	pool, err := f.authorities(ctx, settings)
	if err != nil {
		return nil, err
	}
	c := &http.Client{Transport: transport(settings, pool), CheckRedirect: redirect}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clients = append(f.clients, settled{settings, c})
	return c, nil
}

// atOnce is how many connections to a server are kept: the files stage asks so
// many times at once.
const atOnce = 8

func transport(settings types.Ignition, pool *x509.CertPool) *http.Transport {
	wait := 10 * time.Second
	if s := settings.Timeouts.HTTPResponseHeaders; s != nil {
		wait = time.Duration(*s) * time.Second
	}
	proxy := proxies(settings.Proxy)
	return &http.Transport{
		Proxy:                 func(r *http.Request) (*url.URL, error) { return proxy(r.URL) },
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: pool},
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: wait,
		IdleConnTimeout:       time.Minute,
		MaxIdleConnsPerHost:   atOnce,
		DisableCompression:    true, // bytes as the server keeps them
	}
}

func proxies(p types.Proxy) func(*url.URL) (*url.URL, error) {
	c := httpproxy.Config{}
	if p.HTTPProxy != nil {
		c.HTTPProxy = *p.HTTPProxy
	}
	if p.HTTPSProxy != nil {
		c.HTTPSProxy = *p.HTTPSProxy
	}
	var hosts []string
	for _, h := range p.NoProxy {
		hosts = append(hosts, string(h))
	}
	c.NoProxy = strings.Join(hosts, ",")
	return c.ProxyFunc()
}

var (
	errRedirects = errors.New("the server redirects again and again")
	errElsewhere = errors.New("the server redirects to what is neither http nor https")
)

// redirect leaves behind the headers of the config, which are for the server
// that it names.
func redirect(r *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return errRedirects
	}
	if r.URL.Scheme != "http" && r.URL.Scheme != "https" {
		return errElsewhere
	}
	r.Header = ourHeaders()
	return nil
}

// authorities adds those of the config to the system's; nil are the system's.
func (f *Fetcher) authorities(ctx context.Context, settings types.Ignition) (*x509.CertPool, error) {
	list := settings.Security.TLS.CertificateAuthorities
	if len(list) == 0 {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // an initramfs may have none
	}
	settings.Security = types.Security{} // they are fetched without one another
	for _, ca := range list {
		raw, err := f.authority(ctx, settings, ca)
		if err != nil {
			return nil, fmt.Errorf("certificate authority: %w", err)
		}
		if err := addAll(pool, raw); err != nil {
			return nil, fmt.Errorf("certificate authority %s: %w", spec.PublicURL(*ca.Source), err)
		}
	}
	return pool, nil
}

// authority fetches one, once: its server may be gone later.
func (f *Fetcher) authority(ctx context.Context, settings types.Ignition, ca types.Resource) ([]byte, error) {
	if ca.Source == nil {
		return nil, errors.New("it has no source")
	}
	key := *ca.Source
	if h := ca.Verification.Hash; h != nil {
		key += " " + *h
	}
	f.mu.Lock()
	raw, ok := f.cas[key]
	f.mu.Unlock()
	if ok {
		return raw, nil
	}
	var b bytes.Buffer
	if err := f.Fetch(ctx, settings, ca, &b); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cas[key] = b.Bytes()
	return b.Bytes(), nil
}

func addAll(pool *x509.CertPool, raw []byte) error {
	for n := 0; ; n++ {
		block, rest := pem.Decode(raw)
		if block == nil {
			if n == 0 || len(bytes.TrimSpace(raw)) > 0 {
				return errors.New("is not PEM, want certificates between BEGIN and END lines")
			}
			return nil
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("certificate %d: %w", n+1, err)
		}
		pool.AddCert(cert)
		raw = rest
	}
}
