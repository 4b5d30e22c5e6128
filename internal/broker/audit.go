package broker

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/atomicfile"
	"holdfast/internal/broker/audit"
	"holdfast/internal/input"
)

// AuditFile is the audit log's name in the broker's folder.
const AuditFile = audit.File

// An auditLog is the log and the key of what it says of values.
type auditLog struct {
	*audit.Log
	dir string
	key []byte // of value digests
	now func() time.Time
}

func openAudit(cfg Config) (*auditLog, error) {
	key, err := auditKey(filepath.Join(cfg.Dir, "audit.key"))
	if err != nil {
		return nil, err
	}
	c := audit.Config{Dir: cfg.Dir, Head: cfg.State, Now: cfg.Now, Log: cfg.Log}
	if cfg.Proofs != nil {
		c.Signer = &cfg.Proofs.Signer
	}
	return &auditLog{Log: audit.Open(c), dir: cfg.Dir, key: key, now: cfg.Now}, nil
}

// auditKey reads the key of value digests, or makes it. Linking, unlike
// renaming, lets only the first of two processes win.
func auditKey(path string) ([]byte, error) {
	key, err := input.ReadFile(path, input.Key)
	if errors.Is(err, fs.ErrNotExist) {
		fresh := path + "." + randomHex(8)
		if err := atomicfile.WriteFile(fresh, randomBytes(32), 0o600); err != nil {
			return nil, err
		}
		defer func() { _ = os.Remove(fresh) }()
		if err := os.Link(fresh, path); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		key, err = input.ReadFile(path, input.Key)
	}
	if err == nil && len(key) != 32 {
		err = fmt.Errorf("%s: has %d bytes, expected 32", path, len(key))
	}
	return key, err
}

// digest stands for the value of a resource. A bare hash of a short password
// could be found by trying; this cannot without the key.
func (l *auditLog) digest(r Resource, value []byte) string {
	mac := hmac.New(sha256.New, l.key)
	_, _ = fmt.Fprintf(mac, "%s\x00", r)
	_, _ = mac.Write(value)
	return "hmac-sha256:" + hex.EncodeToString(mac.Sum(nil))
}

func (l *auditLog) append(e api.AuditEntry) error {
	e.Time, e.Reasons = l.now().UTC(), bounded(e.Reasons)
	return l.Append(e)
}

// Bounds on what is recorded of reasons: they may quote a stranger, and no
// reader of the log should meet a line of megabytes.
const (
	maxReasons = 64
	maxReason  = 1 << 10
)

func bounded(reasons []string) []string {
	out := slices.Clone(reasons[:min(len(reasons), maxReasons)])
	for i, r := range out {
		if len(r) > maxReason {
			out[i] = strings.ToValidUTF8(r[:maxReason], "") + " …"
		}
	}
	return out
}

// open gives the log to read, the oldest line first, but for its first bytes:
// io.ErrUnexpectedEOF when there are not as many.
func (l *auditLog) open(from int64) (io.ReadCloser, error) {
	paths, err := audit.Files(l.dir)
	if err != nil {
		return nil, err
	}
	all := files{}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return nil, errors.Join(err, all.Close())
		}
		all = append(all, f)
	}
	if err := all.skip(from); err != nil {
		return nil, errors.Join(err, all.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{all.reader(), all}, nil
}

// files are read one after the other.
type files []*os.File

func (all files) skip(n int64) error {
	for _, f := range all {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		step := min(n, info.Size())
		if _, err := f.Seek(step, io.SeekStart); err != nil {
			return err
		}
		n -= step
	}
	if n > 0 {
		return io.ErrUnexpectedEOF
	}
	return nil
}

func (all files) reader() io.Reader {
	readers := make([]io.Reader, len(all))
	for i, f := range all {
		readers[i] = f
	}
	return io.MultiReader(readers...)
}

func (all files) Close() error {
	var problems []error
	for _, f := range all {
		problems = append(problems, f.Close())
	}
	return errors.Join(problems...)
}

// each reads the log, oldest first.
func (l *auditLog) each(read func(api.AuditEntry)) error {
	log, err := l.open(0)
	if err != nil {
		return err
	}
	defer log.Close()
	return api.ReadAudit(log, read)
}

// auditedPCRs are those that a decision can depend on, and the firmware's own,
// which is recorded without being judged; by the names of their claims.
var auditedPCRs = map[string]string{"pcr00": "0", "pcr04": "4", "pcr07": "7", "pcr08": "8", "pcr11": "11", "pcr12": "12", "pcr13": "13"}

func auditClaims(claims map[string]any) *api.AuditClaims {
	out := &api.AuditClaims{PCRs: map[string]string{}}
	for claim, number := range auditedPCRs {
		if value, ok := claims[claim].(string); ok {
			out.PCRs[number] = value
		}
	}
	out.EK, _ = claims["ek_certificate"].(string)
	return out
}
