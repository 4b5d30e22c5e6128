package ccel_test

import (
	"encoding/json"
	"testing"

	"holdfast/internal/attest/ccel"
	"holdfast/internal/attest/ccel/cceltest"
)

// A log that is read can be told of, and tells the same each time.
//
//fuzz:parser ccel.go details.go padding.go
func FuzzLog(f *testing.F) {
	f.Add(cceltest.Unpacked(f, "testdata/"+"trustee/CCEL_data.gz")[:8<<10])
	f.Add(cceltest.Unpacked(f, "testdata/"+"trustee/CCEL_data_ovmf.gz")[:32<<10])
	f.Fuzz(func(t *testing.T, raw []byte) {
		log, err := ccel.Parse(raw)
		if err != nil {
			return
		}
		if first, again := log.Replay(), log.Replay(); first != again {
			t.Error("two replays differ")
		}
		if _, err := json.Marshal(log.Claims()); err != nil {
			t.Error(err)
		}
	})
}
