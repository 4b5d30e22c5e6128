package verify

import (
	"maps"

	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm/events"
)

// explain replays log and adds what it says of the boot to claims. Every PCR
// that the log mentions must replay to its quoted value, in every bank.
func explain(log []byte, q *Quote, claims attest.Claims) error {
	records, err := replay(log, q)
	if err != nil {
		return err
	}
	told, err := events.Tell(records, q.Banks)
	maps.Copy(claims, told)
	return err
}

func replay(log []byte, q *Quote) ([]events.Record, error) {
	signed := make([]events.Values, len(q.Banks))
	for i, b := range q.Banks {
		signed[i] = events.Values{Bank: b, PCRs: q.Values(b)}
	}
	return events.Replay(log, signed)
}
