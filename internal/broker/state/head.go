package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"holdfast/internal/api"
)

// auditNote is the note that has the audit log's head.
const auditNote = "audit-head"

// AuditHead returns what SetAuditHead kept last; zero when that is nothing.
func (s *Store) AuditHead(ctx context.Context) (h api.AuditHead, err error) {
	var raw string
	err = s.read.QueryRowContext(ctx, "SELECT value FROM notes WHERE name = ?", auditNote).Scan(&raw)
	if errors.Is(err, sql.ErrNoRows) {
		return h, nil
	}
	if err != nil {
		return h, told(err)
	}
	return h, json.Unmarshal([]byte(raw), &h)
}

// SetAuditHead keeps where the audit log ends. It does not wait for the disk:
// the line itself is there already.
func (s *Store) SetAuditHead(_ context.Context, h api.AuditHead) error {
	raw, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return s.writes.Do(step{lazy: true, rows: []row{{table: notesTable, values: []any{auditNote, string(raw)}}}})
}
