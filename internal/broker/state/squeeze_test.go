package state

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestARecordIsReadAsItWasKept(t *testing.T) {
	for _, record := range []string{"", "x", "{}", "\xff", strings.Repeat("0123456789abcdef", 1000)} {
		kept := new(squeezer).squeeze([]byte(record))
		if got, err := stretch(kept); err != nil || string(got) != record {
			t.Errorf("got %.40q, %v, want %.40q", got, err, record)
		}
		if len(record) > 1000 && len(kept) > len(record)/10 {
			t.Errorf("%d bytes for %d", len(kept), len(record))
		}
	}
	if got, err := stretch([]byte(`{"of":"before"}`)); err != nil || string(got) != `{"of":"before"}` {
		t.Errorf("got %q, %v", got, err)
	}
}

// What somebody wrote on the disk is an error, and no more memory than a record
// may take.
//
//fuzz:parser squeeze.go
func FuzzStretch(f *testing.F) {
	f.Add(new(squeezer).squeeze([]byte("record")))
	f.Add([]byte("{}"))
	f.Add([]byte("\xff\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, kept []byte) {
		record, err := stretch(kept)
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
		if again, err2 := stretch(new(squeezer).squeeze(record)); err == nil && (err2 != nil || !bytes.Equal(again, record)) {
			t.Errorf("got %q, %v, want %q", again, err2, record)
		}
	})
}
