// Package issuers knows the other verifiers whose tokens a broker takes.
//
// A file names them and what their tokens are known by: keys, certificates, or
// the URL at which they publish their keys, for which one CA alone may vouch.
// The file is followed while the broker runs. Keys from a URL are fetched each
// minute, by nobody's request but this package's, and are forgotten when the
// URL has not answered for ten minutes: who cannot withdraw a key is not trusted.
package issuers

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"time"

	"holdfast/internal/broker"
	"holdfast/internal/follow"
	"holdfast/internal/input"
)

const (
	fetchEvery = time.Minute
	fetchTime  = 10 * time.Second // that one answer may take
	keepFor    = 10 * time.Minute
)

type publicKeys = map[string]crypto.PublicKey

// Config says where issuers are listed.
type Config struct {
	File string
	Now  func() time.Time // time.Now when nil
	Log  *slog.Logger     // discards when nil
}

// A List is what a file lists. Nil lists nobody.
type List struct {
	c    Config
	file *follow.File[[]entry]

	mu      sync.Mutex
	fetched map[string]fetched // guarded by mu; by URL
}

type fetched struct {
	keys publicKeys
	at   time.Time
}

// Open reads the list. Keys behind URLs come with Watch.
func Open(c Config) (*List, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	file, err := follow.Open(follow.Config[[]entry]{
		Read: func() ([]entry, []string, error) { return load(c.File) }, Trust: true, Now: c.Now, Log: c.Log,
	})
	return &List{c: c, file: file, fetched: map[string]fetched{}}, err
}

// Get is who is trusted now.
func (l *List) Get() []broker.Issuer {
	if l == nil {
		return nil
	}
	entries := l.file.Get()
	all := make([]broker.Issuer, len(entries))
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, e := range entries {
		all[i] = e.Issuer
		f, ok := l.fetched[e.url]
		if !ok || l.c.Now().Sub(f.at) > keepFor {
			continue
		}
		all[i].Keys = maps.Clone(f.keys)
		maps.Copy(all[i].Keys, e.Keys)
	}
	return all
}

// Watch looks at the file each second, and at URLs each minute or when the file
// has changed, until ctx ends.
func (l *List) Watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	next := map[string]time.Time{}
	for {
		for _, e := range l.file.Get() {
			if now := l.c.Now(); e.url != "" && !now.Before(next[e.url]) {
				next[e.url] = now.Add(fetchEvery)
				l.fetch(ctx, e)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (l *List) fetch(ctx context.Context, e entry) {
	keys, err := get(ctx, e)
	if err != nil {
		if ctx.Err() == nil {
			l.c.Log.Warn("keys of an issuer cannot be had; those that are known are good for ten minutes more at most", "issuer", e.Name, "cause", err)
		}
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fetched[e.url] = fetched{keys, l.c.Now()}
}

func get(ctx context.Context, e entry) (publicKeys, error) {
	ctx, stop := context.WithTimeout(ctx, fetchTime)
	defer stop()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: e.ca, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return errors.New("it leads elsewhere")
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", e.url, response.Status)
	}
	raw, err := input.ReadAll(io.LimitReader(response.Body, input.Document+1), input.Document)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.url, err)
	}
	return parseKeys(raw)
}
