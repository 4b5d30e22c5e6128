package verify_test

import (
	"errors"
	"reflect"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/attest"
)

func TestASessionThatWaitedElsewhereJudgesAlike(t *testing.T) {
	r := honest(t)
	want, err := r.session.Verify(r.evidence, r.bound)
	if err != nil {
		t.Fatal(err)
	}
	secret := r.session.(attest.Keeper).Keep()
	again, err := newVerifier(t).Resume(api.RequestParams{Activation: r.offer}, secret)
	if err != nil {
		t.Fatal(err)
	}
	got, err := again.Verify(r.evidence, r.bound)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v, %v\nwant %v", got, err, want)
	}
	secret[0] ^= 1
	if again, err = newVerifier(t).Resume(api.RequestParams{Activation: r.offer}, secret); err != nil {
		t.Fatal(err)
	}
	if _, err := again.Verify(r.evidence, r.bound); !errors.Is(err, attest.ErrActivation) {
		t.Errorf("with another secret: got %v, want %v", err, attest.ErrActivation)
	}
}
