package wiring

import (
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"holdfast/internal/blob/ipfs"
	"holdfast/internal/peer"
	"holdfast/internal/registry"
)

// Facts are what running services say of themselves to people.
type Facts struct {
	Since    time.Time // when they were started
	Registry string    // as HOST:PORT
	Broker   string    // the same
	Free     int64     // bytes that the disk can take
	ReadOnly bool
	Rules    bool // say who may see what
	Swarm    *SwarmFacts
	Kept     []KeptFacts
	KeptMore bool     // than those
	Upstream []string // the prefixes of repositories that come from other registries
}

// SwarmFacts tell of this node among its peers.
type SwarmFacts struct {
	ID    string // of this node
	Peers []PeerFacts
}

// PeerFacts tell of one peer.
type PeerFacts struct{ ID, Address, State string }

// KeptFacts tell of a blob that stays though no repository may name it.
type KeptFacts struct {
	Digest, CID string // the CID is empty for one of several blocks
	Size        int64
}

// maxKept bounds those that are told of.
const maxKept = 100

// A front stands at the registry's port: the distribution API, pages for
// people, and what watches a service. It hands on paths as they came.
type front struct {
	registry, pages http.Handler
	metrics         http.Handler
	dir             string // of the registry
}

func (f *front) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	first, _, _ := strings.Cut(strings.TrimPrefix(q.URL.Path, "/"), "/")
	switch first {
	case "healthz":
		f.health(w)
	case "metrics":
		f.metrics.ServeHTTP(w, q)
	case "", "web", "repository", "image", "login":
		f.pages.ServeHTTP(w, q)
	default:
		f.registry.ServeHTTP(w, q)
	}
}

// health is for whoever restarts services that do not answer: it says that
// the folder can be read, and no more.
func (f *front) health(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	if _, err := free(f.dir); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"status":"the registry's folder cannot be read"}` + "\n"))
		return
	}
	_, _ = w.Write([]byte(`{"status":"ok"}` + "\n"))
}

// newFront puts the registry's handler behind the front.
func (s *Services) newFront(c ServeConfig, config registry.Config, api http.Handler, m *metrics) http.Handler {
	f := &front{registry: api, pages: http.NotFoundHandler(), metrics: m.handler(), dir: config.Dir}
	if c.Pages != nil {
		since := time.Now()
		f.pages = c.Pages(api, func(q *http.Request) Facts { return s.facts(c, config, since, q) })
	}
	return f
}

// facts are for everybody who may see a page, and who else is in the swarm for
// this machine's own people.
func (s *Services) facts(c ServeConfig, config registry.Config, since time.Time, q *http.Request) Facts {
	f := Facts{Since: since, Registry: q.Host, Broker: hostOf(s.BrokerURL()), ReadOnly: c.RegistryReadOnly, Rules: s.rules != nil && s.rules.Get() != nil}
	f.Free, _ = free(config.Dir)
	if !isOwn(q) {
		return f
	}
	f.Kept, f.KeptMore = keptIn(config.Dir)
	if s.swarm != nil {
		f.Swarm = s.swarm.facts()
	}
	if s.upstreams != nil {
		f.Upstream = s.upstreams.file.Get().Prefixes()
	}
	return f
}

// keptIn is what blob add and blob import keep in a registry's folder.
func keptIn(dir string) (list []KeptFacts, more bool) {
	blobs, more, err := ipfs.Kept(filepath.Join(dir, ipfs.Dir), maxKept)
	if err != nil {
		return nil, false
	}
	for _, b := range blobs {
		fact := KeptFacts{Digest: string(b.Digest), Size: b.Size}
		if c, err := ipfs.DigestCID(b.Digest); err == nil && b.Size <= ipfs.MaxBlock {
			fact.CID = c.String()
		}
		list = append(list, fact)
	}
	return list, more
}

// isOwn says whether a request is from this machine itself, and not through a
// proxy on it from anywhere.
func isOwn(q *http.Request) bool {
	host, _, err := net.SplitHostPort(q.RemoteAddr)
	return err == nil && net.ParseIP(host).IsLoopback() && q.Header.Get("X-Forwarded-For") == "" && q.Header.Get("Forwarded") == ""
}

func hostOf(url string) string {
	_, host, _ := strings.Cut(url, "://")
	return host
}

func (s *swarm) facts() *SwarmFacts {
	status := s.node.Status()
	f := &SwarmFacts{ID: status.ID}
	for _, p := range status.Peers {
		f.Peers = append(f.Peers, PeerFacts{ID: p.ID, Address: p.Address, State: stateOf(p)})
	}
	return f
}

func stateOf(p peer.Peer) string {
	switch {
	case p.Trouble != "":
		return p.Trouble
	case p.Connected:
		return "connected"
	}
	return "not connected"
}

// free is how many bytes the disk of dir, or of where it will be, can take.
func free(dir string) (int64, error) {
	var s syscall.Statfs_t
	err := syscall.Statfs(dir, &s)
	if err == syscall.ENOENT {
		err = syscall.Statfs(filepath.Dir(dir), &s)
	}
	return int64(s.Bavail) * s.Bsize, err
}
