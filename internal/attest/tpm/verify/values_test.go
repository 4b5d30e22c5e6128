package verify

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/attest/tpm"
)

// Claims repeat what was shown, and still say it in one way.
func TestValuesShownInCapitalsAreTheSame(t *testing.T) {
	shown := slices.Repeat([]string{strings.Repeat("Ab", 32)}, tpm.PCRs)
	got, err := readValues(tpm.SHA256, shown)
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range got.texts {
		if text != strings.Repeat("ab", 32) || hex.EncodeToString(got.values[i]) != text {
			t.Errorf("PCR %d: got %s of %x", i, text, got.values[i])
		}
	}
	for _, bad := range []string{"", "ab", strings.Repeat("ab", 33), strings.Repeat("ag", 32), strings.Repeat("a", 63)} {
		shown[5] = bad
		if _, err := readValues(tpm.SHA256, shown); err == nil {
			t.Errorf("%q is taken for a value", bad)
		}
	}
}
