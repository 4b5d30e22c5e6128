package proof

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/keys"
	"holdfast/internal/sign"
)

// walk calls visit for every leaf of v, which may replace it.
func walk(v any, path string, visit func(path string, leaf any) any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			v[name] = walk(member, path+"."+name, visit)
		}
		return v
	case []any:
		for i, element := range v {
			v[i] = walk(element, fmt.Sprintf("%s[%d]", path, i), visit)
		}
		return v
	}
	return visit(path, v)
}

// altered are other values of a leaf: of a text, one in which the first, the
// middle or the last character is another.
func altered(leaf any) []any {
	switch v := leaf.(type) {
	case bool:
		return []any{!v}
	case json.Number:
		return []any{json.Number("1" + v.String())}
	case string:
		if v == "" {
			return []any{"x"}
		}
		var all []any
		for _, at := range []int{0, len(v) / 2, len(v) - 1} {
			text := []byte(v)
			text[at] = next(text[at])
			all = append(all, string(text))
		}
		return all
	}
	return []any{"not null"}
}

// next is another character of the same kind.
func next(c byte) byte {
	switch c {
	case '9', 'f', 'z':
		return c - 5
	case 'F', 'Z':
		return c - 3
	case '=', '+', '/', '.':
		return 'A'
	}
	return c + 1
}

func decode(t testing.TB, raw []byte) any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// everyLeaf gives the JSON of raw with one leaf changed, for each leaf in turn.
func everyLeaf(t *testing.T, raw []byte, try func(path string, change int, changed []byte)) {
	t.Helper()
	changes := map[string]int{}
	var paths []string
	walk(decode(t, raw), "", func(path string, leaf any) any {
		changes[path] = len(altered(leaf))
		paths = append(paths, path)
		return leaf
	})
	slices.Sort(paths)
	for _, path := range paths {
		for change := range changes[path] {
			v := walk(decode(t, raw), "", func(at string, leaf any) any {
				if at == path {
					return altered(leaf)[change]
				}
				return leaf
			})
			changed, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			try(path, change, changed)
		}
	}
}

