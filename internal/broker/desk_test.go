package broker

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"holdfast/internal/attest/tpm/impostor"
)

// Requests write where others wrote before: what one machine is told, and what
// is kept of it, has nothing of another, however many come at once.
func TestNoMachineIsToldOrRecordedAsAnother(t *testing.T) {
	s := newSoftTPM(t, impostor.NewKey)
	b := measured(t, s, true)
	const n = 60
	all := make([]shaking, n)
	for i := range all {
		_, key := ecJWK(t, newKey(t).Curve, "P-256")
		one := *s
		one.another(t)
		all[i] = shaking{s: &one, key: key}
		all[i].begin(t)
	}
	at := func(do func(*shaking)) {
		var group sync.WaitGroup
		for w := range 6 {
			group.Go(func() {
				for i := w; i < n; i += 6 {
					do(&all[i])
				}
			})
		}
		group.Wait()
	}
	at(func(h *shaking) { h.serve(b.Broker) })
	for i := range all {
		all[i].quote(t)
	}
	at(func(h *shaking) { h.serve(b.Broker) })
	for i := range all {
		all[i].told(t)
		checkOwn(t, b, fmt.Sprint(i), all[i])
	}
}

func checkOwn(t *testing.T, b *bench, who string, h shaking) {
	t.Helper()
	var answer struct{ Token string }
	check(t, json.Unmarshal(h.answer.body, &answer))
	v, err := b.tokens.verify(answer.Token)
	check(t, err)
	parts := strings.Split(answer.Token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	check(t, err)
	k, err := b.readAttested(t.Context(), v.session)
	check(t, err)
	device := v.evidence()["tpm"].(map[string]any)
	ek := strings.TrimPrefix(digestOf(h.s.cert.Raw), "sha256:")
	var input struct{ Claims map[string]any }
	check(t, json.Unmarshal(k.Policy.Input, &input))
	if device["ek_certificate"] != ek || input.Claims["ek_certificate"] != ek || !bytes.Contains(payload, h.key) {
		t.Errorf("machine %s: its token is of %v, its record of %v; it is %s", who, device["ek_certificate"], input.Claims["ek_certificate"], ek)
	}
	if k.Token != answer.Token || !bytes.Equal(k.Message.RuntimeData.TEEPubKey, h.key) || !bytes.Equal(k.Offer.EKCertificate, h.s.cert.Raw) {
		t.Errorf("machine %s: what is kept is of another", who)
	}
	if token := b.sessions.token(h.cookie.Value); token != answer.Token {
		t.Errorf("machine %s: its session has another token", who)
	}
}
