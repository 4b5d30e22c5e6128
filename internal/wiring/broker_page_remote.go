package wiring

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/broker"
	"holdfast/internal/broker/admin"
	"holdfast/internal/broker/audit"
	"holdfast/internal/keys"
)

// A RemoteWatch shows what a broker does that is served elsewhere, as far as its
// API tells it to an administrator. It only reads. Close it.
type RemoteWatch struct {
	*admin.Client
	roots *x509.CertPool

	mu   sync.Mutex
	dir  string    // has a copy of the log; it and all below are guarded by mu
	size int64     // of the copy
	most int64     // maxLog, but in tests
	at   time.Time // when it was as the broker's
	sum  audit.Report
	of   int64 // the size of the copy that sum is about
}

// freshFor is how long the copy of a log is taken for the broker's.
const freshFor = 2 * time.Second

// maxLog bounds the copy: a broker that lies may tell without an end.
const maxLog = 1 << 30

// WatchRemote has c read. Roots are those of who signs the log's checkpoints.
func WatchRemote(c *admin.Client, roots *x509.CertPool) (*RemoteWatch, error) {
	dir, err := os.MkdirTemp("", "holdfast-page-")
	if err != nil {
		return nil, err
	}
	client := *c.HTTP
	client.Transport = readOnly{client.Transport}
	own := *c
	own.HTTP = &client
	return &RemoteWatch{Client: &own, roots: roots, dir: dir, most: maxLog}, nil
}

// Close forgets what was read.
func (w *RemoteWatch) Close() error {
	w.Client.Close()
	return os.RemoveAll(w.dir)
}

// readOnly lets nothing through that could change a broker.
type readOnly struct{ next http.RoundTripper }

func (r readOnly) RoundTrip(q *http.Request) (*http.Response, error) {
	if q.Method != http.MethodGet {
		return nil, fmt.Errorf("pages only read: %s is not sent", q.Method)
	}
	return r.next.RoundTrip(q)
}

func (r readOnly) CloseIdleConnections() {
	if c, ok := r.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// Log reads the audit log backwards, as audit.Back does.
func (w *RemoteWatch) Log(ctx context.Context, from audit.Mark, read func([]byte, audit.Mark) bool) error {
	w.mu.Lock()
	err := w.follow(ctx)
	w.mu.Unlock()
	if err != nil {
		return err
	}
	err = audit.Back(w.dir, from, func(line []byte, at audit.Mark) bool { return ctx.Err() == nil && read(line, at) })
	return errors.Join(err, ctx.Err())
}

func (w *RemoteWatch) copy() string { return filepath.Join(w.dir, audit.File) }

// follow makes the copy as long as the log. A log that is shorter is another
// one, of a broker that was set back.
func (w *RemoteWatch) follow(ctx context.Context) error {
	if time.Since(w.at) < freshFor {
		return nil
	}
	log, err := w.AuditFrom(ctx, w.size)
	if errors.Is(err, admin.ErrShort) && w.size > 0 {
		if err := os.Remove(w.copy()); err != nil {
			return err
		}
		w.size, w.of = 0, 0
		log, err = w.AuditFrom(ctx, 0)
	}
	if err != nil {
		return err
	}
	defer log.Close()
	f, err := os.OpenFile(w.copy(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(log, w.most-w.size))
	w.size += n
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if w.size >= w.most {
		return fmt.Errorf("broker %s: its audit log has %d bytes or more: the pages at the broker itself show it", w.URL, w.most)
	}
	w.at = time.Now()
	return nil
}

// Verify checks the whole log. That its end is missing cannot be seen from
// elsewhere.
func (w *RemoteWatch) Verify(ctx context.Context) (audit.Report, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.follow(ctx); err != nil || w.of == w.size && w.of > 0 {
		return w.sum, err
	}
	report, err := audit.Verify([]string{w.copy()}, nil, w.roots)
	if err == nil {
		w.sum, w.of = report, w.size
	}
	return report, err
}

// Decisions tells of those about sessions.
func (w *RemoteWatch) Decisions(ctx context.Context, sessions []string, tell func(api.RecordedDecision)) error {
	return w.DecisionsOf(ctx, sessions, tell)
}

// Keys tells of those that sign attestation results: a broker tells strangers
// of no others.
func (w *RemoteWatch) Keys(ctx context.Context) (list []KeyFacts, err error) {
	known, err := w.TokenKeys(ctx)
	for n, k := range known {
		f := KeyFacts{Name: keys.Token, Purpose: keys.Purpose(keys.Token), Retired: n > 0}
		if f.ID, err = broker.KeyID(k.Key); err != nil {
			return nil, err
		}
		if len(k.Certificates) > 0 {
			f.From, f.Until = k.Certificates[0].NotBefore, k.Certificates[0].NotAfter
		}
		list = append(list, f)
	}
	return list, err
}

// Health looks whether the broker answers, and whether its log holds.
func (w *RemoteWatch) Health(ctx context.Context) (h BrokerHealth, err error) {
	h.Free = -1
	h.count(ctx, w.Client)
	report, err := w.Verify(ctx)
	h.judge(report, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	h.LogSize = w.size
	return h, nil
}

// ServeRemotePages serves pages about the broker that w reads, to this machine
// only.
func ServeRemotePages(w *RemoteWatch, address string, pages http.Handler) (*BrokerPages, error) {
	if !isLoopback(address) {
		return nil, notLoopback(address)
	}
	served, err := listen("broker's pages", address, pages, nil)
	if err != nil {
		return nil, err
	}
	return &BrokerPages{served, w}, nil
}
