package broker

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/atomicfile"
	"holdfast/internal/input"
)

// AuditFile is the audit log's name in the broker's folder.
const AuditFile = "audit.jsonl"

// An auditLog only grows. An entry is on disk when append returns.
type auditLog struct {
	path string
	key  []byte // of value digests
	now  func() time.Time
	mu   sync.Mutex // one writer in this process; the file lock is for others
}

func openAudit(dir string, now func() time.Time) (*auditLog, error) {
	key, err := auditKey(filepath.Join(dir, "audit.key"))
	if err != nil {
		return nil, err
	}
	return &auditLog{path: filepath.Join(dir, AuditFile), key: key, now: now}, nil
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

func (l *auditLog) append(ctx context.Context, e api.AuditEntry) error {
	e.Time, e.Reasons = l.now().UTC(), bounded(e.Reasons)
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	unlock, err := atomicfile.Lock(ctx, l.path+".lock")
	if err != nil {
		return err
	}
	return errors.Join(l.appendLine(append(line, '\n')), unlock())
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

func (l *auditLog) appendLine(line []byte) error {
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	torn, size, err := tornEnd(f)
	if err != nil {
		return err
	}
	if torn {
		line = append([]byte{'\n'}, line...)
	}
	if _, err := f.Write(line); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if size == 0 {
		return atomicfile.SyncDir(filepath.Dir(l.path))
	}
	return nil
}

// tornEnd tells whether a crash cut the last line off. Nobody was told of what
// it recorded, so it stays as it is, on a line of its own.
func tornEnd(f *os.File) (torn bool, size int64, err error) {
	size, err = f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return false, size, err
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, size-1); err != nil {
		return false, size, err
	}
	return last[0] != '\n', size, nil
}

// each reads the log, oldest first.
func (l *auditLog) each(read func(api.AuditEntry)) error {
	f, err := os.Open(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return api.ReadAudit(f, read)
}

// auditedPCRs are those that a decision can depend on, and the firmware's own,
// which is recorded without being judged.
var auditedPCRs = []int{0, 4, 7, 8, 11, 12, 13}

func auditClaims(claims map[string]any) *api.AuditClaims {
	out := &api.AuditClaims{PCRs: map[string]string{}}
	for _, n := range auditedPCRs {
		if value, ok := claims[fmt.Sprintf("pcr%02d", n)].(string); ok {
			out.PCRs[fmt.Sprint(n)] = value
		}
	}
	out.EK, _ = claims["ek_certificate"].(string)
	return out
}
