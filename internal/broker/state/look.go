package state

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"holdfast/internal/api"
)

// mostSessions bounds one question of DecisionsOf.
const mostSessions = 500

// DecisionsOf tells of the decisions about sessions, the oldest first. One
// decision is in memory at a time.
func (s *Store) DecisionsOf(ctx context.Context, sessions []string, tell func(api.RecordedDecision)) error {
	if len(sessions) == 0 {
		return nil
	}
	if len(sessions) > mostSessions {
		return fmt.Errorf("broker's state: decisions of %d sessions at once: want at most %d", len(sessions), mostSessions)
	}
	if err := s.flush(); err != nil {
		return err
	}
	asked := make([]any, len(sessions))
	for i, session := range sessions {
		asked[i] = session
	}
	rows, err := s.read.QueryContext(ctx, "SELECT id, record FROM decisions WHERE session IN (?"+strings.Repeat(", ?", len(sessions)-1)+") ORDER BY id", asked...)
	if err != nil {
		return told(err)
	}
	defer rows.Close()
	for rows.Next() {
		var d api.RecordedDecision
		var id int64
		var record sql.RawBytes
		if err := rows.Scan(&id, &record); err != nil {
			return told(err)
		}
		if err := readDecision(record, &d); err != nil {
			return fmt.Errorf("broker's state: decision %d: %w", id, err)
		}
		d.ID = id
		tell(d)
	}
	return told(rows.Err())
}
