package web

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"holdfast/internal/attest/tpm/verify"
	"holdfast/internal/proof"
	"holdfast/internal/wiring"
)

func page(t *testing.T, v *wiring.Verified) string {
	t.Helper()
	var out bytes.Buffer
	if err := Proof(&out, v); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// hostile is a report in which all that a machine or a broker can word is an
// attack on its reader.
func hostile() *wiring.Verified {
	const text = `</td><script>alert(1)</script><img src=https://example.org/x onerror=alert(1)>"'&`
	return &wiring.Verified{Subject: text, At: time.Unix(0, 0).UTC(), Word: []string{text}, Revoked: []wiring.Revocation{{Image: text, UKI: text, Reason: text}}, Proofs: []*proof.Report{{
		Release: proof.Summary{Resource: text, Workload: text, Configuration: text, Image: text, UKI: text, RootHash: text, Endorsement: text,
			BrokerKey: text, Value: text, TPM: map[string]string{text: text}},
		Checks: []proof.Check{{Name: text, Verdict: proof.Bad, Text: text}, {Name: "time", Verdict: proof.Good, Text: "in order"}},
		PCRs: []proof.PCR{{Number: 4, Meaning: text, Measured: "aa", Expected: "bb", Source: text, Verdict: proof.Differs,
			Events: []verify.Event{{Text: text, Digest: "00", Type: "EV_IPL"}}}},
	}}}
}

func TestThePageIsOneFileWithoutScripts(t *testing.T) {
	html := page(t, hostile())
	for _, bad := range []string{"<script", "<img", "<link", "<iframe", "onerror=alert(1)>\"", "@import", "url("} {
		if strings.Contains(html, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if m := regexp.MustCompile(`(src|href)\s*=`).FindString(html); strings.Contains(m, "href") {
		t.Errorf("the page links outside: %q", m)
	}
	for _, want := range []string{"Not verified: do not rely on this", "&lt;script&gt;", "differs", "revoked</span> image", `class="v bad"`, "color-scheme", "@media print"} {
		if !strings.Contains(html, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestThePagesTagsMatch(t *testing.T) {
	d := xml.NewDecoder(strings.NewReader(page(t, hostile())))
	d.Entity = xml.HTMLEntity
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
