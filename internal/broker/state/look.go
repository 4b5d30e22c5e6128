package state

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"holdfast/internal/api"
)

// mostSessions bounds one question of DecisionsOf.
const mostSessions = 500

// DecisionsOf tells of the decisions about sessions, the oldest first. What one bundle
// has of them is in memory at a time.
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
	rows, err := s.read.QueryContext(ctx, "SELECT id, session FROM decisions ORDER BY id")
	asked := func(session string) bool { return slices.Contains(sessions, session) }
	found, err := list(rows, err, func(rows *sql.Rows) (id int64, err error) {
		var names string
		if err := rows.Scan(&id, &names); err != nil || !slices.ContainsFunc(strings.Fields(names), asked) {
			return 0, err
		}
		return id, nil
	})
	for _, id := range found {
		if id == 0 || err != nil {
			continue
		}
		rows, e := s.read.QueryContext(ctx, "SELECT id, held, record FROM decisions WHERE id = ?", id)
		_, err = list(rows, e, func(rows *sql.Rows) (none struct{}, err error) { return none, eachDecision(rows, asked, tell) })
	}
	return err
}
