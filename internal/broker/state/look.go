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
	named := make(map[string]bool, len(sessions))
	for _, session := range sessions {
		named[session] = true
	}
	asked := func(session string) bool { return named[session] }
	var found []int64
	_, err = list(rows, err, func(rows *sql.Rows) (none struct{}, err error) {
		var id int64
		var names string
		if err := rows.Scan(&id, &names); err != nil {
			return none, err
		}
		if slices.ContainsFunc(strings.Fields(names), asked) {
			found = append(found, id)
		}
		return none, nil
	})
	if err != nil {
		return err
	}
	for _, id := range found {
		rows, err := s.read.QueryContext(ctx, "SELECT id, held, record FROM decisions WHERE id = ?", id)
		if _, err := list(rows, err, func(rows *sql.Rows) (none struct{}, err error) { return none, eachDecision(rows, asked, tell) }); err != nil {
			return err
		}
	}
	return nil
}
