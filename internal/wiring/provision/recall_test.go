package provision

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/report"
	"holdfast/internal/ignition/report/lastwords"
)

// room is a Memory of so many bytes, as the one in a TPM is.
type room struct {
	size  int
	words []byte
}

func (r *room) Read(context.Context) ([]byte, error) { return r.words, nil }

func (r *room) Write(_ context.Context, words []byte) error {
	if len(words) > r.size {
		return errors.New("too long")
	}
	r.words = words
	return nil
}

func TestAnyReasonFitsIntoTheLastWords(t *testing.T) {
	for _, text := range []string{strings.Repeat("<", 300), strings.Repeat("\x01", 1000), strings.Repeat("\xff", 1000), strings.Repeat("ä", 999), "short"} {
		m := &room{size: lastwords.Max}
		b := &Boot{Memory: m, Log: slog.New(slog.DiscardHandler)}
		b.remember(t.Context(), nil, ignition.Outcome{Stage: "disks", Err: &ignition.Error{Path: text, Err: errors.New("x " + text)}})
		var before report.Previous
		if err := json.Unmarshal(m.words, &before); err != nil {
			t.Fatalf("%.10q: %v in %q", text, err, m.words)
		}
		if before.Failure == nil || before.Failure.Stage != "disks" || before.Failure.Reason == "" || strings.Contains(before.Failure.Path+before.Failure.Reason, "\ufffd") {
			t.Errorf("%.10q: got %+v", text, before.Failure)
		}
	}
}

func TestRefusedWordsLeaveNoOlderOnes(t *testing.T) {
	m := &room{size: 10, words: []byte("of an earlier boot")}
	b := &Boot{Memory: m, Log: slog.New(slog.DiscardHandler)}
	b.remember(t.Context(), nil, ignition.Outcome{Stage: "disks", Err: errors.New("no disk")})
	if m.words != nil {
		t.Errorf("got %q, want none", m.words)
	}
}
