package broker

import (
	"hash/maphash"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// A Rate is how often something may be done: Burst times at once, and once
// more after each Every. The zero Rate stands for a default, and a negative
// Every for no bound.
type Rate struct {
	Every time.Duration
	Burst int
}

// Limits bound what one party may ask of the broker.
type Limits struct {
	Source Rate // handshakes of one address (of 64 bits, of IPv6): 5 ms, 1000
	Device Rate // attestations of one device: 1 s, 60; a processor counts as 64
	Token  Rate // resources by one attestation: 5 ms, 1000

	SessionsPerDevice int // 16, and 64 times as many of a processor: the oldest ends for the newest
}

func (r Rate) or(every time.Duration, burst int) Rate {
	if r == (Rate{}) {
		return Rate{every, burst}
	}
	return r
}

type brakes struct{ source, device, processor, token *brake }

func (l Limits) brakes() brakes {
	device := l.Device.or(time.Second, 60)
	return brakes{
		source: newBrake(l.Source.or(5*time.Millisecond, 1000)),
		device: newBrake(device), processor: newBrake(device.times(perProcessor)),
		token: newBrake(l.Token.or(5*time.Millisecond, 1000)),
	}
}

// A brake holds a fixed number of cells, to which names are spread by a hash
// that nobody else knows: its memory is bounded whoever comes, and nobody is
// pushed out of it. Names that share a cell share its rate.
type brake struct {
	rate Rate
	seed maphash.Seed

	mu    sync.Mutex
	cells [1 << 12]time.Time // guarded by mu; when all that was done is paid for
}

func newBrake(r Rate) *brake { return &brake{rate: r, seed: maphash.MakeSeed()} }

// wait counts one more of name, or says how long it has to wait. It is the
// generic cell rate algorithm (ITU-T I.371, annex A).
func (b *brake) wait(name string, now time.Time) time.Duration {
	if b.rate.Every < 0 || name == "" {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	cell := &b.cells[maphash.String(b.seed, name)%uint64(len(b.cells))]
	// Further ahead than all of a burst is only a clock that was set back.
	if ahead := cell.Sub(now); ahead < 0 || ahead > time.Duration(b.rate.Burst)*b.rate.Every {
		*cell = now
	}
	over := cell.Sub(now) - time.Duration(b.rate.Burst-1)*b.rate.Every
	if over > 0 {
		return over
	}
	*cell = cell.Add(b.rate.Every)
	return 0
}

// check refuses name when it comes too often.
func (b *brake) check(name, what string, now time.Time) error {
	if wait := b.wait(name, now); wait > 0 {
		return retryAfter(wait, refuse(http.StatusTooManyRequests, kindAttestation, "too many requests of one %s: try again later", what))
	}
	return nil
}

// source names where a request comes from.
func source(r *http.Request) string {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	bits := 32
	if ip := at.Addr().Unmap(); ip.Is6() {
		bits = 64
	}
	network, err := at.Addr().Unmap().Prefix(bits)
	if err != nil {
		return r.RemoteAddr
	}
	return network.String()
}

// retryAfter says when a refusal may be another answer (RFC 9110, 10.2.3).
func retryAfter(wait time.Duration, p *problem) *problem {
	p.retry = strconv.Itoa(int((max(wait, 0) + time.Second - 1) / time.Second))
	return p
}
