package broker

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
)

// attested is a machine that has a token.
func (b *bench) attested() *machine {
	b.t.Helper()
	m := b.machine()
	m.auth()
	m.attest()
	return m
}

func TestRevokedImageIsDeniedAtOnceAndTold(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	m := b.attested()
	if status, body := m.call("GET", "/kbs/v0/resource/default/key/x", nil); status != http.StatusOK {
		t.Fatalf("got %d %s", status, body)
	}
	check(t, b.admin.SetStanding(t.Context(), api.ImageStanding{UKI: guestValues.UKI, Revoked: &api.ImageRevocation{Reason: "its redis can be talked into giving keys"}}))
	told := "image guest (sha256:aa) was revoked at " + b.now.Now().UTC().Format(time.RFC3339) + ": its redis can be talked into giving keys"
	status, body := m.call("GET", "/kbs/v0/resource/default/key/x", nil)
	wantProblem(t, status, body, http.StatusForbidden, kindDenied, told)
	fresh := b.machine()
	fresh.auth()
	status, body = fresh.call("POST", "/kbs/v0/attest", fresh.attestation())
	wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, told)

	// It stays so when its values are forgotten, and cannot be trusted again.
	images, err := b.admin.Images(t.Context())
	if check(t, err); len(images) != 1 || images[0].Status != api.ImageRevoked || images[0].Revoked == nil {
		t.Fatalf("got %+v, want one that is revoked", images)
	}
	check(t, b.admin.Distrust(t.Context(), images[0].ID))
	status, body = m.call("GET", "/kbs/v0/resource/default/key/x", nil)
	wantProblem(t, status, body, http.StatusForbidden, kindDenied, told)
	envelope, err := json.Marshal(guestValues)
	check(t, err)
	if err := b.admin.Trust(t.Context(), envelope); err == nil || !strings.HasSuffix(err.Error(), told) {
		t.Errorf("trust it again: got %v, want %s", err, told)
	}

	check(t, b.admin.SetStanding(t.Context(), api.ImageStanding{UKI: guestValues.UKI}))
	check(t, b.admin.Trust(t.Context(), envelope))
	if status, body := m.call("GET", "/kbs/v0/resource/default/key/x", nil); status != http.StatusOK {
		t.Errorf("after the revocation was taken back: %d %s", status, body)
	}
}

func TestDistrustedImageIsDeniedAtOnce(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	m := b.attested()
	images, err := b.admin.Images(t.Context())
	check(t, err)
	check(t, b.admin.Distrust(t.Context(), images[0].ID))
	status, body := m.call("GET", "/kbs/v0/resource/default/key/x", nil)
	wantProblem(t, status, body, http.StatusForbidden, kindDenied, "the image that shows "+pcr("b")+" is not trusted any more")
}

func TestImageIsTrustedUntilItsTime(t *testing.T) {
	for name, limit := range map[string]func(b *bench, at time.Time){
		"by the values": func(b *bench, at time.Time) {
			values := guestValues
			values.Expires = &at
			envelope, err := json.Marshal(values)
			check(t, err)
			check(t, b.admin.Trust(t.Context(), envelope))
		},
		"by the administrator": func(b *bench, at time.Time) {
			envelope, err := json.Marshal(guestValues)
			check(t, err)
			check(t, b.admin.Trust(t.Context(), envelope))
			check(t, b.admin.SetStanding(t.Context(), api.ImageStanding{UKI: guestValues.UKI, Until: &at}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			at := b.now.Now().Add(time.Minute).UTC().Truncate(time.Second)
			limit(b, at)
			check(t, b.admin.Allow(t.Context(), initDataDigest, []string{"default/key/x"}))
			check(t, b.admin.SetResource(t.Context(), "default/key/x", []byte("the key")))
			m := b.attested()
			if status, body := m.call("GET", "/kbs/v0/resource/default/key/x", nil); status != http.StatusOK {
				t.Fatalf("before: %d %s", status, body)
			}
			b.now.set(at)
			told := "image guest (sha256:aa) was good until " + at.Format(time.RFC3339)
			status, body := m.call("GET", "/kbs/v0/resource/default/key/x", nil)
			wantProblem(t, status, body, http.StatusForbidden, kindDenied, told)
			fresh := b.machine()
			fresh.auth()
			status, body = fresh.call("POST", "/kbs/v0/attest", fresh.attestation())
			wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, told)

			// A clock that is set back is believed again.
			b.now.set(at.Add(-time.Second))
			if status, body := m.call("GET", "/kbs/v0/resource/default/key/x", nil); status != http.StatusOK {
				t.Errorf("set back: %d %s", status, body)
			}
		})
	}
}

func TestStandingOfAnUnknownImageIsRefused(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	for name, s := range map[string]api.ImageStanding{
		"unknown":   {UKI: "sha256:bb", Revoked: &api.ImageRevocation{Reason: "x"}},
		"no reason": {UKI: guestValues.UKI, Revoked: &api.ImageRevocation{}},
		"two lines": {UKI: guestValues.UKI, Revoked: &api.ImageRevocation{Reason: "a\nb"}},
	} {
		if err := b.admin.SetStanding(t.Context(), s); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
	if status, body := b.attested().call("GET", "/kbs/v0/resource/default/key/x", nil); status != http.StatusOK {
		t.Errorf("got %d %s, want nothing changed", status, body)
	}
}
