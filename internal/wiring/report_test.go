package wiring

import (
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/keys"
)

func TestAdministratorsTokenTravelsByTLS(t *testing.T) {
	ring, err := keys.Init(t.Context(), t.TempDir()+"/keys", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for address, good := range map[string]bool{
		"https://broker.example:8080": true, "http://127.0.0.1:8080": true, "http://localhost:8080": true, "http://[::1]:8080": true,
		"http://broker.example:8080": false, "http://127.0.0.1.broker.example": false, "http://10.0.0.1:1": false,
		"broker.example:8080": false, "": false, "ftp://127.0.0.1": false,
	} {
		if _, err := (Installation{}).RemoteAdmin(ring, address); (err == nil) != good {
			t.Errorf("%q: got %v", address, err)
		}
	}
}

// A machine is believed in nothing, and may send stages for ever.
func TestStagesOfOneRunAreBounded(t *testing.T) {
	s := &session{report: &Report{}}
	for range 10 * maxStages {
		s.keepStage(api.StageDetail{Name: "x"}, time.Second)
	}
	if len(s.report.Stages) != maxStages {
		t.Errorf("got %d stages, want %d", len(s.report.Stages), maxStages)
	}
}
