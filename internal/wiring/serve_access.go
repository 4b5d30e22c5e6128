package wiring

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"

	"holdfast/internal/access"
	"holdfast/internal/follow"
	"holdfast/internal/input"
	"holdfast/internal/keys"
	"holdfast/internal/registry"
)

// AccessConfig says who may use the registry, and by what it proves itself.
type AccessConfig struct {
	Rules string // file; the installation's own when empty, which need not be there
	URL   string // by which clients reach the registry, when it is not where they think
	// Cert and Key are PEM files of the registry's certificate; the
	// installation's CA makes one when they are empty.
	Cert, Key string
}

// AccessRules is where the rules of who may use the registry are, if any.
func (i Installation) AccessRules() string { return filepath.Join(i.dir, "access.yaml") }

// A gatekeeper stands before the registry. Without one, nil, it is open.
type gatekeeper struct {
	guard *access.Guard
	cert  *follow.File[*tls.Certificate] // nil: the installation's CA makes one
}

func (s *Services) joinAccess(i Installation, c ServeConfig, to *registry.Config) (*gatekeeper, error) {
	if c.Access == nil {
		return nil, nil
	}
	rules, err := i.followRules(c.Access.Rules, c.Log)
	if err != nil {
		return nil, err
	}
	s.watch(rules)
	s.rules = rules
	g := &gatekeeper{}
	if c.Access.Cert != "" {
		if g.cert, err = follow.Open(follow.Config[*tls.Certificate]{Read: c.Access.readPair, Log: c.Log}); err != nil {
			return nil, err
		}
		s.watch(g.cert)
	}
	key := s.ring.Pair(keys.Login).Key.(ed25519.PrivateKey)
	g.guard, err = access.New(access.Config{Rules: rules.Get, Key: key, URL: strings.TrimSuffix(c.Access.URL, "/"), Log: c.Log})
	to.Access = g
	return g, err
}

// watch has a file's changes noted until the services are closed.
func (s *Services) watch(file interface{ Watch(context.Context) }) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		file.Watch(ctx)
	}()
	s.ends = append(s.ends, func() error {
		cancel()
		<-done
		return nil
	})
}

// followRules reads the rules at path. Without one they are the
// installation's, and as long as it has none there are none.
func (i Installation) followRules(path string, log *slog.Logger) (*follow.File[*access.Rules], error) {
	own := path == ""
	if own {
		path = i.AccessRules()
	}
	return follow.Open(follow.Config[*access.Rules]{Log: log, Read: func() (*access.Rules, []string, error) {
		r, err := access.Load(path)
		if own && errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return r, []string{path}, err
	}})
}

// readPair reads a certificate with its chain, and its key.
func (c *AccessConfig) readPair() (*tls.Certificate, []string, error) {
	files := []string{c.Cert, c.Key}
	cert, err := input.ReadFile(c.Cert, input.Key)
	if err != nil {
		return nil, files, fmt.Errorf("certificate: %w", err)
	}
	key, err := input.ReadFile(c.Key, input.Key)
	if err != nil {
		return nil, files, fmt.Errorf("key of the certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, files, fmt.Errorf("certificate %s with key %s: %w", c.Cert, c.Key, err)
	}
	pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0])
	return &pair, files, err
}

// handler lets callers through to next that show nothing untrue.
func (g *gatekeeper) handler(next http.Handler) http.Handler {
	if g == nil {
		return next
	}
	return g.guard.Handler(next)
}

// certificate is how to get the one that was given, or nil.
func (g *gatekeeper) certificate() func() *tls.Certificate {
	if g == nil || g.cert == nil {
		return nil
	}
	return g.cert.Get
}

// Decide is for the registry. It decides by rules alone, so that answers about
// a repository that is not there are those about one that is.
func (g *gatekeeper) Decide(q *http.Request, repository string, action registry.Action) registry.Decision {
	c := access.CallerOf(q.Context())
	switch action {
	case registry.Ping:
		return decide(c.Known(), true, func() string { return g.guard.Challenge(q, access.Pull, "") })
	case registry.List:
		return decide(c.MayList(), true, func() string { return g.guard.ChallengeList(q) })
	}
	a := access.Action(action)
	may := c.May(a, repository)
	if action == registry.Pull && isList(q) {
		may = c.MayList() && c.Could(a, repository)
	}
	if !may && action == registry.Pull && c.LoggedIn() && !c.Could(a, repository) {
		return registry.Decision{Verdict: registry.Hide}
	}
	ask := !c.LoggedIn() || c.Could(a, repository) // a login, or a token for more, may help
	return decide(may, ask, func() string { return g.guard.Challenge(q, a, repository) })
}

func decide(may, ask bool, challenge func() string) registry.Decision {
	switch {
	case may:
		return registry.Decision{Verdict: registry.Allow}
	case ask:
		return registry.Decision{Verdict: registry.Challenge, Challenge: challenge()}
	}
	return registry.Decision{Verdict: registry.Forbid}
}

// isList says whether a request is for the list of repositories, for which a
// client's token names none of them.
func isList(q *http.Request) bool { return strings.HasSuffix(q.URL.Path, "/_catalog") }
