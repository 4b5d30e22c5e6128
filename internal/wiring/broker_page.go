package wiring

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/broker"
	"holdfast/internal/broker/admin"
	"holdfast/internal/broker/audit"
	"holdfast/internal/keys"
)

// KeyFacts tell of a key of the broker's, as far as it is public.
type KeyFacts struct {
	Name, Purpose, ID string
	From, Until       time.Time // of its certificate
	Retired           bool      // it signs no more; Until says how long what it signed is good
}

// BrokerHealth tells whether a broker could do its work now.
type BrokerHealth struct {
	Problems       []string // none: all is well
	Free           int64    // bytes of the disk; negative: not told
	LogSize        int64
	Resources      int
	Images         int
	Configurations int
}

// A BrokerWatch shows what the installation's broker does. It only reads, and
// what it tells holds no secret.
type BrokerWatch struct {
	*admin.Client
	installation Installation
	broker       *broker.Broker
	state        *brokerState
	roots        *x509.CertPool

	mu       sync.Mutex
	verified audit.Report // guarded by mu
	at       time.Time    // when it was; guarded by mu
	head     api.AuditHead
}

// watch makes a BrokerWatch of an open broker.
func (i Installation) watch(ring *keys.Ring, b *broker.Broker, kept *brokerState) *BrokerWatch {
	client := newAdmin(ring, "http://broker.localhost", "page")
	client.HTTP = &http.Client{Transport: inProcess{b, nothing{}}}
	return &BrokerWatch{Client: client, installation: i, broker: b, state: kept, roots: ring.RootPool()}
}

type nothing struct{}

func (nothing) Close() error { return nil }

// A BrokerPages is a server of pages about a broker. Close it.
type BrokerPages struct {
	served *server
	rests  io.Closer // what the pages are made of
}

// URL is where they are.
func (p *BrokerPages) URL() string { return p.served.url }

// Close ends the requests under way, then the server.
func (p *BrokerPages) Close() error { return errors.Join(p.served.close(drainTime), p.rests.Close()) }

// ServeBrokerPages serves pages about the installation's broker, be that served
// or not, to this machine only.
func (i Installation) ServeBrokerPages(ring *keys.Ring, address string, pages func(*BrokerWatch) http.Handler) (*BrokerPages, error) {
	if !isLoopback(address) {
		return nil, notLoopback(address)
	}
	b, kept, err := i.newBroker(ring, TPMTrust{}, EvidenceConfig{}, nil)
	if err != nil {
		return nil, err
	}
	// Whoever looks at what machines proved is told of, as who changes something.
	if err := b.RecordOpenedPage(context.Background(), "cli", address); err != nil {
		return nil, errors.Join(err, kept.Close())
	}
	served, err := i.listen(ring, "broker's pages", address, pages(i.watch(ring, b, kept)), false, nil)
	if err != nil {
		return nil, errors.Join(err, kept.Close())
	}
	return &BrokerPages{served, kept}, nil
}

func notLoopback(address string) error {
	return fmt.Errorf("pages about the broker: %s is not an address of this machine's own, as 127.0.0.1:0", address)
}

// Log reads the audit log backwards, as audit.Back does.
func (w *BrokerWatch) Log(ctx context.Context, from audit.Mark, read func([]byte, audit.Mark) bool) error {
	err := audit.Back(w.installation.Broker(), from, func(line []byte, at audit.Mark) bool { return ctx.Err() == nil && read(line, at) })
	return errors.Join(err, ctx.Err())
}

// Decisions tells of those about sessions.
func (w *BrokerWatch) Decisions(ctx context.Context, sessions []string, tell func(api.RecordedDecision)) error {
	return w.state.DecisionsOf(ctx, sessions, tell)
}

// verifiedFor is how long a report of the log holds while nothing is written.
const verifiedFor = 10 * time.Second

// Verify checks the whole log. Many who ask at once share one look.
func (w *BrokerWatch) Verify(ctx context.Context) (audit.Report, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	head, err := w.state.AuditHead(ctx) // before the files: others may be appending
	if err != nil || head == w.head && time.Since(w.at) < verifiedFor {
		return w.verified, err
	}
	files, err := audit.Files(w.installation.Broker())
	if err != nil {
		return audit.Report{}, err
	}
	report, err := audit.Verify(files, &head, w.roots)
	if err == nil {
		w.verified, w.head, w.at = report, head, time.Now()
	}
	return report, err
}

// Keys tells of the public halves of the broker's keys.
func (w *BrokerWatch) Keys(ctx context.Context) (list []KeyFacts, err error) {
	ring, err := w.installation.Ring(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{keys.Root, keys.Token, keys.Broker, keys.Admin, keys.TLS} {
		cert := ring.Pair(name).Certificate
		id, err := broker.KeyID(cert.PublicKey)
		if err != nil {
			return nil, err
		}
		list = append(list, KeyFacts{Name: name, Purpose: keys.Purpose(name), ID: id, From: cert.NotBefore, Until: cert.NotAfter})
	}
	tokens, err := readTokenKeys(w.installation.Keys())
	for _, r := range tokens.Retired {
		id, err := broker.KeyID(r.Public)
		if err != nil {
			return nil, err
		}
		list = append(list, KeyFacts{Name: keys.Token, Purpose: "signed attestation results", ID: id, Until: r.Until, Retired: true})
	}
	return list, err
}

func (h *BrokerHealth) note(what string, err error) {
	if err != nil {
		h.Problems = append(h.Problems, fmt.Sprintf("%s: %v", what, err))
	}
}

// count counts what the API lists.
func (h *BrokerHealth) count(ctx context.Context, c *admin.Client) {
	resources, err := c.Resources(ctx)
	h.note("resources", err)
	images, err := c.Images(ctx)
	h.note("images", err)
	configurations, err := c.Configurations(ctx)
	h.note("configurations", err)
	h.Resources, h.Images, h.Configurations = len(resources), len(images), len(configurations)
}

// judge notes what is wrong with the log.
func (h *BrokerHealth) judge(r audit.Report, err error) {
	h.note("audit log", err)
	for _, p := range r.Problems {
		h.note("audit log", errors.New(p.String()))
	}
}

// Health looks whether the parts that a decision needs are there.
func (w *BrokerWatch) Health(ctx context.Context) (h BrokerHealth, err error) {
	h.note("policies", w.broker.Check(ctx))
	h.Free, err = free(w.installation.Broker())
	h.note("disk", err)
	h.count(ctx, w.Client)
	files, err := audit.Files(w.installation.Broker())
	h.note("audit log", err)
	report, err := w.Verify(ctx)
	h.judge(report, err)
	for _, path := range files {
		if info, err := os.Stat(path); err == nil {
			h.LogSize += info.Size()
		}
	}
	return h, nil
}
