package svid

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/attest/kbc"
	"holdfast/internal/ca"
)

// An office certifies by the authority that brokers have.
type office struct {
	t      *testing.T
	folder *ca.Folder
	now    time.Time
	refuse int // so many times
	given  int
}

const web = "bank/workload/web"

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, now: time.Now()}
	var err error
	o.folder, err = ca.New(ca.Config{Dir: t.TempDir(), Now: func() time.Time { return o.now }})
	if err == nil {
		_, err = o.folder.Rotate(t.Context(), ca.Rotation{Domain: "machines.example.org"})
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *office) certify(ctx context.Context, request []byte) (*kbc.Certificate, error) {
	if o.refuse > 0 {
		o.refuse--
		return nil, errors.New("the broker is not there")
	}
	key, err := ca.ParseRequest(request, "spiffe://machines.example.org/"+web)
	if err != nil {
		return nil, err
	}
	issued, err := o.folder.Issue(ctx, web, key)
	if err != nil {
		return nil, err
	}
	o.given++
	c := kbc.Certificate(*issued)
	return &c, nil
}

func (o *office) keeper() Keeper {
	return Keeper{Dir: filepath.Join(o.t.TempDir(), "identity"), UID: os.Getuid(), GID: os.Getgid(), Certify: o.certify,
		Now: func() time.Time { return o.now }, Log: slog.New(slog.DiscardHandler)}
}

func (o *office) read(k Keeper) *x509.Certificate {
	o.t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(k.Dir, CertificateFile), filepath.Join(k.Dir, KeyFile))
	if err != nil {
		o.t.Fatal(err)
	}
	bundle, err := os.ReadFile(filepath.Join(k.Dir, BundleFile))
	if err != nil {
		o.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: o.now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		o.t.Errorf("at %v: %v", o.now, err)
	}
	return pair.Leaf
}

func TestACertificateIsRenewedBeforeItEnds(t *testing.T) {
	o := newOffice(t)
	k := o.keeper()
	first, err := k.Obtain(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before, told, away := o.read(k), 0, false
	if info, err := os.Stat(filepath.Join(k.Dir, KeyFile)); err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("the key: got %v, %v, want a file that its owner alone reads", info, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	k.Renewed = func() { told++ }
	k.Sleep = func(ctx context.Context, d time.Duration) error {
		if o.given == 4 {
			cancel()
			return ctx.Err()
		}
		if o.given == 2 && !away {
			o.refuse, away = 3, true // the broker is not there for a while
		}
		o.now = o.now.Add(d)
		o.read(k) // it is good up to the moment before
		return nil
	}
	k.Keep(ctx, first)
	after := o.read(k)
	if told != 3 || after.NotAfter.Sub(before.NotAfter) < time.Hour {
		t.Errorf("got %d renewals up to %v, want 3 beyond %v", told, after.NotAfter, before.NotAfter)
	}
	if entries, err := os.ReadDir(k.Dir); err != nil || len(entries) != 5 {
		t.Errorf("got %v, %v, want three links, one to a folder, and that", entries, err)
	}
}

func TestWhatTheBrokerGaveIsChecked(t *testing.T) {
	o := newOffice(t)
	other := newOffice(t)
	for want, change := range map[string]func(c *kbc.Certificate){
		"is not PEM":           func(c *kbc.Certificate) { c.Certificate = "" },
		"unknown authority":    func(c *kbc.Certificate) { c.Bundle = "" },
		"is not for":           func(c *kbc.Certificate) { c.ID += "-admin" },
		"ends at another time": func(c *kbc.Certificate) { c.Expires = c.Expires.Add(time.Hour) },
		"is for another key":   nil,
	} {
		k := o.keeper()
		k.Certify = func(ctx context.Context, request []byte) (*kbc.Certificate, error) {
			c, err := o.certify(ctx, request)
			if change == nil { // the one that somebody else asked for
				mine := other.keeper()
				mine.Certify, mine.Dir = o.certify, t.TempDir()
				return mine.Obtain(ctx)
			}
			change(c)
			return c, err
		}
		if _, err := k.Obtain(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		if entries, _ := os.ReadDir(k.Dir); len(entries) > 0 {
			t.Errorf("%s: left %v", want, entries)
		}
	}
}

func TestAWriteThatFailsLeavesNoKey(t *testing.T) {
	o := newOffice(t)
	k := o.keeper()
	if err := os.MkdirAll(filepath.Join(k.Dir, BundleFile, "in the way"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Obtain(t.Context()); err == nil {
		t.Fatal("got no error")
	}
	if keys, _ := filepath.Glob(filepath.Join(k.Dir, "*", KeyFile)); len(keys) > 0 {
		t.Errorf("left %v", keys)
	}
	if err := os.RemoveAll(filepath.Join(k.Dir, BundleFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Obtain(t.Context()); err != nil {
		t.Errorf("the next one: %v", err)
	}
}

func TestAShortCertificateIsTriedOften(t *testing.T) {
	o := newOffice(t)
	k := o.keeper()
	o.refuse = 100
	ctx, cancel := context.WithCancel(t.Context())
	var pauses []time.Duration
	k.Sleep = func(ctx context.Context, d time.Duration) error {
		if pauses = append(pauses, d); len(pauses) == 8 {
			cancel()
		}
		o.now = o.now.Add(d)
		return ctx.Err()
	}
	k.Keep(ctx, &kbc.Certificate{Expires: o.now.Add(time.Minute)})
	if last := pauses[len(pauses)-1]; last != 15*time.Second {
		t.Errorf("pauses of %v, want the last a quarter of a minute", pauses)
	}
}