func envelope(t testing.TB) sign.Envelope {
	t.Helper()
	env, err := sign.ParseEnvelope(read(t, "proof.json"))
	if err != nil {
		t.Fatal(err)
	}
	return env
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestAnyChangeToAProofIsFound(t *testing.T) {
	r, n := reader(t), 0
	refuse := func(path string, raw []byte) {
		n++
		if report := check(t, raw, r); report.Verified || len(report.Failures()) == 0 {
			t.Errorf("%s was changed, and the proof verifies", path)
		}
	}
	everyLeaf(t, read(t, "proof.json"), func(path string, _ int, raw []byte) { refuse(path, raw) })
	env := envelope(t)
	everyLeaf(t, env.Payload, func(path string, _ int, payload []byte) {
		other := env
		other.Payload = payload
		refuse("payload"+path, marshal(t, other))
	})
	t.Logf("%d changes", n)
}

// A liar is a broker that signs what it likes: the reader trusts its key. It
// has neither the machine's TPM nor the keys of images and tokens.
func liar(t *testing.T) (sign.Signer, Reader) {
	t.Helper()
	ring, err := keys.Init(t.Context(), filepath.Join(t.TempDir(), "keys"), recordedAt)
	if err != nil {
		t.Fatal(err)
	}
	r := reader(t)
	r.Roots.AddCert(ring.Pair(keys.Root).Certificate)
	return ring.Releases(), r
}

// theBrokersWord is what Word names: nobody can check it.
var theBrokersWord = regexp.MustCompile(`^\.predicate\.(` +
	`release\.value` +
	`|release\.policy\.data\.configurations\..*` +
	`|attestation\.policy\.data\.configurations\..*` +
	`|attestation\.message\.tee-evidence\.primary_evidence\.activation_hmac` +
	`)$`)

// eventLog is checked as far as it explains the signed PCRs.
const eventLog = ".predicate.attestation.message.tee-evidence.primary_evidence.event_log"

// invented lists the words that report takes for proven, and true does not.
func invented(report, truth *Report) (list []string) {
	known := map[string]bool{}
	for _, p := range truth.PCRs {
		for _, e := range p.Events {
			known[e.Text] = known[e.Text] || e.Proven
		}
	}
	for _, p := range report.PCRs {
		for _, e := range p.Events {
			if e.Proven && !known[e.Text] {
				list = append(list, e.Text)
			}
		}
	}
	return list
}

func TestALyingBrokerIsFoundOut(t *testing.T) {
	signer, r := liar(t)
	truth := check(t, read(t, "proof.json"), r)
	n, believed := 0, map[string]bool{}
	everyLeaf(t, envelope(t).Payload, func(path string, change int, payload []byte) {
		n++
		report := check(t, marshal(t, sign.SealPayload(payload, signer)), r)
		if report.Checks[0].Verdict == Good && report.Checks[1].Verdict != Good {
			t.Fatalf("the liar's signature is %+v, want it believed", report.Checks[1])
		}
		if report.Verified {
			believed[path] = true
		}
		if words := invented(report, truth); report.Verified && len(words) > 0 {
			t.Errorf("%s was changed, and taken for proven is %q", path, words)
		}
		if report.Verified && path != eventLog && !theBrokersWord.MatchString(path) {
			t.Errorf("%s was changed (%d), and the proof verifies", path, change)
		}
	})
	t.Logf("%d changes; these leaves are the broker's word: %q", n, slices.Sorted(maps.Keys(believed)))
}

// edit changes the recorded proof and has the liar sign it.
func edit(t *testing.T, signer sign.Signer, change func(*api.ReleaseProof)) []byte {
	t.Helper()
	p, err := Peek(read(t, "proof.json"))
	if err != nil {
		t.Fatal(err)
	}
	change(p)
	raw, err := Seal(*p, signer)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestEachLieIsNamed(t *testing.T) {
	signer, r := liar(t)
	if report := check(t, edit(t, signer, func(*api.ReleaseProof) {}), r); !report.Verified {
		t.Fatalf("the truth, signed by the other key, is refused: %+v", report.Failures())
	}
	const allowAll = "package policy\n\nallow := true\n"
	for name, c := range map[string]struct {
		change func(*api.ReleaseProof)
		want   string // the check that fails
	}{
		"another resource":      {func(p *api.ReleaseProof) { p.Release.Resource = "default/key/other" }, checkResource},
		"released too late":     {func(p *api.ReleaseProof) { p.Release.Time = p.Release.Time.Add(time.Hour) }, checkClaims},
		"released in future":    {func(p *api.ReleaseProof) { p.Release.Time = recordedAt.Add(time.Hour) }, checkTime},
		"released before proof": {func(p *api.ReleaseProof) { p.Release.Time = p.Release.Time.Add(-time.Hour) }, checkTime},
		"another policy":        {func(p *api.ReleaseProof) { p.Attestation.Policy.Policy = allowAll }, checkAttestation},
		"another rule":          {func(p *api.ReleaseProof) { p.Release.Policy.Policy = allowAll }, checkResource},
		"no reference values":   {func(p *api.ReleaseProof) { p.Attestation.References = nil }, checkReferences},
		"no configuration":      {func(p *api.ReleaseProof) { p.Attestation.Message.InitData = nil }, checkAttestation},
		"other configuration":   {func(p *api.ReleaseProof) { p.Attestation.Message.InitData.Body += "\n" }, "configuration in PCR 8"},
		"another nonce": {func(p *api.ReleaseProof) {
			p.Attestation.Message.RuntimeData.Nonce = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
		}, "nonce and ephemeral key"},
		"no evidence":            {func(p *api.ReleaseProof) { p.Attestation.Message.TEEEvidence.Primary = json.RawMessage("{}") }, "quote signature"},
		"a listed key":           {func(p *api.ReleaseProof) { p.Attestation.Offer = api.ActivationOffer{} }, checkEvidence},
		"additional devices":     {func(p *api.ReleaseProof) { p.Attestation.Message.TEEEvidence.Additional = `{"x":{}}` }, checkDevices},
		"devices not shown":      {func(p *api.ReleaseProof) { p.Attestation.Devices = []api.ProofDevice{{TEE: "nvidia", Class: "gpu"}} }, checkDevices},
		"another TEE":            {func(p *api.ReleaseProof) { p.Attestation.TEE = "sample" }, checkEvidence},
		"no token":               {func(p *api.ReleaseProof) { p.Attestation.Token = "" }, checkToken},
		"another signer's token": {func(p *api.ReleaseProof) { p.Attestation.TokenCertificate = signer.Certificate.Raw }, checkToken},
		"not what was asked":     {func(p *api.ReleaseProof) { p.Attestation.Policy.Input = json.RawMessage(`{}`) }, checkAttestation},
	} {
		t.Run(name, func(t *testing.T) {
			report := check(t, edit(t, signer, c.change), r)
			named := slices.ContainsFunc(report.Failures(), func(f Check) bool { return f.Name == c.want })
			if report.Verified || !named {
				t.Errorf("got verified %v, failures %+v; want %q named", report.Verified, report.Failures(), c.want)
			}
		})
	}
}

func TestAReaderMayNameAPolicyOfHisOwn(t *testing.T) {
	signer, r := liar(t)
	p, err := Peek(read(t, "proof.json"))
	if err != nil {
		t.Fatal(err)
	}
	own := p.Attestation.Policy.Policy + "# reviewed\n"
	raw := edit(t, signer, func(p *api.ReleaseProof) { p.Attestation.Policy.Policy = own })
	if report := check(t, raw, r); report.Verified {
		t.Error("a policy that nobody named was taken for good")
	}
	r.ResourcePolicies = []string{own}
	if report := check(t, raw, r); report.Verified {
		t.Error("a policy that was named for resources was taken for good for machines")
	}
	r.AttestationPolicies = []string{own}
	if report := check(t, raw, r); !report.Verified {
		t.Errorf("got %+v, want the named policy taken for good", report.Failures())
	}
}

func TestKeysSignNothingButWhatTheyAreFor(t *testing.T) {
	ring, err := keys.Init(t.Context(), filepath.Join(t.TempDir(), "keys"), recordedAt)
	if err != nil {
		t.Fatal(err)
	}
	r := reader(t)
	r.Roots.AddCert(ring.Pair(keys.Root).Certificate)
	if report := check(t, edit(t, ring.Statements(), func(*api.ReleaseProof) {}), r); report.Verified {
		t.Error("the key for images signed a proof")
	}
	p, err := Peek(read(t, "proof.json"))
	if err != nil {
		t.Fatal(err)
	}
	env, err := sign.ParseEnvelope(p.Attestation.References[0])
	if err != nil {
		t.Fatal(err)
	}
	forged := marshal(t, sign.SealPayload(env.Payload, ring.Releases()))
	if _, err := OpenReference(forged, r.Roots, recordedAt); err == nil {
		t.Error("the key for proofs signed reference values")
	}
	if _, err := OpenReference(p.Attestation.References[0], r.Roots, recordedAt); err != nil {
		t.Errorf("the true ones: %v", err)
	}
}

func TestAProofIsJudgedAtTheReadersTime(t *testing.T) {
	for _, at := range []time.Time{recordedAt.AddDate(-1, 0, 0), recordedAt.AddDate(100, 0, 0)} {
		r := reader(t)
		r.At = at
		if report := check(t, read(t, "proof.json"), r); report.Verified {
			t.Errorf("verified at %s, when no certificate is valid", at)
		}
	}
}

//fuzz:parser proof.go check.go pcrs.go policy.go reference.go token.go
func FuzzVerify(f *testing.F) {
	f.Add(read(f, "proof.json"))
	f.Add([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[]}`))
	r, original := reader(f), read(f, "proof.json")
	f.Fuzz(func(t *testing.T, raw []byte) {
		all, err := Split(raw)
		if err != nil {
			return
		}
		for _, one := range all {
			var plain bytes.Buffer
			if report := check(t, one, r); report.Verified && (json.Compact(&plain, one) != nil || plain.String() != string(bytes.TrimSpace(original))) {
				t.Fatalf("another proof than the recorded one verifies: %s", one)
			}
		}
	})
}

// FuzzVerifySigned has a liar sign what the fuzzer makes of a statement, so
// that the parsers behind the signature meet it.
//
//fuzz:parser check.go pcrs.go policy.go reference.go token.go
func FuzzVerifySigned(f *testing.F) {
	ring, err := keys.Init(f.Context(), filepath.Join(f.TempDir(), "keys"), recordedAt)
	if err != nil {
		f.Fatal(err)
	}
	r := reader(f)
	r.Roots.AddCert(ring.Pair(keys.Root).Certificate)
	f.Add(envelope(f).Payload)
	f.Fuzz(func(t *testing.T, payload []byte) {
		raw := marshal(t, sign.SealPayload(payload, ring.Releases()))
		report := check(t, raw, r)
		if report.Verified && report.Release.Endorsement == "" {
			t.Fatalf("verified without a TPM: %s", payload)
		}
	})
}
