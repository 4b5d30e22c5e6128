package wiring

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/keys"
	"holdfast/internal/proof"
)

func newRing(t *testing.T) *keys.Ring {
	t.Helper()
	i, err := Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	ring, err := i.Ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func TestLaunchIsSignedForTheBroker(t *testing.T) {
	ring := newRing(t)
	measurement := strings.Repeat("ab", 48)
	levels := map[string]uint8{"bootloader": 4, "tee": 0, "snp": 24, "microcode": 219}
	raw, err := Launched(ring, Launch{Image: "guest", SNP: []api.SNPReference{{Measurement: measurement, MinimumTCB: levels}}})
	if err != nil {
		t.Fatal(err)
	}
	more, err := Launched(ring, Launch{Image: "guest", Base: raw, TDX: []api.TDXReference{{MRTD: measurement, RTMRs: map[string]string{"1": measurement, "2": measurement}}}})
	if err != nil {
		t.Fatal(err)
	}
	values, err := proof.OpenReference(more, ring.RootPool(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if values.Image != "guest" || len(values.SNP) != 1 || values.SNP[0].MinimumTCB["snp"] != 24 || len(values.TDX) != 1 {
		t.Errorf("got %+v", values)
	}
}

func TestLaunchThatNobodyCouldShowIsRefused(t *testing.T) {
	ring := newRing(t)
	good := strings.Repeat("ab", 48)
	for want, l := range map[string]Launch{
		"no way of launching": {},
		"96 lower-case hex":   {SNP: []api.SNPReference{{Measurement: strings.ToUpper(good)}}},
		"level of bootloader": {SNP: []api.SNPReference{{Measurement: good}}},
		"RTMR 1":              {TDX: []api.TDXReference{{MRTD: good, RTMRs: map[string]string{"2": good}}}},
	} {
		if _, err := Launched(ring, l); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
}
