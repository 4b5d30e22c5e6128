package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/broker/audit"
)

// A State is what a broker must not forget. A change is durable when its call
// returns, whole or not at all; other processes may share what it is kept in,
// and each sees the others' changes at once (of Generations, within a tenth of
// a second). What is not there is
// fs.ErrNotExist, what must not be there fs.ErrExist, a full disk
// syscall.ENOSPC. Package statetest says the rest.
type State interface {
	Resources
	Documents
	Records
}

// Resources keeps secrets by their paths. Their values are sealed on disk.
type Resources interface {
	Resource(ctx context.Context, name string) ([]byte, error)
	Resources(ctx context.Context) ([]string, error) // in order
	SetResource(ctx context.Context, name string, value []byte, fresh bool) error
	DeleteResource(ctx context.Context, name string) error
}

// Documents keeps policies, reference values and configurations (the kinds of
// package api) in versions. Content and digest of a version stay as they are.
type Documents interface {
	// Generations tells how many changes each kind has seen. It is asked for
	// each decision, so it must be quick.
	Generations(ctx context.Context) (map[string]int64, error)
	// Documents returns what is in force, by name, and of which generation.
	Documents(ctx context.Context, kind string) ([]api.Version, int64, error)
	// SetDocument puts versions in force, all or none; one without content takes
	// away what was. The number is the last one's.
	SetDocument(ctx context.Context, v ...api.Version) (number int64, err error)
	// History lists versions, the latest first, without content.
	History(ctx context.Context, kind string) ([]api.Version, error)
	Version(ctx context.Context, kind string, number int64) (api.Version, error)
	// Rollback makes a kind, or only what is called name, as it was after a
	// version, by new versions that say what by says. Nothing is changed when
	// check refuses one of these.
	Rollback(ctx context.Context, kind, name string, number int64, by api.Version, check func(api.Version) error) (made []int64, err error)
}

// Records keeps what came of requests, bounded in number and time. A decision
// that comes with a record is kept with it or not at all. What handshakes leave
// (KeepAttested, KeepDecision) is durable a tenth of a second later: until then
// a crash may take it, and its machine attests again. Record and decision are
// the caller's again when a method returns.
type Records interface {
	KeepAttested(ctx context.Context, session string, record []byte, until time.Time, most int, d *api.RecordedDecision) error
	Attested(ctx context.Context, session string) ([]byte, error)
	IsAttested(ctx context.Context, session string) (bool, error) // whether Attested has it still
	KeepProof(ctx context.Context, id string, proof []byte, most int, d *api.RecordedDecision) error
	Proof(ctx context.Context, id string) ([]byte, error)
	Proofs(ctx context.Context) ([]string, error) // the oldest first
	DropProof(ctx context.Context, id string) error
	KeepDecision(ctx context.Context, d *api.RecordedDecision) error
	// Decisions returns at most most of them, those behind after, in order.
	Decisions(ctx context.Context, after int64, most int) ([]api.RecordedDecision, error)
	// DecisionsOf tells of those about at most 500 sessions, in order.
	DecisionsOf(ctx context.Context, sessions []string, tell func(api.RecordedDecision)) error
	// Once takes an ID that nobody can take again until its time is over;
	// fs.ErrExist when somebody did.
	Once(ctx context.Context, id string, until time.Time) error

	audit.Head // which a crash of the whole machine may take back by a moment
}

func digestOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// parseDigest returns the hexadecimal part of a SHA-256 digest.
func parseDigest(digest string) (string, error) {
	hexPart, ok := strings.CutPrefix(digest, "sha256:")
	if !ok || len(hexPart) != 64 || strings.Trim(hexPart, "0123456789abcdef") != "" {
		return "", fmt.Errorf("digest %q: expected sha256: and 64 lower-case hexadecimal digits", digest)
	}
	return hexPart, nil
}

func sortedResources(list []string) ([]string, error) {
	out := make([]string, 0, len(list))
	for _, text := range list {
		r, err := ParseResource(text)
		if err != nil {
			return nil, err
		}
		out = append(out, string(r))
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
